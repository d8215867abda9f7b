"""What a factory of the user's read is part of the key of its results: a replaced file is never answered from a cache."""

import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.scenario.detector_spec import DetectorSpec

CALL = "    return lambda x: k * (x.mean((1, 2, 3)) - 0.5)\n"
"""The answer hangs on one number, which no state dict has."""


def replace(folder: Path, value: float) -> None:
    """Write the number in every form, as another training would."""
    np.save(folder / "k.npy", np.float32(value))
    np.savez(folder / "k.npz", k=np.float32(value))
    (folder / "k.txt").write_text(str(value))
    (folder / "k.pkl").write_bytes(pickle.dumps(value))
    torch.save(torch.tensor(value), folder / "k.pt")
    save_file({"k": torch.tensor(value)}, folder / "k.safetensors")
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere" / f"numbers_{folder.name}.py").write_text(f"K = {value}  # {value:08.3f}\n")


FACTORIES = {
    "text": "    k = float((HERE / 'k.txt').read_text())\n" + CALL,
    "os.open": "    k = float(os.read(os.open(HERE / 'k.txt', os.O_RDONLY), 99))\n" + CALL,
    "numpy": "    import numpy\n    k = float(numpy.load(HERE / 'k.npy'))\n" + CALL,
    "npz": "    import numpy\n    k = float(numpy.load(HERE / 'k.npz')['k'])\n" + CALL,
    "pickle": "    import pickle\n    k = pickle.load(open(HERE / 'k.pkl', 'rb'))\n" + CALL,
    "torch": "    import torch\n    k = torch.load(HERE / 'k.pt')\n" + CALL,
    "opened in C": "    from safetensors.torch import load_file\n    k = load_file(HERE / 'k.safetensors')['k']\n" + CALL,
    "at the first call": (
        "    def answer(x):\n        k = float((HERE / 'k.txt').read_text())\n        return k * (x.mean((1, 2, 3)) - 0.5)\n"
        "    return answer\n"
    ),
    "a module elsewhere": (
        "    sys.path.append(str(HERE / 'elsewhere'))\n    import numbers_FOLDER\n    k = numbers_FOLDER.K\n" + CALL
    ),
}  # fmt: skip


def write_factory(folder: Path, name: str) -> None:
    body = FACTORIES[name].replace("FOLDER", folder.name)
    (folder / "mine.py").write_text(
        f"import os, sys\nfrom pathlib import Path\nHERE = Path(__file__).parent\ndef build():\n{body}"
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_a_replaced_file_changes_what_a_detector_is_made_of(tmp_path, name):
    folder = tmp_path / f"f{list(FACTORIES).index(name)}"
    folder.mkdir()
    write_factory(folder, name)
    keys = []
    for value in (3.0, 3.0, 4.0):
        if not keys or value != 3.0:
            replace(folder, value)
        detector = load_detector("python:mine.py:build", folder=folder)
        keys.append((detector.weights_sha256, detector.made_of))
    assert keys[0] == keys[1]
    assert keys[1] != keys[2]


def test_environment_variables_that_a_factory_reads_are_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import os\ndef build():\n    k = float(os.environ.get('K_OF_MINE', '1'))\n" + CALL
    )
    made_of = []
    for value in (None, "2", "3", "3"):
        if value is not None:
            monkeypatch.setenv("K_OF_MINE", value)
        made_of.append(load_detector("python:mine.py:build", folder=tmp_path).made_of)
    assert made_of[2] == made_of[3]
    assert len(set(made_of)) == 3
    assert "K_OF_MINE=3" not in str(made_of)  # It may be a secret.


def test_what_a_factory_writes_or_libraries_read_of_themselves_is_no_part_of_it(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time, torchvision\nfrom pathlib import Path\nHERE = Path(__file__).parent\n"
        "def build():\n    (HERE / 'log.out').write_text(str(time.time_ns()))\n    k = 1\n" + CALL
    )
    first = load_detector("python:mine.py:build", folder=tmp_path).made_of
    time.sleep(0.001)
    assert load_detector("python:mine.py:build", folder=tmp_path).made_of == first


SCENARIO = """version: 1
name: x
summary: x
data: {source: images, split: all}
detectors: [{id: "python:mine.py:build", name: mine, fake_index: 1, outputs: logits}]
pipelines: {jpeg: [{perturb: jpeg, quality: 90}]}
"""


def test_a_run_after_a_replacement_has_the_numbers_of_a_fresh_one(tmp_path, image_folder, cli):
    """Also where the file is opened by a library that Python does not hear, under a name that stands nowhere."""
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom safetensors.torch import load_file\nHERE = Path(__file__).parent\n"
        "def build():\n    k = load_file(HERE / '.'.join(['k', 'safetensors']))['k']\n" + CALL
    )
    (tmp_path / "x.yaml").write_text(SCENARIO)

    def accuracies(*options: str) -> list[tuple[float, float]]:
        outcome = cli("run", tmp_path / "x.yaml", "--output", tmp_path / "out", "--json", *options)
        assert outcome.code == 0, outcome.err
        return [(row["accuracy"], row["auroc"]) for row in json.loads(outcome.out)["summary"]]

    replace(tmp_path, 30.0)
    before = accuracies()
    replace(tmp_path, -30.0)
    after = accuracies()
    assert after == accuracies("--fresh")
    assert after != before


def test_a_factory_that_returns_an_ensemble_is_made_of_its_files(tmp_path):
    from robustbench_aigen.engine.identity import _detector_identity

    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom robustbench_aigen import load_detector\n"
        "from robustbench_aigen.detectors.ensembles import Ensemble\n"
        "def build():\n    (Path(__file__).parent / 'rule.txt').read_text()\n"
        "    return Ensemble([load_detector('minigen/lenet5'), load_detector('minigen/cifake_cnn')], 'majority', name='e')\n"
    )
    identities = []
    for text in ("a", "b"):
        (tmp_path / "rule.txt").write_text(text)
        detector = load_detector("python:mine.py:build", folder=tmp_path)
        assert isinstance(detector, Ensemble)
        identities.append(_detector_identity(detector, None))
    assert identities[0] != identities[1]


def test_options_of_a_card_are_part_of_what_weights_are(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), tmp_path / "m.pt")
    made_of = []
    for pool in ("avg", "max"):
        card = {"arch": "timm:resnet10t", "arch_options": {"global_pool": pool}}
        (tmp_path / "m.json").write_text(json.dumps(card))
        made_of.append(load_detector(DetectorSpec(path=str(tmp_path / "m.pt"))).made_of)
    assert made_of[0] != made_of[1]


def test_the_environment_is_the_same_object_afterwards(tmp_path):
    (tmp_path / "mine.py").write_text("def build():\n    k = 1\n" + CALL)
    before = type(os.environ)
    load_detector("python:mine.py:build", folder=tmp_path)
    assert type(os.environ) is before
