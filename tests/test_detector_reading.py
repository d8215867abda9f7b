"""A wrong fake_index, order of channels or normalisation is told from labelled validation images."""

import json
import re
from pathlib import Path

import pytest
import torch

from robustbench_aigen import load_detector
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.samples import read_encoded
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.trust.output_issues import read

HALF = (0.5, 0.5, 0.5)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """128 validation images of minigen, half of them fakes."""
    selection = select(open_source("minigen", Path()), "val", None)
    samples = selection.source.samples
    rows = [[index for index in selection.indices if samples[index].label == label][:64] for label in (0, 1)]
    chosen = [index for pair in zip(*rows, strict=True) for index in pair]
    levels = torch.stack([decode(read_encoded(selection.source, index)) for index in chosen])
    return levels, torch.tensor([samples[index].label for index in chosen])


@pytest.fixture(scope="module")
def trained() -> Detector:
    """It was trained on RGB in [-1, 1], and its output 1 is fake."""
    return load_detector("minigen/lenet5")


def issues(detector: Detector, images) -> list[dict]:
    levels, labels = images

    def ask(other: Detector, count: int) -> torch.Tensor:
        with torch.no_grad():
            return log_odds(other(to_pixels(levels[:count])))

    return [(issue.settings, issue.sentence) for issue in read(detector, ask, labels, (32, 32)).issues]


def test_nothing_is_said_of_a_detector_that_is_read_as_it_was_meant(trained, images):
    assert issues(trained, images) == []


def test_outputs_the_wrong_way_round_are_told(trained, images):
    ((settings, sentence),) = issues(trained.read_as(fake_index=0), images)
    assert settings == {"fake_index": 1}
    levels, labels = images
    with torch.no_grad():
        right = float((trained(to_pixels(levels)).argmax(dim=1) == labels).double().mean())
    measured = f"accuracy {100 * (1 - right):.0f} % as read, {100 * right:.0f} % flipped"
    assert sentence == f"output 0 looks like *real*: {measured}; set `fake_index: 1`"


def test_the_wrong_normalisation_is_told(trained, images):
    for wrong in ({"mean": (0.0,) * 3, "std": (1.0,) * 3}, {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}):
        ((settings, sentence),) = issues(trained.read_as(**wrong), images)
        assert settings == {"mean": HALF, "std": HALF}
        assert "normalisation looks wrong" in sentence
        assert sentence.endswith("set mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]")


def test_the_wrong_order_of_channels_is_told(trained, images):
    (found,) = issues(trained.read_as(channels="bgr"), images)
    assert found[0] == {"channels": "rgb"}
    assert found[1].endswith("set channels: rgb")


def test_several_faults_at_once_are_told(trained, images):
    found = issues(trained.read_as(channels="bgr", fake_index=0, mean=(0.0,) * 3, std=(1 / 255,) * 3), images)
    merged = {name: value for settings, _ in found for name, value in settings.items()}
    assert merged == {"mean": HALF, "std": HALF, "channels": "rgb", "fake_index": 1}


def test_a_detector_that_calls_everything_real_is_told_by_its_ranking(trained, images):
    """Its verdicts say nothing, the order of its scores does."""
    timid = trained.read_as(fake_index=0)
    network = timid.network

    class Timid(torch.nn.Module):
        def forward(self, x):
            return network(x) / 10 + torch.tensor([-50.0, 50.0])

    timid.network = Timid()
    (found,) = issues(timid, images)
    assert found[0] == {"fake_index": 1}
    assert "AUROC 0.0" in found[1]


def test_chance_says_nothing(trained, images):
    levels, labels = images
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    assert issues(trained, (levels, shuffled)) == []
    few = range(4)
    assert issues(trained.read_as(fake_index=0), (levels[few], labels[few])) == []


SCENARIO = """version: 1
name: x
data: {source: minigen, limit: 60}
detectors: [{path: mine.safetensors, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], DECLARED}]
pipelines: {square: [{attack: square, eps: 1/255, steps: 2}]}
"""


@pytest.fixture
def scenario(tmp_path):
    """The shipped detector with its outputs exchanged, in the user's own file."""
    from safetensors.torch import load_file, save_file

    from robustbench_aigen.detectors.shipped import shipped_detectors

    state = load_file(shipped_detectors()["minigen/lenet5"])
    for name in ("head.5.weight", "head.5.bias"):
        state[name] = state[name].flip(0).contiguous()
    save_file(state, tmp_path / "mine.safetensors")

    def write(declared: str) -> Path:
        (tmp_path / "x.yaml").write_text(SCENARIO.replace("DECLARED", f"arch: lenet5{declared}"))
        return tmp_path / "x.yaml"

    return write


def accuracy(out: Path) -> float:
    import pandas as pd

    summary = pd.read_csv(out / "x" / "latest" / "summary.csv").set_index(["pipeline", "generator"])
    return float(summary.loc[("clean", "all"), "accuracy"])


def test_what_nobody_declared_is_found_out_and_said(tmp_path, scenario, cli):
    outcome = cli("run", scenario(""), "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert re.search(
        "mine: output 1 looks like .real.: accuracy 1. % as read, 8. % flipped; set `fake_index: 0`",
        outcome.err,
    )
    assert accuracy(tmp_path / "out") > 0.75
    info = json.loads((tmp_path / "out" / "x" / "latest" / "run.json").read_text())
    assert info["detectors"][0]["preprocessing"]["fake_index"] == 0


def test_what_was_declared_is_told_and_left_alone(tmp_path, scenario, cli):
    outcome = cli("run", scenario(", fake_index: 1"), "--output", tmp_path / "out")
    assert "set `fake_index: 0`" in outcome.err
    assert accuracy(tmp_path / "out") < 0.25
    outcome = cli("run", scenario(", fake_index: 0"), "--output", tmp_path / "out")
    assert "looks like" not in outcome.err
    assert accuracy(tmp_path / "out") > 0.75


def test_a_surrogate_and_the_members_of_an_ensemble_are_read_too(tmp_path, scenario, cli):
    file = scenario("")
    text = (
        file.read_text()
        .replace("detectors: [{", "detectors: [{ensemble: [minigen/cifake_cnn, {")
        .replace("}]\npip", "}], by: mean_logit, name: both}]\npip")
    )
    text = text.replace(
        "attack: square, eps: 1/255, steps: 2",
        "attack: pgd, steps: 1, surrogate: {path: mine.safetensors, arch: lenet5}",
    )
    file.write_text(text)
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("looks like *real*") == 2
    assert accuracy(tmp_path / "out") > 0.75


MIRRORED = """
def sharpness(x):
    return 60 * ((x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) - THRESHOLD)

def says_real():
    return lambda x: (-sharpness(x)).sigmoid()

def says_fake():
    return lambda x: sharpness(x).sigmoid()
"""
LAYOUTS = {
    "train and test": ({"train": 24, "test": 12}, "split: test", False),
    "beyond the limit": ({"": 30}, "split: all, limit: 24", False),
    "a test folder alone": ({"test": 20}, "split: test", True),
    "everything is tested": ({"": 20}, "split: all", True),
    "fakes alone to train on": ({"train/fake": 20, "test": 20}, "split: test", True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_validation_split_no_mirrored_number_is_without_a_flag(tmp_path, cli, layout):
    import numpy as np
    import pandas as pd
    from conftest import write_image
    from sklearn.metrics import roc_auc_score

    places, data, is_flagged = LAYOUTS[layout]
    number, steepness = 0, {0: [], 1: []}
    for place, count in places.items():
        for label, name in enumerate(("real", "fake")):
            if place.endswith("/fake") and name == "real":
                continue
            for _ in range(count):
                number += 1
                folder = tmp_path / "data" / place.removesuffix("/fake") / name
                write_image(folder / f"{number}.png", number, fake=label == 1)
                pixels = decode((folder / f"{number}.png").read_bytes()).float() / 255
                steepness[label].append(float((pixels[..., 1:] - pixels[..., :-1]).abs().mean()))
    middle = np.mean([np.median(steepness[label]) for label in (0, 1)])
    (tmp_path / "d.py").write_text(MIRRORED.replace("THRESHOLD", str(middle)))
    (tmp_path / "x.yaml").write_text(
        f"version: 1\nname: x\ndata: {{source: data, {data}}}\npipelines: {{jpeg: [{{perturb: jpeg, quality: 95}}]}}\n"
        'detectors: [{id: "python:d.py:says_real", name: says_real}, {id: "python:d.py:says_fake", name: says_fake}]\n'
    )
    outcome = cli("run", tmp_path / "x.yaml", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    latest = tmp_path / "out" / "x" / "latest"
    summary = pd.read_csv(latest / "summary.csv").set_index(["detector", "pipeline", "generator"])
    records = pd.read_parquet(latest / "records.parquet").set_index("detector")
    for detector, is_mirrored in (("says_real", is_flagged), ("says_fake", False)):
        row = summary.loc[(detector, "clean", "all")]
        own = records[(records.index == detector) & (records["pipeline"] == "clean")]
        assert row["auroc"] == pytest.approx(roc_auc_score(own["label"], own["log_odds"]))
        assert (row["auroc"] < 0.5) == is_mirrored
        assert ("worse_than_chance" in row["trust"]) == is_mirrored
        assert ("worse_than_chance" in summary.loc[(detector, "jpeg", "all"), "trust"]) == is_mirrored
    assert ("output 1 means fake (assumed; set fake_index)" in outcome.err) == is_flagged
    assert "looks like *real*" in outcome.err
