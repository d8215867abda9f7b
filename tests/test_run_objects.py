"""Runs as objects: the same in memory and on disk, pickled, killed, and beside a direct call of the attack."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

from robustbench_aigen import (
    ImageData,
    Run,
    Scenario,
    UserError,
    attacks,
    compare,
    compare_detectors,
    evaluate,
    gate,
    list_attacks,
    list_runs,
    load_detector,
    perturbations,
    report,
)

pytestmark = pytest.mark.usefixtures("undrawn")

COUNT = 16
DETECTOR = "minigen/lenet5"
PIPELINES = {
    "pgd": attacks.pgd(eps=["1/255", "2/255"], steps=2),
    "upload": [attacks.fgsm(eps="2/255"), perturbations.jpeg(quality=75)],
    "aware": attacks.pgd(eps="2/255", steps=2, through=[perturbations.jpeg(quality=75)]),
}


@pytest.fixture(scope="module")
def detectors():
    return [load_detector(DETECTOR), load_detector("minigen/cifake_cnn")]


@pytest.fixture(scope="module")
def held(detectors):
    return evaluate(detectors, ImageData.open("minigen", limit=COUNT), PIPELINES)


@pytest.fixture(scope="module")
def filed(tmp_path_factory, detectors):
    output = tmp_path_factory.mktemp("runs")
    return evaluate(detectors, ImageData.open("minigen", limit=COUNT), PIPELINES, output=output)


def test_a_run_in_memory_is_the_run_on_disk_record_by_record(held, filed):
    loaded = Run.load(filed.folder.parent)
    assert loaded.folder == filed.folder.resolve()
    for other in (filed, loaded, pickle.loads(pickle.dumps(held)), pickle.loads(pickle.dumps(loaded))):
        pd.testing.assert_frame_equal(other.records, held.records)
        pd.testing.assert_frame_equal(other.summary, held.summary)
        pd.testing.assert_frame_equal(other.gallery, held.gallery)
        assert (other.pipelines, other.detectors) == (held.pipelines, held.detectors)
        assert other.info.data == held.info.data
    assert loaded.info == filed.info
    assert [run.folder for run in list_runs(filed.folder.parent.parent)] == [filed.folder]
    kept = Run.load(held.save_baseline(filed.folder.parent / "kept"))
    assert [run.folder for run in list_runs(filed.folder.parent.parent)] == [filed.folder]
    assert len(kept.overall()) == len(kept.adversarial_examples) == 0


@pytest.mark.parametrize("kind", ["held", "filed"])
def test_every_view_takes_a_run_from_memory_and_from_disk(kind, request, tmp_path):
    run = request.getfixturevalue(kind)
    records = run.records[run.records["detector"] == DETECTOR]
    correct = records.pivot_table(index="sample", columns="pipeline", values="correct")
    assert run.accuracy(detector=DETECTOR) == pytest.approx(correct["clean"].mean())
    swept = correct[["pgd[eps=1/255]", "pgd[eps=2/255]"]].all(axis=1).mean()
    assert run.worst_case("pgd", DETECTOR) == run.worst_case("pgd*", DETECTOR) == pytest.approx(swept)
    with pytest.raises(UserError, match="the run has 2 detectors"):
        run.accuracy("clean")
    assert len(run.compare_detectors()) == len(run.pipelines)
    pd.testing.assert_frame_equal(run.compare_detectors(), compare_detectors(run))
    examples = run.adversarial_examples
    assert len(examples) == len([*examples]) > 0
    assert all(each.record["attacked"] and each.original.size == each.image.size for each in examples)
    examples.save(tmp_path / "examples")
    assert len([*(tmp_path / "examples").glob("*_attacked.png")]) == len(examples)
    saved = Run.load(run.save(tmp_path / "saved"))
    pd.testing.assert_frame_equal(saved.records, run.records)
    with pytest.raises(UserError, match="exists"):
        run.save(tmp_path / "saved")
    kept = run.save_baseline(tmp_path / "kept")
    assert run.gate(kept).passed
    assert run.gate(str(kept), config={"metrics": ["tnr"]}).checks["metric"].unique().tolist() == ["tnr"]
    assert gate(run, Run.load(kept)).passed
    assert Run.load(kept).worst_case("pgd", DETECTOR) == pytest.approx(swept)
    comparison = run.compare(Run.load(kept))
    assert comparison.differences == []
    assert len(comparison.images) == 0
    assert not compare(kept, run).cells["change"].any()
    written = run.report(tmp_path / "report")
    assert {"report.html", "report.md", "report.tex", "tables", "figures"} <= {
        file.name for file in written.iterdir()
    }
    assert "None" not in (written / "report.md").read_text(encoding="utf-8")
    assert "<table" in run._repr_html_()
    assert "in memory" in run._repr_html_() if run.folder is None else str(run.folder) in run._repr_html_()


def test_runs_are_reported_side_by_side_wherever_they_are(held, filed, tmp_path):
    other = evaluate(
        load_detector("minigen/lenet5@vae"), ImageData.open("minigen", limit=COUNT), name="other"
    )
    folder = report([filed, other], tmp_path / "both")
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "evaluation, other" in text
    assert "minigen/lenet5@vae" in text
    with pytest.raises(UserError, match="needs a folder"):
        held.report()
    with pytest.raises(UserError, match="has no summary"):
        report([held.save_baseline(tmp_path / "kept")], tmp_path / "none")
    with pytest.raises(UserError, match="given twice"):
        report([held, held], tmp_path / "none")


def test_every_pipeline_stage_and_detector_of_a_run_can_be_asked_again(held):
    for stage in (PIPELINES["pgd"], PIPELINES["aware"], *PIPELINES["upload"]):
        assert pickle.loads(pickle.dumps(stage)) == stage
    assert pickle.loads(pickle.dumps(held.info)) == held.info
    assert held.info.replace(seed=7).seed == 7
    assert held.info.seed == 42


def test_a_surrogate_is_a_detector_an_id_or_any_module(detectors):
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    pipelines = {
        "detector": attacks.transfer(surrogate=detectors[1], steps=2),
        "id": attacks.transfer(surrogate="minigen/cifake_cnn", steps=2),
        "module": attacks.transfer(surrogate=module, eps=["1/255", "2/255"], steps=2),
    }
    run = evaluate(detectors[0], ImageData.open("minigen", limit=COUNT), pipelines)
    one, other = (run.records[run.records["pipeline"] == name] for name in ("detector", "id"))
    assert one["log_odds"].tolist() == other["log_odds"].tolist()
    assert run.info.by_pipeline["id"].stages[0]["surrogate"] == "minigen/cifake_cnn"
    assert run.info.by_pipeline["module[eps=2/255]"].stages[0]["surrogate"]["memory"] == "Sequential"
    assert module[2].weight.requires_grad


class Overflowing(torch.nn.Module):
    """Answers NaN for bright images."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3 * 64, 2)

    def forward(self, pixels):
        is_bright = pixels.mean(dim=(1, 2, 3)) > 0.9
        return torch.where(is_bright[:, None], torch.nan, self.last(pixels.flatten(1)))


def test_a_direct_call_names_the_image_without_a_verdict():
    images = torch.full((4, 3, 8, 8), 0.5)
    images[2] = 1.0
    with pytest.raises(UserError, match=r"answers NaN or infinity for images\[2\] of 4 images"):
        attacks.fgsm(eps=4 / 255)(Overflowing(), images, [0, 1, 0, 1])


RESUMED = """
import json, os, signal, sys
from robustbench_aigen import attacks, evaluate
from robustbench_aigen.engine.store import ShardCache

after, output = int(sys.argv[1]), sys.argv[2]
save, kept = ShardCache.save, []

def saving(self, key, records, problems):
    save(self, key, records, problems)
    kept.append(key)
    if len(kept) == after:
        os.kill(os.getpid(), signal.SIGKILL)

ShardCache.save = saving
run = evaluate("minigen/lenet5", "minigen", {"pgd": attacks.pgd(eps=["1/255", "2/255", "3/255"], steps=2)},
               limit=16, output=output, device="cpu")
print(json.dumps([[row.pipeline, row.shards_computed, row.shards_cached] for row in run.info.timings if row.step == "cell"]))
"""


def evaluated(after: int, output: Path) -> subprocess.CompletedProcess[str]:
    """``evaluate`` in a process of its own, which kills itself once so many shards are in the cache."""
    return subprocess.run(
        [sys.executable, "-c", RESUMED, str(after), str(output)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_killed_evaluation_goes_on_in_a_new_process_and_computes_no_shard_again(tmp_path):
    killed = evaluated(4, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not [*tmp_path.glob("evaluation/*/run.json")]
    shards = {file: file.stat().st_mtime_ns for file in (tmp_path / ".cache").glob("*/*.parquet")}
    assert len(shards) == 4
    resumed = evaluated(0, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert {file: file.stat().st_mtime_ns for file in shards} == shards
    # The examination of the detector is a file of the cache, too.
    rows = json.loads(resumed.stdout)
    assert [cached for _, _, cached in rows] == [1, 1, 1, 0]
    assert [computed for _, computed, _ in rows] == [0, 0, 0, 1]


def native_attacks() -> list[str]:
    recipes = {name: getattr(attacks, name).recipe for name in list_attacks()}
    return [name for name, recipe in recipes.items() if recipe.backends.native is not None]


# One step, several steps, random, by scores, several in turn, and one that needs another detector.
FOR_EVERY_WAY = {"fgsm", "pgd", "square", "auto", "transfer"}


@pytest.mark.parametrize("through", [False, True], ids=["alone", "through"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FOR_EVERY_WAY else pytest.mark.sweep)
        for name in native_attacks()
    ],
)
def test_run_evaluate_and_a_direct_call_give_the_same_verdicts(name, through, tmp_path):
    recipe = getattr(attacks, name).recipe
    given = {key: 3 for key in ("steps", "queries") if key in recipe.parameters}
    if recipe.needs_surrogate:
        given["surrogate"] = "minigen/cifake_cnn"
    if through:
        given["through"] = [{"perturb": "jpeg", "quality": 75}]
    scenario = Scenario.from_dict(
        {
            "version": 1, "name": "same", "data": {"source": "minigen", "split": "test", "limit": COUNT},
            "detectors": [DETECTOR], "pipelines": {"p": [{"attack": name, **given}]}, "trust": "off",
        }
    )  # fmt: skip
    try:
        made = attacks.create(name, **given)
    except UserError as refused:
        assert through, refused  # noqa: PT017  Some attacks take no images that another function changes.
        return
    run = scenario.run(tmp_path, device="cpu")
    detector, data = load_detector(DETECTOR), ImageData.open("minigen", split="test", limit=COUNT)
    found = evaluate(detector, data, {"p": made})
    pd.testing.assert_frame_equal(found.records, run.records)
    records = run.records[run.records["pipeline"] == "p"].reset_index(drop=True)
    samples = {data.source.samples[index].id: index for index in data.selection.indices}
    pictures = [
        Image.open(io.BytesIO(data.source.encoded(samples[sample]))).convert("RGB")
        for sample in records["sample"]
    ]
    result = made(
        detector, pictures, records["label"].tolist(), early_stop=True, ids=records["sample"].tolist()
    )
    assert (~result.success).tolist() == records["correct"].tolist()
    assert result.score.numpy() == pytest.approx(records["score"].to_numpy(), abs=1e-6)
    assert result.steps.tolist() == records["steps"].tolist()
    assert result.queries.tolist() == records["queries"].tolist()
