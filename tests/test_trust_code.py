"""Files that try to run code do not, unless the user says --trust-code."""

import json
import zipfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.base import BaseEstimator, ClassifierMixin
from test_foreign_formats import small, vit

from robustbench_aigen import load_detector
from robustbench_aigen.errors import UserError


def write_marker(path: str) -> None:
    Path(path).write_text("code ran")


class Pickled:
    """A pickle that writes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return write_marker, (str(self.marker),)


class Estimator(ClassifierMixin, BaseEstimator):
    """An estimator that writes a file when skops sets its state."""

    def __init__(self, marker="") -> None:
        self.marker = marker

    def __setstate__(self, state):
        write_marker(state["marker"])


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "ran"


def crafted_checkpoint(folder: Path, marker: Path, weights: Path) -> Path:
    state = load_file(weights)
    torch.save({"state_dict": state, "hyper_parameters": Pickled(marker)}, folder / "m.ckpt")
    return folder / "m.ckpt"


def crafted_network(folder: Path, marker: Path, weights: Path) -> Path:
    torch.save({"model": Pickled(marker)}, folder / "m.pth")
    return folder / "m.pth"


def crafted_program(folder: Path, marker: Path, weights: Path) -> Path:
    """An archive of torch.export whose example inputs are another pickle."""
    torch.export.save(torch.export.export(small(), (torch.rand(2, 3, 32, 32),)), folder / "good.pt2")
    torch.save(Pickled(marker), folder / "evil")
    with zipfile.ZipFile(folder / "good.pt2") as good, zipfile.ZipFile(folder / "m.pt2", "w") as evil:
        for name in good.namelist():
            is_input = "sample_inputs" in name
            evil.writestr(
                name.replace("good/", "m/"), (folder / "evil").read_bytes() if is_input else good.read(name)
            )
    return folder / "m.pt2"


def renamed_program(folder: Path, marker: Path, weights: Path) -> Path:
    """The same as weights: its content says what it is."""
    return crafted_program(folder, marker, weights).rename(folder / "m.pt")


def crafted_pipeline(folder: Path, marker: Path, weights: Path) -> Path:
    skops = pytest.importorskip("skops.io")
    skops.dump(Estimator(str(marker)), folder / "m.skops")
    return folder / "m.skops"


def crafted_keras(folder: Path, marker: Path, weights: Path, suffix: str = "keras") -> Path:
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    from robustbench_aigen.detectors.formats.keras_model import keras_on_torch

    keras = keras_on_torch("a test")
    path = str(marker)
    # A lambda keeps what it closes over, and no imports.
    layer = keras.layers.Lambda(lambda x: (open(path, "w"), x)[1])  # noqa: PTH123, SIM115
    model = keras.Sequential([keras.Input((32, 32, 3)), layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.save(folder / f"m.{suffix}")
    marker.unlink()  # Building it runs it, too.
    return folder / f"m.{suffix}"


def crafted_h5(folder: Path, marker: Path, weights: Path) -> Path:
    return crafted_keras(folder, marker, weights, "h5")


CRAFTED = [
    crafted_checkpoint, crafted_network, crafted_program, renamed_program, crafted_pipeline, crafted_keras, crafted_h5,
]  # fmt: skip


@pytest.mark.parametrize("craft", CRAFTED)
def test_a_crafted_file_does_not_run_and_the_line_says_what_to_do(tmp_path, marker, weights, craft, cli):
    file = craft(tmp_path, marker, weights)
    arch = ["--arch", "lenet5"] if file.suffix in (".ckpt", ".pth") else []
    with pytest.raises(UserError) as raised:
        load_detector(file, arch=arch[1] if arch else None)
    assert "can execute code on load: add --trust-code" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    for command, code in (("run", 2), ("validate", 0)):
        outcome = cli(command, "pgd_eps4", "--detector", file, *arch)
        assert outcome.code == code
        assert "--trust-code" in outcome.err + outcome.out
    assert not marker.exists()


@pytest.mark.parametrize("craft", CRAFTED)
def test_the_crafted_files_are_what_they_claim_to_be(tmp_path, marker, weights, craft):
    """Trusted, they run."""
    file = craft(tmp_path, marker, weights)
    with suppress(Exception):  # What they hold besides is no detector, mostly.
        arch = "lenet5" if file.suffix in (".ckpt", ".pth") else None
        load_detector(file, arch=arch, trust_code=True)
    assert marker.exists()


@pytest.mark.parametrize("library", ["hf", "timm"])
def test_a_pickle_in_a_models_folder_does_not_run(tmp_path, marker, library):
    folder = tmp_path / "model"
    if library == "hf":
        transformers = pytest.importorskip("transformers")
        vit(transformers, ["real", "fake"]).save_pretrained(folder)
        (folder / "model.safetensors").unlink()
    else:
        timm = pytest.importorskip("timm")
        timm.models.save_for_hf(
            timm.create_model("resnet10t", num_classes=2), folder, safe_serialization=False
        )
    torch.save({"x": Pickled(marker)}, folder / "pytorch_model.bin")
    for trust in (False, True):
        with pytest.raises(UserError, match="cannot be loaded by"):
            load_detector(f"{library}:{folder}", trust_code=trust)
    assert not marker.exists()


def test_a_model_with_code_of_its_own_is_not_run(tmp_path, marker):
    transformers = pytest.importorskip("transformers")
    vit(transformers, ["real", "fake"]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForImageClassification": "code.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(UserError, match="add --trust-code"):
        load_detector(f"hf:{tmp_path}")
    assert not marker.exists()


SCENARIO = """version: 1
name: x
data: {source: minigen, limit: 4}
detectors: [DETECTOR]
pipelines: {noise: [{perturb: gaussian_noise}]}
"""


def test_validate_imports_nothing_and_run_does(tmp_path, marker, cli):
    (tmp_path / "mine.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom test_foreign_formats import small\ndef make():\n    return small()\n"
    )
    (tmp_path / "x.yaml").write_text(SCENARIO.replace("DETECTOR", "'python:mine.py:make'"))
    outcome = cli("validate", tmp_path / "x.yaml")
    assert outcome.code == 0
    assert "'python:mine.py:make' is not imported here" in outcome.out
    assert not marker.exists()
    assert cli("run", tmp_path / "x.yaml", "--output", tmp_path / "out").code == 0
    assert marker.exists()
    (tmp_path / "x.yaml").write_text(SCENARIO.replace("DETECTOR", "'python:other.py:make'"))
    outcome = cli("validate", tmp_path / "x.yaml")
    assert outcome.code == 2
    assert "detectors[0]: no file 'other.py'" in outcome.err


def test_trust_is_no_word_of_a_scenario(tmp_path, cli):
    (tmp_path / "x.yaml").write_text(SCENARIO.replace("DETECTOR", "{path: x.pt2, trust_code: true}"))
    outcome = cli("validate", tmp_path / "x.yaml")
    assert outcome.code == 2
    assert "unknown key 'trust_code'" in outcome.err
