"""The regression gate: when it fails, when it does not, what it refuses, and what it writes."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from gated_runs import JPEG, PGD, made_up, with_flag, with_records, with_scenario, write
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest, fisher_exact
from test_engine import scenario

from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.summary import summarise
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.gate_spec import load_gate_spec, read_floor
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.views.gating.verdict import gate

N = 2_000


def rerun(rng, chance: np.ndarray, **keys):
    """A run in which image i withstands the attack with its own chance; clean verdicts do not change."""
    right = {("d", "clean"): np.arange(len(chance)) % 10 > 0, ("d", "pgd"): rng.random(len(chance)) < chance}
    return made_up(right, **keys)


def chances(rng) -> np.ndarray:
    """Of images to withstand an attack: most always or never, as with a real one."""
    return rng.beta(0.15, 0.15, N)


def lowered(chance: np.ndarray, loss: float) -> np.ndarray:
    """Less robust by some points, spread over the images in proportion."""
    return chance * (1 - loss / chance.mean())


def test_over_200_reruns_false_alarms_and_misses_are_rare():
    rng = np.random.default_rng(0)
    alarms, caught = [], []
    for _ in range(200):
        chance = chances(rng)
        baseline = rerun(rng, chance)
        alarms.append(not gate(rerun(rng, chance), baseline).passed)
        caught.append(not gate(rerun(rng, lowered(chance, 0.03)), baseline).passed)
    assert np.mean(alarms) <= 0.05
    assert np.mean(caught) >= 0.90


def test_a_loss_fails_only_beyond_the_tolerance_and_beyond_chance():
    right = np.ones(N, dtype=bool)

    def losing(count):
        return made_up({("d", "clean"): right, ("d", "pgd"): np.arange(N) >= count})

    baseline = losing(0)
    assert gate(losing(20), baseline).passed, "a point is tolerated however sure it is"
    failed = gate(losing(21), baseline)
    assert failed.failures["pipeline"].tolist() == ["pgd"]
    row = failed.failures.iloc[0]
    assert (row["baseline"], row["current"], row["n"]) == (1, 1 - 21 / N, N)
    assert row["p_value"] == pytest.approx(0.5**21)
    assert row["p_holm"] == pytest.approx(2 * 0.5**21)
    small = np.ones(60, dtype=bool)
    before = made_up({("d", "clean"): small, ("d", "pgd"): small})
    after = made_up({("d", "clean"): small, ("d", "pgd"): np.arange(60) >= 4})
    result = gate(after, before)
    assert result.passed, "7 points, but 4 images of 60 can be chance"
    assert result.checks["loss"].max() == pytest.approx(4 / 60)
    assert gate(before, after).passed, "a gain is no loss"


def test_two_seeds_pass_and_a_perturbed_last_layer_fails(tmp_path, cli):
    """The real thing at n = 2,000: PGD on lenet5, and on lenet5 with noise on its last layer."""
    import torch

    data = f"{{source: minigen, split: test, limit: {N}}}"
    pipelines = "{pgd: [{attack: pgd, eps: 1/255, steps: 5}]}"
    first = run(scenario(tmp_path, pipelines, data=data, seed=1, trust="off"), output=tmp_path / "out")
    second = run(scenario(tmp_path, pipelines, data=data, seed=2, trust="off"), output=tmp_path / "out")
    assert not second.records["score"].equals(first.records["score"])
    assert gate(second, first).passed
    weights = load_file(shipped_detectors()["minigen/lenet5"])
    last = [name for name in weights if name.endswith("weight")][-1]
    noise = torch.randn(weights[last].shape, generator=torch.Generator().manual_seed(0))
    robust = first.summary.query("pipeline == 'pgd' and generator == 'all'")["accuracy"].item()
    for scale in (0.45, 0.6, 0.8):
        save_file({**weights, last: weights[last] + scale * noise}, tmp_path / "perturbed.safetensors")
        card = json.loads(shipped_detectors()["minigen/lenet5"].with_suffix(".json").read_text())
        kept = {key: card[key] for key in ("arch", "mean", "std") if key in card}
        detectors = json.dumps([{"path": str(tmp_path / "perturbed.safetensors"), **kept}])
        file = scenario(tmp_path, pipelines, data=data, seed=3, detectors=detectors, trust="off")
        perturbed = run(file, output=tmp_path / "out")
        left = perturbed.summary.query("pipeline == 'pgd' and generator == 'all'")["accuracy"].item()
        if left <= robust - 0.03:
            break
    assert left <= robust - 0.03
    assert not gate(perturbed, first).passed
    outcome = cli("gate", perturbed.folder, "--baseline", first.folder)
    assert outcome.code == 1
    assert "FAILED" in outcome.out
    assert cli("gate", second.folder, "--baseline", first.folder).code == 0


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def pair(rng):
    chance = chances(rng)
    return rerun(rng, chance), rerun(rng, chance)


METRICS = ["accuracy", "balanced_accuracy", "tpr", "tnr", "precision", "f1"]


def test_every_number_is_recomputed_from_the_records(pair, tmp_path):
    now, then = pair
    spec = {"metrics": METRICS, "generators": ["*"]}
    checks = gate(now, then, config=spec).checks
    file = scenario(tmp_path, "{pgd: [{attack: pgd, eps: 4/255}]}")
    pipelines = expand_pipelines(load_scenario(file))
    for column, side in (("current", now), ("baseline", then)):
        summary = summarise(side.records, pipelines, "accuracy").set_index(["pipeline", "generator"])
        for row in checks.to_dict(orient="records"):
            assert row[column] == pytest.approx(
                summary.loc[(row["pipeline"], row["generator"]), row["metric"]]
            )
    assert len(checks) == 2 * 3 * len(METRICS)
    assert checks["loss"].tolist() == pytest.approx((checks["baseline"] - checks["current"]).tolist())
    right = [side.records.query("pipeline == 'pgd'")["correct"].to_numpy() for side in (then, now)]
    lost, won = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
    expected = binomtest(lost, lost + won, alternative="greater").pvalue
    row = checks.query("pipeline == 'pgd' and metric == 'accuracy' and generator == 'all'").iloc[0]
    assert row["p_value"] == pytest.approx(expected)
    assert checks["p_holm"].tolist() == pytest.approx(holm(checks["p_value"]).tolist())


def test_scores_are_gated_where_they_compare(rng):
    label = np.arange(N) % 2
    good, worse = (1 / (1 + np.exp(-(rng.normal(size=N) + shift * (2 * label - 1)))) for shift in (1.0, 0.6))

    def scored(score, **keys):
        right = (score >= 0.5) == (label == 1)
        cells = {("d", "clean"): right, ("d", "pgd"): right}
        return made_up(cells, score=dict.fromkeys(cells, score), **keys)

    for metric in ("auroc", "ap", "tpr_at_fpr_5"):
        result = gate(scored(worse, mode="score"), scored(good, mode="score"), config={"metrics": metric})
        assert not result.passed
        assert gate(scored(good, mode="score"), scored(good, mode="score"), config={"metrics": metric}).passed
    only_clean = gate(scored(worse), scored(good), config={"metrics": "auroc"})
    assert only_clean.checks["pipeline"].tolist() == ["clean"]
    with pytest.raises(UserError, match="undefined after a final attack"):
        gate(scored(worse), scored(good), config={"metrics": "auroc", "pipelines": "pgd"})


def test_floors_hold_whatever_the_baseline(pair):
    now, then = pair
    value = now.records.query("pipeline == 'pgd'")["correct"].mean()
    assert gate(now, then, config={"floors": [f"accuracy of pgd >= {value}"]}).passed
    result = gate(now, then, config={"floors": f"accuracy of pgd ≥ {100 * value + 0.1} %"})
    assert result.failures["kind"].tolist() == ["floor"]
    assert (
        gate(now, then, config={"floors": "tpr of pgd on dcgan for d >= 1 %"}).checks["kind"].tolist()[-1]
        == "floor"
    )


def test_an_image_twice_in_a_cell_is_not_twice_the_evidence():
    count = 600

    def twice(lost):
        right = np.tile(np.arange(count) >= lost, 2)
        return made_up({("d", "clean"): np.ones(2 * count, bool), ("d", "pgd"): right})

    def one_hash(side):
        digest = side.records["sha256"].to_numpy().reshape(2, 2, count)
        digest[:, 1] = digest[:, 0]
        return with_records(side, side.records.assign(sha256=digest.ravel()))

    plain = gate(twice(8), twice(0), config={"pipelines": "pgd"}).checks.iloc[0]
    clustered = gate(one_hash(twice(8)), one_hash(twice(0)), config={"pipelines": "pgd"}).checks.iloc[0]
    assert plain["p_value"] == pytest.approx(0.5**16)
    assert clustered["p_value"] == pytest.approx(0.5**8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.6}, "threshold of d: 0.6 now, 0.5 in the baseline"),
        ({"pipelines": {"clean": [], "pgd": [{**PGD, "eps": 8 / 255}]}}, "eps of pgd is 0.0313725 now, 0.0156863"),
        ({"pipelines": {"clean": [], "pgd": [PGD, JPEG]}}, "perturb of pgd is jpeg now, nothing"),
        ({"objective": "fake_to_real"}, "objective is fake_to_real now, both"),
        ({"mode": "score"}, "mode is score now, accuracy"),
        ({"images": [f"test/{n:05}" for n in range(7, N + 7)]}, "7 only now, 7 only in the baseline"),
        ({"generators": ("dcgan", "flow")}, "with another content, label or generator"),
    ],
)  # fmt: skip
def test_runs_that_do_not_compare_are_refused(rng, change, said):
    chance = chances(rng)
    with pytest.raises(UserError, match=said):
        gate(rerun(rng, chance, **change), rerun(rng, chance))


def test_what_is_not_gated_may_differ(rng):
    chance = chances(rng)
    other = rerun(
        rng, chance, pipelines={"clean": [], "pgd": [{**PGD, "steps": 99}]}, seed=9, precision="bf16"
    )
    assert gate(other, rerun(rng, chance), config={"pipelines": "clean"}).passed


def test_a_missing_pipeline_or_detector_is_no_pass(rng):
    right = np.ones(40, dtype=bool)
    both = made_up({(d, p): right for d in "ab" for p in ("clean", "pgd")})
    without_pgd = made_up({(d, "clean"): right for d in "ab"})
    with pytest.raises(UserError, match="pgd of the baseline is not in this run"):
        gate(without_pgd, both)
    assert any("pgd" in notice for notice in gate(both, without_pgd).notices)
    without_b = made_up({("a", p): right for p in ("clean", "pgd")})
    with pytest.raises(UserError, match="detectors: b of the baseline"):
        gate(without_b, both)
    assert gate(both, without_b).checks["detector"].unique().tolist() == ["a"]


def test_a_threshold_that_a_rule_fitted_may_move(rng):
    chance = chances(rng)
    then = with_scenario(rerun(rng, chance), threshold="youden")
    now = with_scenario(rerun(rng, chance, threshold=0.41), threshold="youden")
    assert any("both fitted by youden" in notice for notice in gate(now, then).notices)
    now = with_scenario(now, threshold="fpr@0.01")
    with pytest.raises(UserError, match="threshold of d"):
        gate(now, then)


def test_unpaired_compares_other_images_and_says_so(rng, tmp_path, cli):
    chance = chances(rng)
    others = [f"new/{n:05}" for n in range(N)]
    then = rerun(rng, chance)
    now = rerun(rng, lowered(chance, 0.2), images=others)
    with pytest.raises(UserError, match="data:") as refused:
        gate(now, then)
    assert "--unpaired" in str(refused.value)
    result = gate(now, then, unpaired=True)
    assert not result.passed
    assert any(notice.startswith("unpaired") for notice in result.notices)
    right = [side.records.query("pipeline == 'pgd'")["correct"].sum() for side in (then, now)]
    expected = fisher_exact(
        [[right[0], N - right[0]], [right[1], N - right[1]]], alternative="greater"
    ).pvalue
    assert result.checks.query("pipeline == 'pgd'")["p_value"].item() == pytest.approx(expected)
    folders = [write(side, tmp_path / name) for name, side in (("now", now), ("then", then))]
    outcome = cli("gate", folders[0], "--baseline", folders[1], "--unpaired")
    assert outcome.code == 1
    assert "independent samples" in outcome.out
    assert gate(rerun(rng, chance, images=others), then, unpaired=True, config={"metrics": METRICS}).passed


def test_unpaired_false_alarms_are_rare(rng):
    others = [f"new/{n:05}" for n in range(N)]
    passed = [
        gate(rerun(rng, chances(rng), images=others), rerun(rng, chances(rng)), unpaired=True).passed
        for _ in range(60)
    ]
    assert np.mean(passed) >= 0.93


def test_images_that_one_run_could_not_read_are_left_out(rng):
    chance = chances(rng)
    now, then = rerun(rng, chance), rerun(rng, chance)
    gone = now.records["sample"].isin(["test/00000", "test/00001"])
    data = {
        **now.info.data.to_dict(),
        "images": N - 2,
        "unreadable": [{"sample": "test/00000", "reason": ""}],
    }
    shorter = with_records(now, now.records[~gone], data=data)
    result = gate(shorter, then)
    assert result.checks["n"].tolist() == [N - 2] * 2
    assert f"{N - 2} images are common" in result.notices[0]


def test_one_class_has_no_tnr_and_says_so():
    half = np.arange(40) % 4 > 0
    real = made_up({("d", "clean"): half, ("d", "pgd"): half}, one_label=True)
    result = gate(real, real, config={"metrics": ["accuracy", "tpr", "tnr"]})
    assert set(result.checks["metric"]) == {"accuracy", "tnr"}
    assert any("tpr of pgd on all is not tested" in notice for notice in result.notices)
    with pytest.raises(UserError, match="every metric lacks a class"):
        gate(real, real, config={"metrics": "tpr"})
    with pytest.raises(UserError, match="a class is missing"):
        gate(real, real, config={"floors": "tpr of pgd >= 0.1"})


def test_a_flag_stands_beside_its_numbers(pair):
    now, then = pair
    now = with_flag(now, "one_class", "d", "pgd")
    table = gate(now, then).table().set_index("pipeline")
    assert table["trust"].to_dict() == {"clean": "ok", "pgd": "one_class"}


def test_a_single_image_is_enough_to_say_nothing():
    one = np.array([True])
    then = made_up({("d", "clean"): one, ("d", "pgd"): one}, one_label=True)
    now = made_up({("d", "clean"): one, ("d", "pgd"): ~one}, one_label=True)
    result = gate(now, then)
    assert result.checks["loss"].max() == 1
    assert result.passed


def test_update_writes_a_small_baseline_that_gates_alike(rng, tmp_path, cli):
    chance = rng.beta(0.15, 0.15, N)
    now, then = rerun(rng, lowered(chance, 0.05)), rerun(rng, chance)
    folder = write(then, tmp_path / "run")
    outcome = cli("gate", folder, "--baseline", tmp_path / "kept", "--update")
    assert outcome.code == 0, outcome.err
    size = sum(file.stat().st_size for file in (tmp_path / "kept").iterdir())
    assert size < 60_000
    assert {file.name for file in (tmp_path / "kept").iterdir()} == {"baseline.json", "records.parquet"}
    pd.testing.assert_frame_equal(gate(now, tmp_path / "kept").checks, gate(now, then).checks)
    current = write(now, tmp_path / "now")
    assert cli("gate", current, "--baseline", tmp_path / "kept").code == 1
    assert cli("gate", current, "--baseline", tmp_path / "kept", "--update").code == 0
    assert cli("gate", current, "--baseline", tmp_path / "kept").code == 0
    assert not list(tmp_path.glob(".kept*"))
    refused = cli("gate", current, "--baseline", folder, "--update")
    assert refused.code == 2
    assert "is not a baseline" in refused.err


def spoilt(name):
    def cut(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def edited(folder):
    content = json.loads((folder / "run.json").read_text())
    content["data"]["fingerprint"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(content))


def without_rows(folder):
    records = pd.read_parquet(folder / "records.parquet")
    records.iloc[:-3].to_parquet(folder / "records.parquet", index=False)


def foreign_records(folder):
    pd.DataFrame({"a": range(4000)}).to_parquet(folder / "records.parquet")


def swapped_images(folder):
    records = pd.read_parquet(folder / "records.parquet")
    records.loc[records.index[-1], "sample"] = "test/other"
    records.to_parquet(folder / "records.parquet", index=False)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "run.json").unlink(), "run.json is missing"),
        (lambda folder: (folder / "summary.csv").unlink(), "summary.csv is missing"),
        (lambda folder: (folder / "records.parquet").unlink(), "has no records.parquet"),
        (spoilt("run.json"), "is damaged: run.json"),
        (spoilt("records.parquet"), "is damaged: records.parquet"),
        (lambda folder: (folder / "run.json").write_text("[]"), "not written by this version"),
        (lambda folder: (folder / "run.json").write_text('{"run_id": 1}'), "not written by this version"),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe"), "is damaged: run.json"),
        (edited, "has other images than run.json"),
        (without_rows, "rows, but run.json declares 4000"),
        (foreign_records, "has no column detector"),
        (swapped_images, "has other images than"),
    ],
)  # fmt: skip
def test_a_missing_truncated_or_foreign_folder_is_said_in_a_line(tmp_path, rng, cli, spoil, said):
    chance = chances(rng)
    good, bad = (write(rerun(rng, chance), tmp_path / name) for name in ("good", "bad"))
    spoil(bad)
    for arguments in ((bad, "--baseline", good), (good, "--baseline", bad)):
        outcome = cli("gate", *arguments)
        assert outcome.code == 2, outcome.err
        assert said in outcome.err
        assert len(outcome.err.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "records.parquet").unlink(), "records.parquet is missing"),
        (spoilt("records.parquet"), "is not the file that belongs to baseline.json"),
        (spoilt("baseline.json"), "is a damaged baseline"),
        (lambda folder: (folder / "baseline.json").write_text("{}"), "is a damaged baseline"),
        (lambda folder: (folder / "baseline.json").unlink(), "is not a run folder"),
    ],
)
def test_a_damaged_baseline_is_said_in_a_line(tmp_path, rng, cli, spoil, said):
    run_ = rerun(rng, chances(rng))
    folder = run_.save_baseline(tmp_path / "kept")
    assert Run.load(folder).info.data == run_.info.data
    spoil(folder)
    outcome = cli("gate", write(run_, tmp_path / "run"), "--baseline", folder)
    assert outcome.code == 2
    assert said in outcome.err


def test_no_baseline_yet_says_how_to_write_one(tmp_path, rng, cli):
    outcome = cli("gate", write(rerun(rng, chances(rng)), tmp_path / "run"), "--baseline", tmp_path / "kept")
    assert outcome.code == 2
    assert "--update" in outcome.err


BLOCK = (
    "gate: {metrics: [accuracy, tpr], pipelines: pgd, tolerance: 0.02, floors: ['accuracy of pgd >= 0.1']}"
)


def test_the_block_of_the_scenario_is_what_a_run_is_held_to(tmp_path, cli):
    file = scenario(
        tmp_path, "{pgd: [{attack: fgsm, eps: 1/255}]}", data="{source: minigen, split: test, limit: 60}"
    )
    file.write_text(file.read_text() + BLOCK + "\n")
    assert cli("validate", file).code == 0
    result = run(file, output=tmp_path / "out")
    checks = gate(result, result.folder).checks
    assert checks["metric"].tolist() == ["accuracy", "tpr", "accuracy"]
    assert checks["allowed"].tolist() == [0.02, 0.02, 0.1]
    own = tmp_path / "own.yaml"
    own.write_text("metrics: tnr\n")
    outcome = cli("gate", result.folder, "--baseline", result.folder, "--config", own, "--json")
    content = json.loads(outcome.out)
    assert content["passed"]
    assert {check["metric"] for check in content["checks"]} == {"tnr"}
    assert content["checks"][0]["p_holm"] == 1
    assert load_gate_spec(file).tolerance == 0.02
    by_option = cli("gate", result.folder, "--baseline", result.folder, "--floor", "accuracy of pgd >= 0.99")
    assert by_option.code == 1


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("gate: {metrics: acuracy}", "did you mean 'accuracy'?"),
        ("gate: {tolerence: 0.1}", "did you mean 'tolerance'?"),
        ("gate: {tolerance: 1}", "one point is 0.01"),
        ("gate: {alpha: 0}", "between 0 and 1"),
        ("gate: {floors: ['accuracy above 3']}", "must read 'METRIC of PIPELINE"),
        ("gate: {floors: ['accuracy of pgd >= 40']}", "between 0 and 1"),
        ("gate: {pipelines: pdg}", "no pipeline 'pdg'"),
        ("gate: {generators: dcgna}", "no generator 'dcgna'"),
        ("gate: {floors: ['tpr of pgd for lenet >= 0.4']}", "no detector 'lenet'"),
        ("gate: {metrics: auroc, pipelines: pgd}", "undefined after a final attack"),
        ("gate: []", "must be a mapping"),
    ],
)
def test_mistakes_in_the_block_are_found_before_anything_runs(tmp_path, cli, block, said):
    file = scenario(tmp_path, "{pgd: [{attack: fgsm, eps: 1/255}]}")
    file.write_text(file.read_text() + block + "\n")
    outcome = cli("validate", file)
    assert outcome.code == 2
    assert said in outcome.err
    assert "scenario.yaml:7" in outcome.err


def test_floors_read_as_one_says_them():
    assert read_floor("accuracy of pgd ≥ 0.40") == ("accuracy", "pgd", None, None, 0.4)
    assert read_floor("tpr of pgd[eps=4/255] on dcgan for a/b>=40%") == (
        "tpr",
        "pgd[eps=4/255]",
        "dcgan",
        "a/b",
        0.4,
    )


def test_sweeps_and_patterns_mean_what_they_match(rng):
    right = np.ones(50, dtype=bool)
    names = ["clean", "pgd[eps=1/255]", "pgd[eps=4/255]", "jpeg"]
    side = made_up({("d", name): right for name in names})
    for pattern, expected in (
        ("pgd", names[1:3]),
        ("pgd[eps=4/255]", names[2:3]),
        ("*e*", names),
        ("j???", names[3:]),
    ):
        assert gate(side, side, config={"pipelines": pattern}).checks["pipeline"].tolist() == expected


NASTY = "a<b>&\"'|`\n::error::%\x00"


def test_what_is_written_for_machines_is_well_formed(rng, tmp_path, monkeypatch, cli):
    chance = chances(rng)
    cells = {(NASTY, "clean"): np.ones(N, bool), (NASTY, "pgd"): rng.random(N) < chance}
    worse = {**cells, (NASTY, "pgd"): rng.random(N) < lowered(chance, 0.1)}
    now, then = write(made_up(worse), tmp_path / "now"), write(made_up(cells), tmp_path / "then")
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    outcome = cli("gate", now, "--baseline", then, "--junit", tmp_path / "reports" / "gate.xml", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["checks"][1]["failed"]
    suite = ET.parse(tmp_path / "reports" / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.find("testsuite/testcase/failure")
    assert "fell by" in failure.get("message")
    errors = [line for line in outcome.err.splitlines() if line.startswith("::error")]
    assert len(errors) == 1
    assert "title=robust-aigen%3A accuracy of pgd::" in errors[0]
    text = summary.read_text()
    assert "the gate failed" in text
    assert "a<b>" not in text.replace("\\<", "").replace("\\>", "")
    html = gate(now, then)._repr_html_()
    assert "<b>" not in html


def test_outside_github_nothing_is_annotated(pair, tmp_path, monkeypatch, cli):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    folders = [write(side, tmp_path / name) for name, side in zip("ab", pair, strict=True)]
    outcome = cli("gate", folders[0], "--baseline", folders[1])
    assert "::" not in outcome.out


def test_a_results_folder_stands_for_its_newest_run(pair, tmp_path, cli):
    folder = write(pair[0], tmp_path / "results" / "made_up" / "20250101-000000")
    (folder.parent / "latest").symlink_to(folder.name, target_is_directory=True)
    assert cli("gate", folder.parent, "--baseline", folder).code == 0
    assert Path(gate(folder.parent, folder).current) == folder.resolve()
