"""Scores and verdicts of single pictures, and what an attack makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from safetensors.torch import save_file

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.numerics.decoding import decode

SIZES = [(32, 32), (40, 28), (32, 32), (64, 48)]


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    for number, size in enumerate(SIZES):
        write_image(folder / f"{number}.png", number, fake=bool(number % 2), size=size)
    return folder


def predicted(cli, *arguments: object, detector: str = "minigen/lenet5") -> dict:
    outcome = cli("predict", *arguments, "--detector", detector, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# One image by itself is summed in another order than a batch: scores 1.1e-6 apart were seen on an AVX2 processor.
ROUND_OFF = 5e-6


def score_of(file: Path, detector) -> float:
    """Independent of the code under test: pixels through the detector, one at a time."""
    pixels = decode(file.read_bytes())[None].float() / 255
    with torch.no_grad():
        return float(detector(pixels).softmax(dim=1)[0, 1])


def test_a_score_is_the_detectors_own_and_the_verdict_follows_the_threshold(pictures, cli):
    detector = load_detector("minigen/lenet5")
    rows = predicted(cli, pictures)["predictions"]
    assert [Path(row["image"]).name for row in rows] == ["0.png", "1.png", "2.png", "3.png"]
    for row in rows:
        assert row["score"] == pytest.approx(score_of(Path(row["image"]), detector), abs=ROUND_OFF)
        assert row["verdict"] == ("fake" if row["score"] >= 0.5 else "real")
    low, middle, *_ = sorted(row["score"] for row in rows)
    content = predicted(cli, pictures, "--threshold", (low + middle) / 2)
    assert sum(row["verdict"] == "fake" for row in content["predictions"]) == 3


def test_a_tie_is_fake(pictures, tmp_path, cli):
    """Of a network whose last layer is zero, so that no round-off is on either side of one half."""
    network = build_architecture("lenet5")
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.zero_()
    save_file(network.state_dict(), tmp_path / "tie.safetensors")
    content = predicted(cli, pictures, "--arch", "lenet5", detector=tmp_path / "tie.safetensors")
    assert [(row["score"], row["verdict"]) for row in content["predictions"]] == [(0.5, "fake")] * 4


def test_files_and_folders_mix_and_each_picture_is_scored_once(pictures, cli):
    rows = predicted(cli, pictures / "2.png", pictures)["predictions"]
    assert [Path(row["image"]).name for row in rows] == ["2.png", "0.png", "1.png", "3.png"]


ATTACKS = {
    "linf": ["--attack", "pgd", "--eps", "4/255"],
    "l2": ["--attack", "pgd", "--norm", "l2", "--eps", "0.5", "--set", "steps=5"],
    "queries": ["--attack", "square", "--eps", "8/255", "--set", "steps=50"],
    "minimum norm": ["--attack", "deepfool", "--eps", "4/255"],
    "another library": ["--attack", "pgd", "--eps", "4/255", "--set", "backend=torchattacks", "--set", "steps=5"],
    "surrogate": ["--attack", "pgd", "--eps", "8/255", "--set", "surrogate=minigen/cifake_cnn", "--set", "steps=5"],
    "through": ["--attack", "pgd", "--eps", "8/255", "--set", "through=[{perturb: gaussian_blur}]", "--set", "steps=3"],
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_saved_keeps_the_budget_and_has_the_score_that_is_said(pictures, tmp_path, cli, name):
    content = predicted(cli, pictures, *ATTACKS[name], "--save", tmp_path / "saved")
    detector, stage = load_detector("minigen/lenet5"), content["attack"]
    assert len(content["predictions"]) == 4
    for row in content["predictions"]:
        after, saved = row["attacked"], Path(row["attacked"]["saved"])
        assert after["label"] == row["verdict"]
        assert after["fooled"] == (after["verdict"] != after["label"])
        with Image.open(row["image"]) as original, Image.open(saved) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", original.size)
            difference = np.asarray(image).astype(float) - np.asarray(original.convert("RGB"))
        assert np.abs(difference).max() == pytest.approx(255 * after["linf"], abs=1e-3)
        assert np.linalg.norm(difference) == pytest.approx(255 * after["l2"], rel=1e-5)
        assert after["linf" if stage["norm"] == "linf" else "l2"] <= stage["eps"] + 1e-7
        if name != "through":
            assert score_of(saved, detector) == pytest.approx(after["score"], abs=ROUND_OFF)
    if name == "linf":
        assert all(row["attacked"]["fooled"] for row in content["predictions"])


def test_without_a_label_the_verdict_is_what_is_turned_and_that_is_said(pictures, cli):
    outcome = cli("predict", pictures, "--detector", "minigen/lenet5", "--attack", "pgd", "--json")
    assert "no --label" in outcome.err
    for row in json.loads(outcome.out)["predictions"]:
        moved = row["attacked"]["score"] - row["score"]
        assert (moved > 0) == (row["verdict"] == "real")


@pytest.mark.parametrize(("label", "sign"), [("real", 1), ("fake", -1)])
def test_with_a_label_every_score_moves_away_from_it(pictures, cli, label, sign):
    outcome = cli(
        "predict", pictures, "--detector", "minigen/lenet5", "--attack", "pgd", "--label", label, "--json"
    )
    assert "no --label" not in outcome.err
    for row in json.loads(outcome.out)["predictions"]:
        assert row["attacked"]["label"] == label
        assert sign * (row["attacked"]["score"] - row["score"]) >= 0


def test_a_prediction_is_that_of_a_run(pictures, tmp_path, cli):
    """Same pictures, attack, threshold and seed: same scores, image by image."""
    from robustbench_aigen.evaluation import run
    from robustbench_aigen.scenario.scenario import load_scenario

    folder = tmp_path / "data"
    for number in range(6):
        write_image(
            folder / ("fake" if number % 2 else "real") / f"{number}.png", number, fake=bool(number % 2)
        )
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: data, split: all}\ndetectors: [minigen/lenet5]\nmode: score\n"
        "pipelines: {pgd: [{attack: pgd, eps: 1/255, random_start: false}]}\n"
    )
    records = run(load_scenario(tmp_path / "s.yaml"), output=tmp_path / "out", device="cpu").records
    attacked = records[records["pipeline"] == "pgd"].set_index("sample")
    for label in ("real", "fake"):
        content = predicted(
            cli,
            folder / label,
            "--attack",
            "pgd",
            "--eps",
            "1/255",
            "--set",
            "random_start=false",
            "--label",
            label,
        )
        for row in content["predictions"]:
            record = attacked.loc[f"{label}/{Path(row['image']).name}"]
            assert row["score"] == pytest.approx(float(record["clean_score"]), abs=1e-6)
            assert row["attacked"]["score"] == pytest.approx(float(record["score"]), abs=1e-5)


def test_pictures_that_cannot_be_read_are_named_and_skipped(pictures, cli):
    (pictures / "text.jpg").write_text("not an image")
    (pictures / "cut.png").write_bytes((pictures / "0.png").read_bytes()[:100])
    outcome = cli("predict", pictures, "--detector", "minigen/lenet5")
    assert outcome.code == 0
    assert "text.jpg: not an image" in outcome.err
    assert "cut.png" in outcome.err
    content = predicted(cli, pictures)
    assert len(content["predictions"]) == 4
    assert {Path(each["image"]).name for each in content["unreadable"]} == {"text.jpg", "cut.png"}


def test_the_table_says_score_verdict_and_both_after_the_attack(pictures, cli):
    outcome = cli(
        "predict", pictures / "0.png", "--detector", "minigen/lenet5", "--attack", "pgd", "--eps", "4/255"
    )
    (line,) = [line.split() for line in outcome.out.splitlines() if "0.png" in line]
    assert line[2] in {"real", "fake"}
    assert line[4] in {"real", "fake"} - {line[2]}
    assert line[-2:] == ["4/255", "yes"]
    assert "norm=linf eps=4/255 steps=10" in outcome.out


def test_pictures_of_one_name_are_saved_side_by_side(pictures, tmp_path, cli):
    for suffix in ("jpg", "bmp"):
        Image.open(pictures / "0.png").save(pictures / f"0.{suffix}")
    predicted(cli, pictures, "--attack", "fgsm", "--save", tmp_path / "saved")
    names = {file.name for file in (tmp_path / "saved").iterdir()}
    assert names == {"0.png", "0.jpg.png", "0.png.png", "1.png", "2.png", "3.png"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere.png"], "no picture or folder 'nowhere.png'"),
        (["EMPTY"], "no images in"),
        (["PICTURES", "--threshold", "1.5"], "--threshold must be a number between 0 and 1, not '1.5'"),
        (["PICTURES", "--attack", "pdg"], "did you mean 'pgd'?"),
        (["PICTURES", "--attack", "pgd", "--eps", "4"], "write eps: 4/255"),
        (["PICTURES", "--attack", "pgd", "--norm", "l7"], "norm must be one of linf, l2"),
        (["PICTURES", "--attack", "pgd", "--set", "stpes=3"], "did you mean 'steps'?"),
        (["PICTURES", "--attack", "pgd", "--set", "steps"], "not of the form NAME=VALUE"),
        (["PICTURES", "--attack", "pgd", "--set", "steps=[1, 2]"], "sweeps need a scenario"),
        (["PICTURES", "--attack", "pgd", "--set", "steps=["], "'[' is not a value"),
        (["PICTURES", "--attack", "pgd", "--eps", "1/255", "--set", "eps=2/255"], "eps is given twice"),
        (["PICTURES", "--attack", "transfer"], "add a detector: surrogate: minigen/lenet5"),
        (["PICTURES", "--attack", "jpeg"], "'jpeg' is not an attack"),
        (["PICTURES", "--eps", "4/255"], "--eps needs --attack"),
        (["PICTURES", "--save", "x"], "--save needs --attack"),
        (["PICTURES", "--label", "fake"], "--label needs --attack"),
        (["PICTURES", "--attack", "fgsm", "--save", "PICTURES"], "--save would overwrite"),
        (["PICTURES", "--attack", "fgsm", "--save", "PICTURES/0.png"], "--save needs a folder"),
        (["PICTURES", "--detector", "minigen/lenet6"], "did you mean 'minigen/lenet5'"),
    ],
)
def test_bad_arguments_end_with_2_and_say_why(pictures, tmp_path, cli, arguments, part):
    (tmp_path / "empty").mkdir()
    given = [
        a.replace("PICTURES", str(pictures)).replace("EMPTY", str(tmp_path / "empty")) for a in arguments
    ]
    outcome = cli("predict", "--detector", "minigen/lenet5", *given)
    assert outcome.code == 2
    assert part in outcome.err


def test_nothing_readable_is_an_error(tmp_path, cli):
    (tmp_path / "a.png").write_text("no")
    outcome = cli("predict", tmp_path / "a.png", "--detector", "minigen/lenet5")
    assert outcome.code == 2
    assert "no picture can be read (1 tried)" in outcome.err


FACTORY = """
import torch

class Mean(torch.nn.Module):
    def forward(self, pixels):
        with torch.no_grad():
            mean = pixels.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1) * 20

def build():
    return Mean()
"""


def test_a_detector_without_gradients_is_attacked_by_its_scores_alone(pictures, tmp_path, cli):
    (tmp_path / "mean.py").write_text(FACTORY)
    detector = f"python:{tmp_path / 'mean.py'}:build"
    outcome = cli("predict", pictures, "--detector", detector, "--attack", "pgd")
    assert outcome.code == 2
    assert "pgd needs gradients" in outcome.err
    arguments = ["--attack", "square", "--eps", "16/255", "--set", "steps=300", "--label", "real"]
    for row in predicted(cli, pictures, *arguments, detector=detector)["predictions"]:
        assert row["attacked"]["score"] > row["score"]


def test_a_file_that_can_run_code_needs_trust(pictures, tmp_path, cli):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    torch.jit.trace(network, torch.zeros(2, 3, 32, 32)).save(tmp_path / "scripted.pt")
    arguments = ["predict", pictures / "0.png", "--detector", tmp_path / "scripted.pt"]
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert "--trust-code" in outcome.err
    assert cli(*arguments, "--trust-code").code == 0


def test_a_lack_of_memory_halves_the_batch(pictures, cli, monkeypatch):
    from robustbench_aigen.engine import batch

    sizes, make_task = [], batch.make_task

    def short_of_memory(*arguments, **options):
        sizes.append(options["batch_size"])
        if options["batch_size"] > 32:
            raise MemoryError
        return make_task(*arguments, **options)

    monkeypatch.setattr(batch, "make_task", short_of_memory)
    assert len(predicted(cli, pictures, "--attack", "fgsm")["predictions"]) == 4
    assert sizes[:3] == [128, 64, 32]
