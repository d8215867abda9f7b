"""Runs: records, resume, cache, and the same numbers whichever way they are computed."""

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from interrupted import run_with_signal
from PIL import Image
from sklearn import metrics as sk

from robustbench_aigen.engine import identity
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.files import write_atomically
from robustbench_aigen.metrics.summary import COLUMNS
from robustbench_aigen.numerics.memory import BoundedCache
from robustbench_aigen.runs.results_folder import run_folder
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario

RECORD_COLUMNS = [
    "detector", "pipeline", "sample", "generator", "label", "clean_score", "score", "threshold", "attacked",
    "correct_clean", "correct", "correct_float", "linf", "l2", "distance", "distance_limit", "steps", "queries",
    "sha256", "search_eps", "psnr", "ssim", "masked_area", "generated_area", "chain", "found_by", "clean_log_odds",
    "log_odds", "threshold_log_odds",
]  # fmt: skip


def scenario(folder: Path, pipelines: str, **keys) -> Path:
    """Write a scenario; without trust checks, which take a third of a small run, unless a test is about them."""
    file = folder / "scenario.yaml"
    keys.setdefault("trust", "off")
    lines = [
        "version: 1",
        "name: example",
        f"data: {keys.pop('data', '{source: minigen, split: test, limit: 120}')}",
        f"detectors: {keys.pop('detectors', '[minigen/lenet5]')}",
        *(f"{key}: {value}" for key, value in keys.items()),
        f"pipelines: {pipelines}",
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


PGD_AND_NOISE = "{pgd: [{attack: pgd, eps: 1/255}], noise: [{perturb: gaussian_noise, sigma: 8/255}]}"


def test_a_run_folder_holds_what_the_design_says(tmp_path):
    pipelines = "{pgd: [{attack: pgd, eps: [1/255, 4/255]}], jpeg: [{perturb: jpeg, quality: 50}]}"
    result = run(
        scenario(tmp_path, pipelines, data="{source: minigen, split: test, limit: 200}"),
        output=tmp_path / "out",
    )
    folder = tmp_path / "out" / "example" / "latest"
    assert folder.resolve() == result.folder.resolve()
    records, summary = pd.read_parquet(folder / "records.parquet"), pd.read_csv(folder / "summary.csv")
    info = json.loads((folder / "run.json").read_text())
    assert list(records.columns) == RECORD_COLUMNS
    assert list(summary.columns) == COLUMNS
    assert len(records) == 4 * 200
    assert len(summary) == 4 * 6
    for key in ("scenario", "seed", "packages", "git_revision", "hardware", "detectors", "data", "timings"):
        assert key in info
    assert len(info["detectors"][0]["weights_sha256"]) == 64
    assert pd.read_csv(folder / "tables" / "accuracy.csv")["pipeline"].nunique() == 4
    assert "| minigen/lenet5 | pgd" in (folder / "report.md").read_text()
    assert not list((tmp_path / "out" / "example").glob(".partial*"))


@pytest.mark.parametrize("mode", ["accuracy", "score"])
def test_scikit_learn_finds_the_summarys_numbers_in_the_records(tmp_path, mode):
    pipelines = "{pgd: [{attack: pgd, eps: 1/255}], jpeg: [{perturb: jpeg, quality: 50}]}"
    result = run(scenario(tmp_path, pipelines, mode=mode, trust="off"), output=tmp_path / "out")
    records, summary = (
        pd.read_parquet(result.folder / "records.parquet"),
        pd.read_csv(result.folder / "summary.csv"),
    )
    for row in summary.itertuples():
        cell = records[(records["detector"] == row.detector) & (records["pipeline"] == row.pipeline)]
        if row.generator != "all":
            cell = cell[(cell["label"] == 0) | (cell["generator"] == row.generator)]
        verdict = (cell["log_odds"] >= cell["threshold_log_odds"]).astype(int)
        assert row.n == len(cell)
        assert row.accuracy == pytest.approx(sk.accuracy_score(cell["label"], verdict), abs=1e-9)
        assert row.accuracy == pytest.approx(cell["correct"].mean(), abs=1e-9)
        assert row.clean_accuracy == pytest.approx(cell["correct_clean"].mean(), abs=1e-9)
        assert row.balanced_accuracy == pytest.approx(
            sk.balanced_accuracy_score(cell["label"], verdict), abs=1e-6
        )
        assert row.ci_low <= row.accuracy <= row.ci_high
        if mode == "accuracy" and row.pipeline == "pgd":
            assert np.isnan(row.auroc)
            assert np.isnan(row.ap)
        else:
            assert row.auroc == pytest.approx(sk.roc_auc_score(cell["label"], cell["log_odds"]), abs=1e-6)
            assert row.ap == pytest.approx(
                sk.average_precision_score(cell["label"], cell["log_odds"]), abs=1e-6
            )
        if row.pipeline != "clean":
            assert row.drop == pytest.approx(row.clean_accuracy - row.accuracy, abs=1e-9)
            assert row.drop_ci_low <= row.drop <= row.drop_ci_high


@pytest.mark.parametrize("norm", ["linf", "l2", "l0", "spatial"])
def test_a_run_ends_with_its_tables_whatever_the_norm(tmp_path, norm):
    """Trust checks and tables read budgets, which a spatial attack has none of."""
    stages = {
        "linf": "{attack: fgsm, eps: [1/255, 2/255]}",
        "l2": "{attack: fgsm, norm: l2, eps: [0.1, 0.2]}",
        "l0": "{attack: onepixel, eps: 1, steps: 2}",
        "spatial": "{attack: rotation_translation, steps: [2, 4]}",
    }
    file = scenario(tmp_path, f"{{a: [{stages[norm]}]}}", data="{source: minigen, split: test, limit: 12}")
    result = run(file, output=tmp_path / "out")
    assert (result.folder / "report.md").is_file()
    assert result.summary["trust"].notna().all()
    assert result.records["score"].notna().all()


def test_the_same_scenario_twice_gives_the_same_records_and_computes_nothing(tmp_path):
    file = scenario(tmp_path, PGD_AND_NOISE, data="{source: minigen, split: test, limit: 40}")
    first, second = run(file, output=tmp_path / "out"), run(file, output=tmp_path / "out")
    pd.testing.assert_frame_equal(first.records, second.records)
    assert first.folder != second.folder
    assert all(cell.shards_computed == 0 for cell in second.info.timings)
    fresh = run(file, output=tmp_path / "out", fresh=True)
    pd.testing.assert_frame_equal(first.records, fresh.records)
    assert all(cell.shards_cached == 0 for cell in fresh.info.timings)
    elsewhere = run(file, output=tmp_path / "elsewhere")
    pd.testing.assert_frame_equal(first.records, elsewhere.records)


def test_a_cell_is_found_again_under_another_name_and_missed_when_anything_changes(tmp_path):
    few = {"data": "{source: minigen, split: test, limit: 12}"}
    run(scenario(tmp_path, "{a: [{attack: fgsm, eps: 1/255}]}", **few), output=tmp_path / "out")

    def computed(pipelines: str, **keys) -> int:
        result = run(scenario(tmp_path, pipelines, **few, **keys), output=tmp_path / "out")
        return sum(cell.shards_computed for cell in result.info.timings if cell.pipeline != "clean")

    assert computed("{b: [{attack: fgsm, eps: 1/255}]}") == 0
    assert computed("{a: [{attack: fgsm, eps: 2/255}]}") == 1
    assert computed("{a: [{attack: fgsm, eps: 1/255}]}", seed=43) == 1
    assert computed("{a: [{attack: fgsm, eps: 1/255}]}", batch_size=17) == 1
    assert computed("{a: [{attack: fgsm, eps: 1/255}]}", threshold=0.4) == 1
    assert computed("{a: [{attack: fgsm, eps: 1/255}]}", objective="fake_to_real") == 1
    assert computed("{a: [{attack: fgsm, eps: 1/255}]}", mode="score") == 1
    assert (
        computed("{a: [{attack: fgsm, eps: 1/255}]}", precision="fp32", detectors="[minigen/cifake_cnn]") == 1
    )


@pytest.mark.parametrize(
    "module", ["detectors/hog.py", "detectors/zoo/cifake_cnn.py", "detectors/formats/weights.py"]
)
def test_whatever_a_detector_computes_with_is_in_the_key(tmp_path, monkeypatch, module):
    package = tmp_path / "package"
    shutil.copytree(
        identity._PACKAGE,
        package,
        ignore=lambda _, names: [n for n in names if "." in n and not n.endswith(".py")],
    )
    monkeypatch.setattr(identity, "_PACKAGE", package)
    # The hashes of sources that the process keeps are left alone.
    monkeypatch.setattr(identity, "_source_hash", identity._source_hash.__wrapped__)
    keys = []
    for text in ("", "# corrected"):
        (package / module).write_text((package / module).read_text() + text)
        keys.append(identity._base_code.__wrapped__())
    assert keys[0] != keys[1]
    assert any(part.startswith("torchvision=") for part in keys[0])


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_records(tmp_path):
    """SIGKILL once five of its eight shards are there, and the detector's examination; then the same command again."""
    pipelines = "{pgd: [{attack: pgd, eps: [1/255, 2/255], steps: 4}], noise: [{perturb: gaussian_noise}]}"
    keys = {"data": "{source: minigen, split: test, limit: 280}", "mode": "score"}
    file = scenario(tmp_path, pipelines, **keys)
    undisturbed = run(file, output=tmp_path / "undisturbed")
    out = tmp_path / "killed"
    killed = run_with_signal(signal.SIGKILL, 6, file, out)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(out.glob(".cache/*/*.parquet"))) == 6
    assert not list(out.glob("example/*/summary.csv"))
    resumed = run(file, output=out)
    pd.testing.assert_frame_equal(undisturbed.records, resumed.records)
    assert sum(cell.shards_cached for cell in resumed.info.timings) == 5
    assert sum(cell.shards_computed for cell in resumed.info.timings) == 3


def test_replaced_data_start_at_the_current_folder(tmp_path, image_folder, monkeypatch):
    """And not where the scenario's own do, which for a shipped one is somewhere in the package."""
    monkeypatch.chdir(tmp_path)
    for given in (image_folder.name, {"source": image_folder.name}, {"sources": [image_folder.name]}):
        spec = load_scenario("jpeg_sweep").replace(data=given).data
        assert [part.source for part in spec.parts.values()] == [str(image_folder)]
    with_hub = load_scenario("jpeg_sweep").replace(data={"sources": ["minigen", "hf://a/b"]}).data
    assert [part.source for part in with_hub.parts.values()] == ["minigen", "hf://a/b"]


@pytest.mark.parametrize("mode", ["accuracy", "score"])
def test_batch_sizes_agree(tmp_path, mode):
    """The noise is the same bit for bit, its log-odds to what the order of a float32 sum moves them by.

    An attack that takes every step ends at the same log-odds too; one that stops does so where it is looked at,
    which depends on the batch: at most one image in 200 may stand in one size and fall in another.
    """
    frames, limit = {}, 200 if mode == "accuracy" else 60
    for size in (1, 7, 256):
        data = f"{{source: minigen, split: test, limit: {limit}}}"
        keys = {"batch_size": size, "precision": "fp32", "data": data, "trust": "off"}
        frames[size] = run(
            scenario(tmp_path, PGD_AND_NOISE, mode=mode, **keys), output=tmp_path / "out"
        ).records
    for size in (1, 7):
        for name, cell in frames[size].reset_index(drop=True).groupby("pipeline"):
            other = frames[256][frames[256]["pipeline"] == name]
            ours, theirs = cell["log_odds"].to_numpy(), other["log_odds"].to_numpy()
            agree = cell["correct"].to_numpy() == other["correct"].to_numpy()
            if name == "pgd" and mode == "accuracy":
                assert agree.mean() >= 0.995
                continue
            within = 0.25 if name == "pgd" else 1e-4
            assert np.abs(ours - theirs).max() <= within
            assert (agree | (np.abs(ours) <= within)).all()
            if name == "noise":
                assert np.array_equal(cell["linf"], other["linf"])
                assert np.array_equal(cell["l2"], other["l2"])


@pytest.mark.parametrize("mode", ["accuracy", "score"])
def test_the_three_backends_agree(tmp_path, mode):
    pipelines = (
        "{linf: [{attack: pgd, eps: 1/255, backend: [native, torchattacks, art]}],"
        " l2: [{attack: pgd, norm: l2, eps: 0.25, backend: [native, torchattacks, art]}],"
        " fgsm: [{attack: fgsm, eps: 2/255, backend: [native, torchattacks, art]}]}"
    )
    keys = {"mode": mode, "precision": "fp32", "data": "{source: minigen, split: test, limit: 200}"}
    summary = run(scenario(tmp_path, pipelines, **keys), output=tmp_path / "out").summary
    rows = summary[summary["generator"] == "all"].set_index("pipeline")["accuracy"]
    for name in ("linf", "l2", "fgsm"):
        values = [rows[f"{name}[backend={backend}]"] for backend in ("native", "torchattacks", "art")]
        assert max(values) - min(values) <= 0.005, (name, values)
        assert max(values) < rows["clean"]


def test_an_attack_before_a_perturbation_takes_every_step_in_both_modes(tmp_path):
    pipelines = "{pj: [{attack: pgd, eps: 4/255}, {perturb: jpeg, quality: 95}]}"
    records = {}
    for mode in ("accuracy", "score"):
        result = run(scenario(tmp_path, pipelines, mode=mode), output=tmp_path / "out")
        records[mode] = result.records[result.records["pipeline"] == "pj"].reset_index(drop=True)
    pd.testing.assert_frame_equal(records["accuracy"], records["score"])
    assert (records["accuracy"]["steps"] == 10).all()
    assert records["accuracy"]["correct_float"].isna().all()


def test_accuracy_mode_attacks_only_what_was_right_and_divides_by_all(tmp_path):
    result = run(scenario(tmp_path, "{pgd: [{attack: pgd, eps: 1/255}]}"), output=tmp_path / "out")
    cell = result.records[result.records["pipeline"] == "pgd"]
    assert (cell["attacked"] == cell["correct_clean"]).all()
    assert (cell.loc[~cell["attacked"], "steps"] == 0).all()
    assert not cell.loc[~cell["attacked"], "correct"].any()
    row = result.summary[(result.summary["pipeline"] == "pgd") & (result.summary["generator"] == "all")].iloc[
        0
    ]
    assert row["accuracy"] == cell["correct"].sum() / 120
    assert row["attack_success"] == pytest.approx(1 - cell.loc[cell["attacked"], "correct"].mean())


@pytest.mark.parametrize(("objective", "label"), [("fake_to_real", 1), ("real_to_fake", 0)])
def test_an_objective_attacks_one_class(tmp_path, objective, label):
    file = scenario(
        tmp_path, "{pgd: [{attack: pgd, eps: 4/255}]}", objective=objective, mode="score", trust="off"
    )
    cell = run(file, output=tmp_path / "out").records.query("pipeline == 'pgd'")
    assert (cell["attacked"] == (cell["label"] == label)).all()
    assert (cell.loc[~cell["attacked"], "linf"] == 0).all()
    assert (cell.loc[~cell["attacked"], "score"] == cell.loc[~cell["attacked"], "clean_score"]).all()


@pytest.mark.parametrize("threshold", [0.7, 0.4, 0.123456789])
def test_a_threshold_decides_ties_alike_in_the_run_and_in_the_records(tmp_path, threshold):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", threshold=threshold)
    records = run(file, output=tmp_path / "out").records
    assert records["threshold"].unique().tolist() == [float(np.float32(threshold))]
    assert records["threshold_log_odds"].unique().tolist() == [
        np.float32(np.log(threshold / (1 - threshold)))
    ]


@pytest.mark.parametrize("rule", ["youden", "fpr@0.05"])
def test_a_fitted_threshold_comes_from_validation_and_stays(tmp_path, rule):
    file = scenario(tmp_path, "{pgd: [{attack: pgd, eps: 1/255}]}", threshold=rule, trust="off")
    result = run(file, output=tmp_path / "out")
    threshold = result.info.detectors[0].threshold
    assert result.records["threshold"].unique().tolist() == [threshold]
    validation = run(
        scenario(tmp_path, "{noise: [{perturb: gaussian_noise}]}", data="{source: minigen, split: val}"),
        output=tmp_path / "out",
    ).records.query("pipeline == 'clean'")
    fpr, tpr, _ = sk.roc_curve(validation["label"], validation["log_odds"], drop_intermediate=False)
    ours = validation["log_odds"] >= result.info.detectors[0].threshold_log_odds
    our_fpr, our_tpr = ours[validation["label"] == 0].mean(), ours[validation["label"] == 1].mean()
    if rule == "youden":
        assert our_tpr - our_fpr == pytest.approx((tpr - fpr).max())
    else:
        assert our_fpr <= 0.05
        assert our_tpr == pytest.approx(tpr[fpr <= 0.05].max())


def test_an_unreadable_image_is_named_and_counted_and_the_run_goes_on(tmp_path, image_folder, weights, cli):
    whole = (image_folder / "fake" / "03.png").read_bytes()
    (image_folder / "fake" / "03.png").write_bytes(whole[: len(whole) // 2])
    (image_folder / "real" / "05.png").write_text("no image at all")
    keys = {
        "data": f"{{source: {image_folder}, split: all}}",
        "detectors": f"[{{path: {weights}, arch: lenet5}}]",
    }
    file = scenario(tmp_path, PGD_AND_NOISE, **keys)
    for _ in range(2):  # the second time from the cache
        outcome = cli("run", file, "--output", tmp_path / "out")
        assert outcome.code == 0
        assert "skipped fake/03.png" in outcome.err
        assert "skipped real/05.png: not an image" in outcome.err
        assert "2 images could not be read" in outcome.out
    info = json.loads((tmp_path / "out" / "example" / "latest" / "run.json").read_text())
    assert [problem["sample"] for problem in info["data"]["unreadable"]] == ["fake/03.png", "real/05.png"]
    assert "could not be read" in (tmp_path / "out" / "example" / "latest" / "report.md").read_text()


def test_a_folder_of_unreadable_images_is_an_error(tmp_path, image_folder, weights, cli):
    for file in image_folder.rglob("*.png"):
        file.write_bytes(b"broken")
    keys = {
        "data": f"{{source: {image_folder}, split: all}}",
        "detectors": f"[{{path: {weights}, arch: lenet5}}]",
    }
    outcome = cli("run", scenario(tmp_path, PGD_AND_NOISE, **keys), "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "no image can be read (24 tried)" in outcome.err
    assert not (tmp_path / "out" / "example").exists()


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_one_class_runs_with_what_needs_the_other_left_empty(
    tmp_path, image_folder, weights, cli, missing, undrawn
):
    shutil.rmtree(image_folder / missing)
    keys = {
        "data": f"{{source: {image_folder}, split: all}}",
        "detectors": f"[{{path: {weights}, arch: lenet5}}]",
    }
    outcome = cli("run", scenario(tmp_path, PGD_AND_NOISE, **keys), "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert "images stay empty" in outcome.err
    for row in json.loads(outcome.out)["summary"]:
        assert row["accuracy"] is not None
        assert row["auroc"] is row["balanced_accuracy"] is None
    assert cli("report", tmp_path / "out" / "example").code == 0


def test_images_of_mixed_sizes_are_attacked_at_their_own_size(tmp_path, image_folder, weights):
    for number, file in enumerate(sorted(image_folder.rglob("*.png"))):
        Image.open(file).resize((32 + number % 3, 40)).save(file)
    keys = {
        "data": f"{{source: {image_folder}, split: all}}",
        "detectors": f"[{{path: {weights}, arch: lenet5, input_size: 32}}]",
    }
    pipelines = "{pgd: [{attack: pgd, eps: 8/255, backend: [native, torchattacks, art]}], rs: [{perturb: resize, back: false}]}"
    records = run(scenario(tmp_path, pipelines, mode="score", **keys), output=tmp_path / "out").records
    attacked = records[records["attacked"]]
    assert len(attacked) == 3 * 24
    assert attacked["linf"].max() <= 8 / 255 + 1e-7
    assert records.loc[records["pipeline"] == "rs", "linf"].isna().all()


def test_a_detector_that_answers_one_class_is_flagged(tmp_path):
    from safetensors.torch import save_file

    from robustbench_aigen.detectors.zoo import build_architecture

    torch.manual_seed(0)
    network = build_architecture("lenet5")
    network.head[-1].bias.data = torch.tensor([-50.0, 50.0])
    save_file(network.state_dict(), tmp_path / "always_fake.safetensors")
    keys = {"detectors": "[{path: always_fake.safetensors, arch: lenet5}, minigen/lenet5]"}
    summary = run(scenario(tmp_path, "{pgd: [{attack: pgd}]}", **keys), output=tmp_path / "out").summary
    always = summary[summary["detector"] == "always_fake"]
    assert always["trust"].str.contains("one_class").all()
    assert not summary[summary["detector"] == "minigen/lenet5"]["trust"].str.contains("one_class").any()
    assert always[always["pipeline"] == "clean"]["tpr"].tolist() == [1.0] * 6
    assert always[always["pipeline"] == "clean"]["tnr"].tolist() == [0.0] * 6


def test_a_fractional_budget_is_floored_and_flagged(tmp_path):
    result = run(scenario(tmp_path, "{pgd: [{attack: pgd, eps: 1.5/255}]}"), output=tmp_path / "out")
    row = result.summary.query("pipeline == 'pgd' and generator == 'all'").iloc[0]
    assert row["linf_max"] == pytest.approx(1 / 255)
    assert "eps_floored" in row["trust"]


def test_a_failed_write_leaves_no_half_run(tmp_path):
    with pytest.raises(RuntimeError), run_folder(tmp_path / "s") as (_, folder):
        (folder / "summary.csv").write_text("half")
        raise RuntimeError
    assert list((tmp_path / "s").iterdir()) == []


def test_runs_that_end_in_the_same_second_get_folders_of_their_own(tmp_path):
    """Eight threads, each filling and ending runs as fast as it can."""

    def end(number: int) -> str:
        with run_folder(tmp_path) as (run_id, folder):
            (folder / "run.json").write_text(str(number))
        return run_id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(end, range(100)))
    assert len(set(ids)) == 100
    assert sorted(int((tmp_path / i / "run.json").read_text()) for i in ids) == list(range(100))
    assert (tmp_path / "latest" / "run.json").is_file()


def test_what_a_killed_run_left_is_removed_after_an_hour(tmp_path):
    for name, age in (("old", 4000), ("young", 10)):
        (tmp_path / f".partial-{name}").mkdir()
        os.utime(tmp_path / f".partial-{name}", (time.time() - age,) * 2)
    with run_folder(tmp_path):
        pass
    assert [f.name for f in tmp_path.glob(".partial*")] == [".partial-young"]


@pytest.mark.parametrize("split", ["val", "all"])
def test_a_threshold_is_not_fitted_on_what_is_evaluated(tmp_path, split):
    file = scenario(tmp_path, PGD_AND_NOISE, data=f"{{source: minigen, split: {split}}}", threshold="youden")
    with pytest.raises(UserError, match="threshold: 'youden' is fitted on the validation split"):
        run(file, output=tmp_path / "out")


@pytest.mark.parametrize(
    "changes",
    [{"name": "../x"}, {"threshold": 7}, {"mode": "bogus"}, {"seed": "x"}, {"limit": 5}, {"detectors": []}],
)
def test_replaced_keys_are_validated_like_the_files(tmp_path, changes):
    with pytest.raises(UserError, match=f"^{next(iter(changes))}"):
        load_scenario(scenario(tmp_path, PGD_AND_NOISE)).replace(**changes)


PERTURBATIONS = """
import torch
def floats(levels): return levels.float() / 255
def grey(levels): return levels[:, :1]
def fewer(levels): return levels[1:]
def nothing(levels): return None
def boom(levels): raise ValueError("out of paint")
def darker(levels): return levels // 2
def brighter(levels): return 255 - (255 - levels) // 2
number = 3
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [("floats", "torch.float32"), ("grey", "returned \\(120, 1, 32, 32\\)"), ("fewer", "returned \\(119"), ("nothing", "NoneType"),
     ("missing", "has no 'missing'"), ("number", "is not a Python function")],
)  # fmt: skip
def test_what_a_users_perturbation_returns_is_verified(tmp_path, monkeypatch, function, message):
    own_perturbation(tmp_path, monkeypatch, function)
    with pytest.raises(UserError, match=message):
        run(scenario(tmp_path, "{own: [{perturb: own.yaml}]}"), output=tmp_path / "out")


def test_a_users_perturbation_that_fails_is_named(tmp_path, monkeypatch, cli):
    own_perturbation(tmp_path, monkeypatch, "boom")
    outcome = cli("run", scenario(tmp_path, "{own: [{perturb: own.yaml}]}"), "--output", tmp_path / "out")
    assert outcome.code == 3
    assert "perturbation 'own' failed: ValueError: out of paint" in outcome.err


def own_perturbation(tmp_path, monkeypatch, function: str) -> None:
    (tmp_path / "own_perturbations.py").write_text(PERTURBATIONS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.yaml").write_text(
        f"kind: perturb\nname: own\nsummary: mine\nimplementation: own_perturbations:{function}\n"
    )


DETECTORS = {
    "its own file": ("import numpy, torch\nW = {value}\n", None),
    "a module that it imports": ("import numpy, torch\nfrom helper_of_mine import W\n", "W = {value}\n"),
    "a file that it reads": ("import numpy, torch\nW = float(numpy.load('weights.npy'))\n", None),
}
ANSWERS = """
def build():
    return lambda pixels: W * (pixels.mean(dim=(1, 2, 3)) - 0.4)
"""


@pytest.mark.parametrize("kept_in", list(DETECTORS))
def test_a_detector_in_python_that_changes_is_not_found_in_the_cache(tmp_path, monkeypatch, kept_in):
    own, helper = DETECTORS[kept_in]
    monkeypatch.chdir(tmp_path)
    file = scenario(tmp_path, "{}", detectors='["python:mine.py:build"]', data="{source: minigen, limit: 24}")
    scores, computed = [], []
    for value in (8.0, -8.0, -8.0):
        (tmp_path / "mine.py").write_text(own.format(value=value) + ANSWERS)
        (tmp_path / "helper_of_mine.py").write_text((helper or "").format(value=value))
        np.save(tmp_path / "weights.npy", value)
        sys.modules.pop("helper_of_mine", None)  # As in another process.
        result = run(file, output=tmp_path / "out")
        scores.append(result.records["score"].to_numpy())
        computed.append(result.info.timings[0].shards_computed)
    assert not np.allclose(scores[0], scores[1])
    assert np.array_equal(scores[1], scores[2])
    assert computed == [1, 1, 0]


def test_a_function_beside_its_recipe_is_found_and_what_it_imports_is_in_the_key(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "dark.yaml").write_text(
        "kind: perturb\nname: dark\nsummary: mine\nimplementation: beside_the_recipe:dark\n"
    )
    (tmp_path / "recipes" / "beside_the_recipe.py").write_text(
        "from share_of_light import SHARE\n\ndef dark(levels, streams=None):\n    return (levels * SHARE).byte()\n"
    )
    keys = []
    for share in (0.5, 0.25, 0.25):
        (tmp_path / "recipes" / "share_of_light.py").write_text(f"SHARE = {share}\n")
        for name in ("beside_the_recipe", "share_of_light"):
            sys.modules.pop(name, None)
        identity._implementation_code.cache_clear()
        loaded = load_scenario(scenario(tmp_path, "{p: [{perturb: recipes/dark.yaml}]}"))
        keys.append(identity._stage_identity(expand_pipelines(loaded)[1].stages[0])["code"])
    assert keys[0] != keys[1] == keys[2]


def test_another_function_in_the_same_recipe_is_another_result(tmp_path, monkeypatch):
    scores = []
    for function in ("darker", "brighter", "darker"):
        own_perturbation(tmp_path, monkeypatch, function)
        result = run(scenario(tmp_path, "{own: [{perturb: own.yaml}]}"), output=tmp_path / "out")
        scores.append(result.records.query("pipeline == 'own'")["score"].to_numpy())
    assert not np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


def test_a_file_is_replaced_whole(tmp_path):
    write_atomically(tmp_path / "a" / "f", b"one")
    write_atomically(tmp_path / "a" / "f", b"two")
    assert [(f.name, f.read_bytes()) for f in (tmp_path / "a").iterdir()] == [("f", b"two")]


def test_memory_forgets_what_was_used_longest_ago():
    cache: BoundedCache[str] = BoundedCache(10, len)
    made = []

    def make(key):
        return lambda: made.append(key) or key * 4

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, make(key))
    assert made == ["a", "b", "c", "b"]
    assert cache.get("huge", lambda: "x" * 11) == "x" * 11


def test_two_detectors_of_one_name_are_refused(tmp_path):
    file = scenario(tmp_path, PGD_AND_NOISE, detectors="[minigen/lenet5, minigen/lenet5]")
    with pytest.raises(UserError, match="two detectors are called"):
        run(file, output=tmp_path / "out")


def test_load_scenario_is_what_run_takes(tmp_path):
    loaded = load_scenario(scenario(tmp_path, "{noise: [{perturb: gaussian_noise}]}"))
    assert run(loaded, output=tmp_path / "out").info.scenario.name == "example"
