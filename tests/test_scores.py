"""Runs from tables of scores: exact numbers, matching with other runs, and the refusal of unclear tables."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics as sk
from conftest import REPOSITORY

from robustbench_aigen import Run, UserError
from robustbench_aigen.metrics.intervals import auroc_interval

STORED = REPOSITORY / "tests" / "data" / "runs" / "format_1" / "swept"
RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 2, 200)


def neighbours(start: float, toward: float, count: int = 40) -> list[float]:
    """Numbers that follow one another without a float64 between them."""
    found = [start]
    while len(found) < count:
        found.append(float(np.nextafter(found[-1], toward)))
    return found


def expected(labels, score, threshold):
    verdict = (score >= threshold).astype(int)
    return {
        "accuracy": sk.accuracy_score(labels, verdict),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, verdict),
        "tpr": sk.recall_score(labels, verdict),
        "tnr": sk.recall_score(labels, verdict, pos_label=0),
        "precision": sk.precision_score(labels, verdict, zero_division=0),
        "f1": sk.f1_score(labels, verdict),
        "auroc": sk.roc_auc_score(labels, score),
        "ap": sk.average_precision_score(labels, score),
    }


SCORES = {
    "continuous": (RNG.random(200), 0.5),
    "ties, also at the threshold": (RNG.integers(0, 11, 200) / 10, 0.3),
    "neighbours near 0.01": (RNG.choice(neighbours(0.01, 1), 200), neighbours(0.01, 1)[20]),
    "neighbours below 1": (RNG.choice(neighbours(1.0, 0), 200), neighbours(1.0, 0)[10]),
    "0, 1 and the smallest": (RNG.choice([0.0, 5e-324, 1e-300, 1e-17, 1 - 1e-16, 1 - 1e-17, 1.0], 200), 0.5),
}


@pytest.mark.parametrize("name", SCORES)
def test_numbers_are_scikit_learns_to_twelve_digits(name, tmp_path):
    score, threshold = SCORES[name]
    file = tmp_path / "scores.csv"
    pd.DataFrame({"path": [f"{n}.png" for n in range(200)], "label": LABELS, "score": score}).to_csv(
        file, index=False
    )
    run = Run.from_scores(file, threshold=threshold)
    row = run.summary.iloc[0]
    wanted = expected(LABELS, score, threshold)
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, rel=0)
    assert (run.records["score"].to_numpy() == score).all()
    brier = ((run.records["score"] - run.records["label"]) ** 2).mean()
    assert brier == pytest.approx(sk.brier_score_loss(LABELS, score), abs=1e-12, rel=0)


def test_the_written_run_has_the_same_numbers(tmp_path):
    score, threshold = SCORES["neighbours near 0.01"]
    run = Run.from_scores({"id": np.arange(200), "label": LABELS, "score": score}, threshold=threshold)
    again = Run.load(run.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(again.records, run.records)
    kept = Run.load(run.save_baseline(tmp_path / "baseline"))
    assert (kept.records["log_odds"].to_numpy() == run.records["log_odds"].to_numpy()).all()
    assert sk.roc_auc_score(LABELS, kept.records["log_odds"]) == pytest.approx(
        sk.roc_auc_score(LABELS, score), abs=1e-12
    )


def test_saturated_logits_keep_their_order_and_their_ties():
    logits = RNG.choice([-900.0, -40.5, -40.25, 0.0, 36.0, 50.0, 51.0, 800.0], 200)
    row = Run.from_scores({"label": LABELS, "logit": logits}).summary.iloc[0]
    wanted = expected(LABELS, logits, 0.0)
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, rel=0)
    row = Run.from_scores(
        {"label": LABELS, "margin": logits}, score="margin", logit=True, threshold_logit=50
    ).summary.iloc[0]
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(LABELS, logits >= 50), abs=1e-12)


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.9])
def test_a_tie_is_fake_in_float32_and_for_scores_of_real(threshold):
    single = RNG.integers(0, 11, 200).astype(np.float32) / np.float32(10)
    run = Run.from_scores({"label": LABELS, "score": single}, threshold=threshold)
    assert run.accuracy() == pytest.approx(
        sk.accuracy_score(LABELS, single >= np.float32(threshold)), abs=1e-12
    )
    tenths = RNG.integers(0, 11, 200)
    run = Run.from_scores({"label": LABELS, "score": tenths / 10}, fake_is="low", threshold=threshold)
    fake = 10 - tenths >= round(10 * threshold)
    assert run.accuracy() == pytest.approx(sk.accuracy_score(LABELS, fake), abs=1e-12)
    assert run.summary.iloc[0]["auroc"] == pytest.approx(sk.roc_auc_score(LABELS, -tenths), abs=1e-12)


def test_the_calibration_error_bins_the_scores_of_the_table():
    score = RNG.integers(0, 16, 200) / 15
    place = np.clip(np.searchsorted(np.linspace(0, 1, 16)[1:-1], score), 0, 14)
    gaps = [
        abs((LABELS - score)[place == number].sum()) / 200 for number in range(15) if (place == number).any()
    ]
    row = Run.from_scores({"label": LABELS, "score": score}).summary.iloc[0]
    assert row["ece"] == pytest.approx(sum(gaps), abs=1e-12, rel=0)


def long_table(count: int = 60) -> pd.DataFrame:
    """Two detectors under three conditions, with generators and splits."""
    rng = np.random.default_rng(0)
    rows = []
    for detector in ("resnet", "clip"):
        for condition, shift in (("clean", 0.0), ("jpeg75", 0.1), ("pgd[eps=4/255]", 0.4)):
            for number in range(count):
                label = number % 2
                score = float(np.clip(0.3 + 0.4 * label + rng.normal(0, 0.2) - shift * label, 0, 1))
                rows.append(
                    {
                        "path": f"images/{number:03}.png",
                        "label": label,
                        "generator": ["", "sdxl", "", "flux"][number % 4],
                        "split": "val" if number < count // 3 else "test",
                        "detector": detector,
                        "condition": condition,
                        "score": score,
                    }
                )
    return pd.DataFrame(rows)


def test_conditions_detectors_and_generators_become_cells():
    table = long_table()
    run = Run.from_scores(table, evaluate="all")
    assert run.detectors == ["resnet", "clip"]
    assert run.pipelines == ["clean", "jpeg75", "pgd[eps=4/255]"]
    for (detector, condition), cell in table.groupby(["detector", "condition"]):
        accuracy = sk.accuracy_score(cell["label"], cell["score"] >= 0.5)
        assert run.accuracy(condition, detector) == pytest.approx(accuracy, abs=1e-12)
        row = run.summary.query("detector == @detector and pipeline == @condition and generator == 'sdxl'")
        part = cell[cell["generator"].isin(["", "sdxl"])]
        assert row["auroc"].item() == pytest.approx(sk.roc_auc_score(part["label"], part["score"]), abs=1e-12)
    assert len(run.compare_detectors()) == 3
    assert run.summary[["linf_max", "psnr", "ssim", "attack_success"]].isna().all().all()
    assert run.records[["linf", "l2", "steps", "queries", "psnr", "ssim"]].isna().all().all()
    assert set(run.summary["trust"]) == {"unchecked"}


def test_a_rule_is_fitted_on_clean_validation_rows_alone():
    table = long_table()
    run = Run.from_scores(table, threshold="youden")
    assert run.info.data.split == "test"
    assert run.info.data.images == 40
    for detector, limit in zip(run.detectors, run.info.detectors, strict=True):
        rows = table.query("detector == @detector and condition == 'clean' and split == 'val'")
        fpr, tpr, thresholds = sk.roc_curve(rows["label"], rows["score"])
        best = thresholds[np.argmax(tpr - fpr)]
        assert ((rows["score"] >= limit.threshold) == (rows["score"] >= best)).all()
        tested = table.query("detector == @detector and condition == 'jpeg75' and split == 'test'")
        assert run.accuracy("jpeg75", detector) == pytest.approx(
            sk.accuracy_score(tested["label"], tested["score"] >= best), abs=1e-12
        )
    with pytest.raises(UserError, match="rows of the split val"):
        Run.from_scores(table.drop(columns="split"), threshold="fpr@0.01")


def test_wide_long_parquet_and_npz_say_the_same(tmp_path):
    table = long_table().query("condition == 'clean'")
    wide = table.pivot_table("score", ["path", "label"], "detector").reset_index()
    wide.to_parquet(tmp_path / "wide.parquet")
    np.savez(tmp_path / "wide.npz", **{name: wide[name].to_numpy() for name in wide if name != "path"})
    wide.to_csv(tmp_path / "wide.csv", sep=";", decimal=",")
    runs = [
        Run.from_scores(table, evaluate="all"),
        *(Run.load(tmp_path / f"wide.{kind}") for kind in ("parquet", "npz", "csv")),
    ]
    for run in runs:
        for detector in ("clip", "resnet"):
            assert run.accuracy(detector=detector) == runs[0].accuracy(detector=detector)
    assert "decimal commas were read as points" in runs[3].notices


def test_a_run_of_our_own_is_matched_by_path_and_equal_to_its_own_scores(tmp_path):
    own = Run.load(STORED)
    clean = own.records[own.records["pipeline"] == "clean"]
    first = clean[clean["detector"] == own.detectors[0]]
    table = pd.DataFrame(
        {
            "path": "/data/" + first["sample"].astype(str),
            "label": first["label"],
            "logit": first["log_odds"].astype(float),
            "detector": own.detectors[0],
        }
    ).sample(frac=1, random_state=0)
    table.to_csv(tmp_path / "scores.csv", index=False)
    scores = Run.load(tmp_path / "scores.csv")
    comparison = own.compare(scores)
    cells = comparison.cells
    assert len(cells) > 8
    assert (cells["change"].abs() < 1e-12).all()
    assert any("matched" in text for text in comparison.differences)
    assert set(cells["generator"]) == {"all", *own.info.data.generators}
    assert scores.gate(own, {"pipelines": ["clean"]}).passed
    # Conditions that are called like a pipeline are compared with it.
    attacked = own.records[own.records["detector"] == own.detectors[0]]
    attacked = attacked[attacked["pipeline"].isin(["clean", "pgd[eps=2/255]"])]
    named = attacked.assign(logit=attacked["log_odds"].astype(float))[
        ["sample", "label", "pipeline", "logit"]
    ]
    result = Run.from_scores(named).gate(own, {"pipelines": ["clean", "pgd[eps=2/255]"]})
    assert result.passed
    assert any("by the name of the condition: pgd[eps=2/255]" in notice for notice in result.notices)
    table["path"] = [f"other{number}" for number in range(len(table))]
    with pytest.raises(UserError, match="no image of one run is in the other"):
        Run.from_scores(table).gate(own)


def test_matching_needs_equal_labels_and_counts_what_it_matched():
    table = long_table().query("condition == 'clean' and detector == 'clip'")[["path", "label", "score"]]
    other = table.assign(path=table["path"].str.replace("images/", "elsewhere/"))
    comparison = Run.from_scores(table).compare(Run.from_scores(other))
    assert comparison.differences == ["60 images are matched by file name, of 60 now and 60 in the baseline"]
    flipped = other.assign(label=np.where(np.arange(60) < 5, 1 - other["label"], other["label"]))
    with pytest.raises(UserError, match="5 with another content, label or generator"):
        Run.from_scores(flipped).gate(Run.from_scores(table))
    rows = [Run.from_scores(each.drop(columns="path")) for each in (table, table.iloc[::-1])]
    with pytest.raises(UserError, match="no image"):
        rows[0].gate(rows[1])


def test_commands_take_tables(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = long_table().query("detector == 'clip'").drop(columns=["detector", "split"])
    table.to_csv("new.csv", index=False)
    table.assign(score=(table["score"] + 0.3 * table["label"]).clip(0, 1)).to_csv("old.csv", index=False)
    outcome = cli("run", "new.csv", "--json")
    assert outcome.code == 0, outcome.err
    folder = Path(json.loads(outcome.out)["run_folder"])
    info = json.loads((folder / "run.json").read_text())
    assert info["format"] == 1
    assert info["command"] == "robust-aigen run new.csv"
    assert info["scores"]["columns"]["score"] == "score"
    assert len(info["scores"]["sha256"]) == 64
    report = (folder / "report.md").read_text()
    assert "Imported scores: new.csv" in report
    assert "Empty, because there are no images" in report
    outcome = cli("gate", folder, "--baseline", "old.csv")
    assert outcome.code == 1, outcome.err
    assert cli("gate", "{path: new.csv, threshold: 0.4}", "--baseline", "old.csv").code == 2
    assert "--output, --plugin" in cli("run", "new.csv", "--limit", "3").err


HEADER = "path,label,score\n"
TWO = "a,real,0.1\nb,fake,0.9\n"
REFUSED = {
    "": "1: is empty",
    HEADER: "has no rows",
    "a.png,real,0.1\nb.png,fake,0.9\n": "1: has no header",
    "path,score\na,0.1\n": "has no column of labels",
    "path,label\na,real\n": "has no column of scores",
    "path,label,foo,bar\na,real,3,x\nb,fake,4,y\n": "cannot tell which columns are scores",
    HEADER + "a,real,0.1\nb,,0.3\n": "3: label: the label is missing",
    HEADER + "a,real,-3.1\nb,fake,4.2\n": "2: score: the score -3.1 is not a probability.*\n.*logit: true",
    HEADER + "a,real,12%\nb,fake,93%\n": "2: score: '12%' is not a number.*\n.*0.93 for 93 %",
    HEADER + "a,real,nan\nb,fake,0.3\n": "2: score: the score is NaN",
    HEADER + "a,real,\nb,fake,0.3\n": "2: score: the score is missing",
    "path,label,logit\na,real,-inf\nb,fake,2\n": "2: logit: the score is infinite",
    HEADER + TWO + "a,real,0.1\n": "4: path: the sample 'a' is there twice, first in line 2",
    "path,label,score,net\na,0,.1,x\nb,1,.9,x\na,0,.2,y\nb,1,.8,y\n": "4: path: every sample.*\n.*detector: net",
    HEADER + "a,cat,0.1\nb,dog,0.9\n": "2: label: cannot tell whether label 'cat'",
    HEADER + "a,-1,0.1\nb,1,0.9\n": '2: label: cannot tell.*\n.*"-1": real',
    "path,label,score,condition\na,0,.1,clean\nb,1,.9,clean\na,0,.1,jpeg\n": "3: path: the sample 'b' has no row of jpeg.*\n.*samples: common",
    "path,label,score,condition\na,0,.1,jpeg\nb,1,.9,jpeg\n": "1: condition: no condition is called clean.*\n.*clean: jpeg",
    "path,label,score\na,real,0,1\nb,fake,0,93\n": "2: has 4 values for 3 columns.*\n.*semicolons",
    "path;label;score\na;real;0,1\nb;fake;0.93\n": "3: score: '0.93' has a point, and line 2 a decimal comma",
    "path;label;logit\na;real;-1,234\nb;fake;2,500\n": "2: logit: the comma",
    'path,label,score\n"a, b.png",real,0.1\n"c\nd.png",fake,1.9\n\n': "3: score: the score 1.9",
    "sep=;\r\n\r\npath;label;score\r\na;real;0.1\r\n\r\nb;fake;1.9\r\n": "6: score: the score 1.9",
    "path,label,score,prob\na,0,.1,.1\nb,1,.9,.9\n": "several columns may be the score: score, prob",
    "path,label,confidence\na,0,.9\nb,1,.8\n": "confidence",
    "path,label,resnet,clip,width\na,0,.9,.2,32\nb,1,.8,.3,64\n": "'width' may be something else",
    "path,label,net_fake,net_real\na,0,.9,.1\nb,1,.8,.2\n": "'net_fake' may be something else",
    "path,label,model,score\na,0,x,.9\nb,1,y,.8\n": "model: may be the detectors or the generators",
    "path,label,generator,score\na,0,sdxl,.9\nb,1,real,.8\n": "3: generator: the label means fake",
    "path,label,score\nd/real/a,1,.1\nd/fake/b,1,.8\nd/fake/c,0,.8\n": "label 1 is on images in folders of both",
    "path,label,score,condition\na,0,.1,clean\nb,1,.9,clean\na,1,.1,jpeg\nb,1,.8,jpeg\n": "4: label: the sample 'a' has another label in line 2",
    HEADER + "a,real,0.1\nb,fake\n": "3: has 2 values for 3 columns",
    "path,label,score,Score\na,0,.1,.2\n": "has the column 'score' twice",
    HEADER + ",real,0.1\nb,fake,0.9\n": "2: path: the sample is missing",
    HEADER + TWO + "c,real,n/a\n": "4: score: 'n/a' is not a number",
    "path,label,resnet_real\na,0,.9\nb,1,.1\n": "'resnet_real' may be something else",
    "path,label,realness\na,0,.9\nb,1,.1\n": "may be",
    "path,label,authenticity\na,0,.9\nb,1,.1\n": "may be",
    "path,is_real,y_score\na,1,.9\nb,0,.1\n": "y_score: may be a score of real.*'is_real' is 1 for real",
    "path,is_real,y_pred\na,1,1\nb,0,0\n": "y_pred: may be a score of real",
    "path,label,pred,score\na,0,0,.9\nb,1,1,.8\n": "2: score: may be the score of the predicted class: 1 verdict",
    "path,label,resnet,epsilon\na,0,.1,.01\nb,1,.8,.02\n": "'epsilon' may be something else",
    "path,label,p_value\na,0,.1\nb,1,.8\n": "'p_value' may be something else",
    "path,label,jpeg_quality,clip\na,0,.1,.1\nb,1,.8,.8\n": "'jpeg_quality' may be something else",
    "path,label,prob_0,prob_1\na,0,.9,.1\nb,1,.2,.8\n": "'prob_0' and 'prob_1' may be the probabilities of two classes",
    "path,is_fake,score\nd/real/a,1,.1\nd/fake/b,0,.8\n": "2: is_fake: is_fake 1 means fake, and the folder 'd/real' means real",
    "path,label,score,generator\na,0,.1,\nb,1,.8,all\n": "3: generator: a generator is called 'all'",
    'path,label,score,note\na,1,.5,x\nb,0,.3,"oops\nc,0,.9,y\nd,1,.9,z\n': "3: has a quote that is never closed",
    'path,label,score,note\na,1,.5,x\nb,0,.3,"oops\nc,0,.9,"y"\nd,1,.9,z\n': "3: has a wrong quote",
    "# made today\npath,label,score\na,0,.1\n": "1: has a comment.*\n.*line 2 may be the header",
    "\n\npath,score\na,0.1\n": "3: has no column of labels",
    "path,label,score,split\na,0,.1,train\nb,1,.9,val\n": "split: none of the splits is test.*\n.*evaluate: all",
    "path,label,score,attack,eps\na,0,.1,clean,0\nb,1,.9,clean,0\na,0,.2,pgd,1\nb,1,.8,pgd,1\na,0,.3,pgd,2\nb,1,.4,pgd,2\n": r"6: path: .*\n.*condition: \[attack, eps\]",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_an_unclear_table_is_refused_with_line_and_column(text, tmp_path):
    file = tmp_path / "scores.csv"
    file.write_bytes(text.encode())
    with pytest.raises(UserError, match=REFUSED[text]) as refused:
        Run.load(file)
    assert str(refused.value).startswith(f"{file}:")


def test_a_file_in_another_encoding_is_refused_at_its_line(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_bytes(b"path,label,score\n\xe4.png,real,0.1\n")
    with pytest.raises(UserError, match=r"scores\.csv:2: is not UTF-8"):
        Run.load(file)


def test_rows_of_parquet_and_arrays_are_named(tmp_path):
    pd.DataFrame({"path": ["a", "b"], "label": [0, 1], "score": [0.1, np.nan]}).to_parquet(
        tmp_path / "scores.parquet"
    )
    with pytest.raises(
        UserError, match=r"scores\.parquet: score: row 1 \(the first is 0\): the score is missing"
    ):
        Run.load(tmp_path / "scores.parquet")
    with pytest.raises(UserError, match="different lengths"):
        Run.from_scores({"label": [0, 1], "score": [0.5]})
    with pytest.raises(UserError, match=r"score\[:, 1\]"):
        Run.from_scores({"label": [0, 1], "score": np.zeros((2, 2))})


READ = {
    "\ufeffPATH,Label,SCORE\na,REAL,0.1\nb,Fake,0.9\n": ("SCORE", "high"),
    "path\tlabel\tscore\na\treal\t0.1\nb\tfake\t0.9\n": ("score", "high"),
    "path;label;score;\na;real;0,1;\nb;fake;0,9;\n;;;\n\n": ("score", "high"),
    "y_true,y_pred,prob_fake\n0,0,0.2\n1,1,0.9\n": ("prob_fake", "high"),
    "path,label,real,fake\na,0,.9,.1\nb,1,.1,.9\n": ("fake", "high"),
    "path,label,prob_real\na,0,.9\nb,1,.1\n": ("prob_real", "low"),
    "path,is_real,score\na,true,0.1\nb,false,0.9\n": ("score", "high"),
    "path,label,score\nd/real/a.png,1,.1\nd/fake/b.png,0,.8\n": ("score", "high"),
    'path,label,"prob\nfake"\na,0,.1\nb,1,.8\n': ("prob fake", "high"),
    ",path,label,score\n0,a,0,.1\n1,b,1,.8\n": ("score", "high"),
}


@pytest.mark.parametrize("text", READ)
def test_tables_in_the_wild_are_read_right(text, tmp_path):
    for encoding in ("utf-8", "utf-16"):
        file = tmp_path / f"{encoding}.csv"
        file.write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
        run = Run.load(file)
        assert run.accuracy() == 1
        assert run.info.scores is not None
        assert (run.info.scores.columns["score"], run.info.scores.fake_is) == READ[text]


def test_parameters_of_conditions_and_common_samples():
    table = pd.DataFrame(
        {
            "path": list("abababa"), "label": [0, 1, 0, 1, 0, 1, 0], "score": [0.1, 0.9, 0.2, 0.8, 0.6, 0.3, 0.3],
            "attack": ["clean"] * 2 + ["pgd"] * 4 + ["fgsm"], "eps": ["", "", *["1/255"] * 2, *["2/255"] * 2, "2/255"],
        }
    )  # fmt: skip
    run = Run.from_scores(table, condition=["attack", "eps"], samples="common")
    assert run.pipelines == ["clean", "pgd[eps=1/255]", "pgd[eps=2/255]", "fgsm[eps=2/255]"]
    assert run.info.data.images == 1
    assert any("1 sample is left out" in notice for notice in run.notices)
    run = Run.from_scores(table.iloc[:6].replace("clean", "none"), condition=["attack", "eps"], clean="none")
    assert run.accuracy("pgd[eps=2/255]") == 0


def test_verdicts_and_swapped_scores_are_warned_of():
    run = Run.from_scores({"y_true": [0, 1, 1, 0], "y_pred": [0, 1, 0, 0]})
    assert any(notice.is_warning and "these are verdicts" in notice for notice in run.notices)
    run = Run.from_scores({"label": LABELS, "score": 0.9 - 0.8 * LABELS})
    assert "worse_than_chance" in run.summary["trust"].iloc[0]


def test_two_tables_of_one_detector_stay_apart_in_a_report(tmp_path):
    table = long_table(20).query("detector == 'clip'").drop(columns=["detector", "split"])
    worse = table.assign(score=0.5)
    from robustbench_aigen.runs.joined import join_runs

    joined = join_runs([Run.from_scores(table, name="a"), Run.from_scores(worse, name="b")])
    assert joined.overall()["detector"].nunique() == 2


def test_the_interval_of_many_images_is_that_of_the_bootstrap():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60_000)
    score = (labels + rng.normal(0, 1.5, 60_000)).round(1)
    interval = auroc_interval(labels, score)
    draws = [rng.integers(0, 60_000, 60_000) for _ in range(200)]
    spread = np.std([sk.roc_auc_score(labels[rows], score[rows]) for rows in draws])
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)
    assert (interval.high + interval.low) / 2 == pytest.approx(sk.roc_auc_score(labels, score), abs=1e-12)


def test_the_examples_of_the_document_run(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "SCORES.md").read_text(encoding="utf-8")
    table = long_table().query("detector == 'clip'").drop(columns=["detector", "split"])
    for name in ("scores.csv", "last_week.csv"):
        table.to_csv(name, index=False)
    wide = long_table().query("condition == 'clean'").pivot_table("score", ["path", "label"], "detector")
    wide.to_csv("wide.csv")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for line in blocks["console"].splitlines():
        outcome = cli(*shlex.split(line.removeprefix("$ robust-aigen ")))
        assert outcome.code == 0, (line, outcome.err)
    exec(compile(blocks["python"], "SCORES.md", "exec"), {})
    Path("scores.csv").write_text("path,label,score\na,0,0.1\nb,1,4.2\n")
    outcome = cli("run", "scores.csv")
    assert outcome.err.strip() == blocks["text"].strip()


def test_columns_that_are_there_twice_are_refused(tmp_path):
    with pytest.raises(UserError, match="has the column 'score' twice"):
        Run.from_scores({"label": [0, 1], "score": [0.1, 0.9], " score": [0.9, 0.1]})
    columns = [pa.array([0, 1]), pa.array([0.1, 0.9]), pa.array([0.9, 0.1])]
    pq.write_table(pa.Table.from_arrays(columns, ["label", "score", "score"]), tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"scores\.parquet: has the column 'score' twice"):
        Run.load(tmp_path / "scores.parquet")


def test_bytes_are_text_or_named_as_not_read_and_large_numbers_are_read(tmp_path):
    np.savez(tmp_path / "scores.npz", path=np.array([b"a", b"b"]), label=[0, 1], score=[0.1, 0.9])
    assert Run.load(tmp_path / "scores.npz").records["sample"].tolist() == ["a", "b"]
    table = pd.DataFrame({"label": [0, 1], "score": [0.1, 0.9], "png": [b"\xff\xd8", b"\x89"]})
    assert "not read: png" in " ".join(map(str, Run.from_scores(table).notices))
    assert Run.from_scores({"id": [2**70, 1], "label": [0, 1], "score": [0.1, 0.9]}).accuracy() == 1


def test_columns_of_two_precisions_need_a_threshold_that_is_exact_in_both():
    single, double = np.array([0.7, 0.2], np.float32), np.array([0.7, 0.2])
    for names in (("a", "b"), ("b", "a")):
        table = {"label": [1, 0], **{name: single if name == "a" else double for name in names}}
        with pytest.raises(UserError, match="in float32, of which 'a' is"):
            Run.from_scores(table, score=list(names), threshold=0.7)
        run = Run.from_scores(table, score=list(names), threshold=0.25)
        assert [run.accuracy(detector=name) for name in names] == [1, 1]


def test_a_rule_is_fitted_in_the_precision_of_the_scores():
    table = {"label": [0, 0, 1, 1] * 2, "split": ["val"] * 4 + ["test"] * 4}
    for low in (0.9, 1 - 1e-15, 1e-30):
        score = np.tile([low, low, np.nextafter(low, 1), np.nextafter(low, 1)], 2)
        assert Run.from_scores({**table, "score": score}, threshold="youden").accuracy() == 1
        assert Run.from_scores({**table, "score": score}, threshold="fpr@0").accuracy() == 1


def test_a_rule_is_fitted_on_samples_of_their_own():
    table = {"label": [0, 1] * 2, "score": [0.1, 0.9] * 2, "split": ["val"] * 2 + ["test"] * 2}
    assert Run.from_scores({**table, "path": list("abcd")}, threshold="youden").accuracy() == 1
    with pytest.raises(UserError, match="'b' is in the split val and, in row 2, in test"):
        Run.from_scores({**table, "path": list("abbd"), "label": [0, 1, 1, 0]}, threshold="youden")
    again = {name: [*values, values[0]] for name, values in table.items()}
    with pytest.raises(UserError, match="row 4 .*the validation sample 'a' is there twice, first in row 0"):
        Run.from_scores({**again, "path": list("abcda")}, threshold="youden")


def test_a_gate_compares_contents_and_thresholds_of_imported_scores(tmp_path):
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": [0, 1], "score": [0.1, 0.9]})
    one, other = (table.assign(sha256=[first * 64, "c" * 64]) for first in "ab")
    with pytest.raises(UserError, match="1 with another content, label or generator"):
        Run.from_scores(one).gate(Run.from_scores(other))
    assert Run.from_scores(one).gate(Run.from_scores(table)).passed
    logits = table.assign(score=[-1.0, 40.0])
    high, higher = (Run.from_scores(logits, logit=True, threshold_logit=limit) for limit in (25, 33))
    with pytest.raises(UserError, match="log-odds 25 and 33"):
        high.gate(higher)
    single = table.assign(score=table["score"].astype(np.float32))
    near = Run.from_scores(logits, logit=True, threshold=float(np.float32(0.7)))
    assert near.compare(Run.from_scores(single, threshold=0.7)).differences == []


def test_long_specifications_and_whole_numbers_beyond_float64_are_read(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text(HEADER + TWO)
    assert Run.load(f"{{path: {file}, {' ' * 300} name: n}}").accuracy() == 1
    run = Run.from_scores({"label": [0, 1], "logit": np.array([-(2**53) - 1, 2**60 + 1])})
    assert run.accuracy() == 1


def test_scores_of_real_are_read_where_the_user_says_so():
    table = {"label": [0, 1], "authenticity": [0.9, 0.1]}
    assert Run.from_scores(table, fake_is="low").accuracy() == 1
    for name in ("resnet_real", "realness", "authenticity"):
        with pytest.raises(UserError, match=f"{name}: may be a score of real.*\n.*fake_is: low"):
            Run.from_scores({"label": [0, 1], name: [0.9, 0.1]}, score=name)
    assert Run.from_scores(table, fake_is="high").accuracy() == 0
    assert Run.from_scores({"is_real": [0, 1], "y_score": [0.1, 0.9]}, fake_is="low").accuracy() == 1


def test_predicted_classes_that_contradict_the_scores_are_warned_of():
    run = Run.from_scores({"label": ["real", "fake"], "pred": ["fake", "fake"], "score": [0.4, 0.9]})
    assert any(
        notice.is_warning and "1 verdict of the score and of 'pred' differ" in notice
        for notice in run.notices
    )
    run = Run.from_scores({"label": [0, 1], "pred": [0, 1], "score": [0.1, 0.9]})
    assert not any(notice.is_warning for notice in run.notices)
