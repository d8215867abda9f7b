"""One plugin file with a data layout: recognised, named, run, and part of the key of its records."""

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigen import ImageData, registry
from robustbench_aigen.data.layout import LAYOUTS
from robustbench_aigen.errors import UserError
from robustbench_aigen.registry import load_plugin

LAYOUT = """
from robustbench_aigen.plugins import Sample, layout

class Pile:
    def __init__(self, path, spec):
        self.files = sorted(path.glob("*.picture"))
        odd = (spec.labels or {}).get("odd", "fake")
        self.samples = [
            Sample(file.stem, int((int(file.stem) % 2 == 1) == (odd == "fake")), "real", "test") for file in self.files
        ]

    def encoded(self, index):
        return self.files[index].read_bytes()

def why(path):
    count = len(list(path.glob("*.picture"))) if path.is_dir() else 0
    return f"{count} pictures in a pile" if count else None

@layout("pile", recognise=why)
def pile(path, spec):
    return Pile(path, spec)

@layout("quiet")
def quiet(path, spec):
    return Pile(path, spec)
"""
SCENARIO = """
version: 1
name: own
plugins: [piles.py]
data: {source: images, layout: LAYOUT}
detectors: [minigen/lenet5]
trust: off
pipelines: {fgsm: [{attack: fgsm, eps: 8/255}]}
"""


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(6):
        image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        image.save(tmp_path / "images" / f"{number}.picture", "PNG")
    (tmp_path / "piles.py").write_text(LAYOUT)
    return tmp_path


def scenario(folder: Path, layout: str) -> Path:
    file = folder / "own.yaml"
    file.write_text(SCENARIO.replace("LAYOUT", layout))
    return file


def labels(data: ImageData) -> list[int]:
    return [sample.label for sample in data.samples]


def test_a_layout_of_a_file_is_recognised_named_and_run(folder, cli):
    load_plugin(folder / "piles.py")
    assert labels(ImageData.open(folder / "images")) == [0, 1] * 3
    named = ImageData.open(folder / "images", layout="quiet", labels={"odd": "real"}, limit=4)
    assert len(named) == 4
    assert {s.id: s.label for s in named.samples} == {s.id: int(int(s.id) % 2 == 0) for s in named.samples}
    assert labels(pickle.loads(pickle.dumps(named))) == labels(named)
    file = scenario(folder, "quiet")
    assert cli("validate", file).code == 0
    outcome = cli("run", file, "--output", folder / "out")
    assert outcome.code == 0, outcome.err
    run = folder / "out" / "own" / "latest"
    assert json.loads((run / "run.json").read_text())["data"]["layout"] == "quiet"
    assert set(pd.read_parquet(run / "records.parquet")["sample"]) == set("012345")


def test_the_code_of_a_layout_decides_the_key_of_the_records(folder, cli):
    def cached() -> set[int]:
        outcome = cli("run", scenario(folder, "pile"), "--output", folder / "out")
        assert outcome.code == 0, outcome.err
        info = json.loads((folder / "out" / "own" / "latest" / "run.json").read_text())
        return {cell["shards_cached"] for cell in info["timings"] if cell["pipeline"] in ("clean", "fgsm")}

    assert cached() == {0}
    assert cached() == {1}
    module = registry._PLUGINS.pop((folder / "piles.py").resolve())
    sys.modules.pop(module.__name__)
    registry._restore({LAYOUTS: frozenset()})
    (folder / "piles.py").write_text(LAYOUT + "\n# Another version.\n")
    assert cached() == {0}


def test_a_wrong_name_is_reported_at_its_place(folder, cli):
    outcome = cli("validate", scenario(folder, "quite"))
    assert outcome.code == 2
    assert "own.yaml:5: data.layout: unknown layout 'quite'" in outcome.err
    assert "did you mean 'quiet'?" in outcome.err
    with pytest.raises(UserError, match="unknown layout 'parket'") as caught:
        ImageData.open(folder / "images", layout="parket")
    assert "did you mean 'parquet'?" in str(caught.value.hint)
    far = scenario(folder, "quite")
    far.write_text(far.read_text().replace("source: images", "source: hf://no/where"))
    assert "data.layout: unknown layout 'quite'" in cli("validate", far).err


def test_two_layouts_that_fit_ask_which(folder):
    load_plugin(folder / "piles.py")
    (folder / "images" / "list.csv").write_text("path,label\n0.picture,real\n1.picture,fake\n")
    with pytest.raises(UserError) as caught:
        ImageData.open(folder / "images")
    assert "1 csv file or 6 pictures in a pile" in caught.value.message
    assert caught.value.hint == "say which: layout: csv or layout: pile"
    assert len(ImageData.open(folder / "images", layout="csv", split="all")) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no pile')", "the layout 'bad' fails: ValueError: no pile"),
        ("return [1, 2]", "which is no source of images"),
        ("return Source([])", "finds no images"),
        ("return Source([Sample('a', 2, 'real', None)])", "sample 0 is Sample(id='a', label=2"),
        ("return Source([('a', 1, 'x', None)] * 2)", "gives two images one id"),
    ],
)
def test_mistakes_of_a_layout_are_named(tmp_path, body, message):
    (tmp_path / "bad.py").write_text(
        "from robustbench_aigen.plugins import Sample, layout\n"
        "class Source:\n    def __init__(self, samples): self.samples = samples\n"
        "    def encoded(self, index): return b''\n"
        f"@layout('bad')\ndef bad(path, spec):\n    {body}\n"
    )
    load_plugin(tmp_path / "bad.py")
    with pytest.raises(UserError) as caught:
        ImageData.open(tmp_path, layout="bad")
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["class", "generator/split", "genimage", "csv"])
def test_names_that_mean_something_already_are_refused(tmp_path, name):
    (tmp_path / "bad.py").write_text(
        f"from robustbench_aigen.plugins import layout\n@layout({name!r})\ndef bad(path, spec): ...\n"
    )
    with pytest.raises(UserError, match="give it another name|rename one of the two"):
        load_plugin(tmp_path / "bad.py")
