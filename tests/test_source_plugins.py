"""One plugin file with a data layout or a detector format: recognised, run, and part of the key of its records."""

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigen import ImageData, load_detector, registry
from robustbench_aigen.data.layout import LAYOUTS
from robustbench_aigen.detectors.format import DETECTOR_FORMATS
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
FORMAT = """
import json

import torch
from torch import nn
from robustbench_aigen.plugins import Loaded, detector_format

class Brightness(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images):
        return (self.weight * (images.mean(dim=(1, 2, 3)) - 0.5))[:, None]

@detector_format(suffixes=[".brightness"], prefix="bright")
def brightness(request):
    \"\"\"A weight of the mean of all pixels.\"\"\"
    weight = float(request.place) if request.spec.id else json.loads(request.path.read_text())["weight"]
    return Loaded(Brightness(weight), "brightness")
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


def test_commands_on_data_load_the_layout_of_a_plugin_file(folder, cli):
    assert cli("audit", folder / "images").code == 2
    plugin = ("--plugin", folder / "piles.py")
    audited = cli("audit", folder / "images", "--json", *plugin)
    assert audited.code == 0, audited.err
    prepared = cli("data", "prepare", folder / "images", folder / "copy", *plugin)
    assert prepared.code == 0, prepared.err
    assert len([*(folder / "copy").rglob("*.picture*"), *(folder / "copy").rglob("*.png")]) == 6
    assert (
        cli("data", "prepare", folder / "images", folder / "images" / "in", *plugin).err.count(str(folder))
        >= 2
    )


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
    assert caught.value.hint == "name the layout: layout: csv or layout: pile"
    assert len(ImageData.open(folder / "images", layout="csv", split="all")) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no pile')", "the layout 'bad' fails: ValueError: no pile"),
        ("return [1, 2]", "not a source of images"),
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


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "formats.py").write_text(FORMAT)
    (tmp_path / "mine.brightness").write_text('{"weight": 30.0}')
    (tmp_path / "own.yaml").write_text(
        SCENARIO.replace("piles.py", "formats.py")
        .replace("{source: images, layout: LAYOUT}", "{source: minigen, limit: 12}")
        .replace("[minigen/lenet5]", "[mine.brightness, {id: 'bright:4', input_size: 16}]")
    )
    return tmp_path


def test_a_format_of_a_file_is_listed_validated_and_run(mine, cli):
    file = mine / "own.yaml"
    assert "not a detector file" in cli("validate", refused(file)).err
    assert cli("validate", file).code == 0
    assert "FILE.brightness, bright:…" in cli("list", "detectors").out
    outcome = cli("run", file, "--output", mine / "out")
    assert outcome.code == 0, outcome.err
    records = pd.read_parquet(mine / "out" / "own" / "latest" / "records.parquet")
    assert set(records["detector"]) == {"mine", "bright:4"}
    clean = records[records["pipeline"] == "clean"].pivot_table("score", "sample", "detector")
    odds = np.log(clean / (1 - clean))
    assert np.allclose(
        odds["mine"], odds["bright:4"] * 7.5, atol=0.1
    )  # 16 pixels a side are a little brighter.
    worse = records[(records["pipeline"] == "fgsm") & (records["detector"] == "mine")]
    assert worse["correct"].mean() < records[records["pipeline"] == "clean"]["correct"].mean()


def refused(file: Path) -> Path:
    """Write the scenario beside, without its plugin."""
    bare = file.with_name("bare.yaml")
    bare.write_text(file.read_text().replace("plugins: [formats.py]\n", ""))
    return bare


def test_the_code_of_a_format_is_part_of_the_identity(mine):
    def identity() -> str:
        load_plugin(mine / "formats.py")
        return load_detector(mine / "mine.brightness").identity()

    before = identity()
    module = registry._PLUGINS.pop((mine / "formats.py").resolve())
    sys.modules.pop(module.__name__)
    registry._restore({DETECTOR_FORMATS: frozenset()})
    (mine / "formats.py").write_text(FORMAT + "\n# Another version.\n")
    assert identity() != before


def test_wrong_suffixes_and_prefixes_of_detectors_are_named(mine):
    (mine / "other.brightnes").write_text("{}")
    load_plugin(mine / "formats.py")
    with pytest.raises(UserError, match="is not a detector file") as caught:
        load_detector(mine / "other.brightnes")
    assert ".brightness" in str(caught.value.hint)
    with pytest.raises(UserError, match="unknown detector 'brihgt:4'") as caught:
        load_detector("brihgt:4")
    assert caught.value.hint == "did you mean 'bright:'?"


@pytest.mark.parametrize(
    ("decorator", "message"),
    [
        ("suffixes=['.pt']", "'.pt' already belongs to the detector format 'weights'"),
        ("prefix='timm'", "'timm:' already belongs to the detector format 'timm'"),
        ("suffixes=['PT']", "the suffix 'PT' is not a dot"),
        ("prefix='a b'", "the prefix 'a b' is not a word"),
        ("", "has neither suffixes nor a prefix"),
    ],
)
def test_formats_that_make_no_sense_are_refused(tmp_path, decorator, message):
    (tmp_path / "bad.py").write_text(
        f"from robustbench_aigen.plugins import detector_format\n"
        f"@detector_format({decorator})\ndef bad(request): ...\n"
    )
    with pytest.raises(UserError) as caught:
        load_plugin(tmp_path / "bad.py")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [("return 3", "the detector format 'bad' returns 3"), ("raise OSError('no disk')", "OSError: no disk")],
)
def test_mistakes_of_a_format_are_named(tmp_path, body, message):
    (tmp_path / "bad.py").write_text(
        "from robustbench_aigen.plugins import detector_format\n"
        f"@detector_format(suffixes=['.bad'])\ndef bad(request):\n    {body}\n"
    )
    (tmp_path / "x.bad").write_text("x")
    load_plugin(tmp_path / "bad.py")
    with pytest.raises(UserError) as caught:
        load_detector(tmp_path / "x.bad")
    assert message in caught.value.message
