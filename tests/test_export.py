"""Exported adversarial sets: they carry what the detector saw, are checked, and give the verdicts of their run."""

import csv
import io
import json
import re
import shlex
from hashlib import sha256

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

from robustbench_aigen import ImageData, Run, UserError, attacks, evaluate, perturbations
from robustbench_aigen.data.layouts.exported import read_exported
from robustbench_aigen.perturbations.codecs import encoded
from robustbench_aigen.runs.export import reproduced
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.views.tables.transfer import transfer

SIDE = 24


class Contrast(torch.nn.Module):
    """A detector whose answer depends on every pixel, a little."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        weights = torch.randn((3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
        self.register_buffer("weights", weights)

    def forward(self, pixels):
        score = ((pixels - 0.5) * self.weights).sum(dim=(1, 2, 3)) / 3
        return torch.stack([-score, score], dim=1)


def images(count: int = 12) -> ImageData:
    generator = torch.Generator().manual_seed(5)
    # Smooth, so that a JPEG keeps them; labels are what the first detector says of most.
    small = torch.rand((count, 3, 6, 6), generator=generator)
    pixels = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
    score = Contrast()(pixels)[:, 1]
    return ImageData.from_tensors(pixels, (score > score.median()).long(), name="smooth")


PIPELINES = {
    "pgd": attacks.pgd(eps=[1 / 255, 2 / 255], steps=2),
    "posted": [attacks.pgd(eps=4 / 255, steps=2), perturbations.jpeg(quality=90, repeats=2)],
    "webp": [attacks.fgsm(eps=4 / 255), perturbations.webp(quality=80)],
    "small": [attacks.fgsm(eps=4 / 255), perturbations.resize(scale=0.75, back=True)],
}


@pytest.fixture(scope="module")
def run() -> Run:
    return evaluate([Contrast(), Contrast(1)], images(), PIPELINES, keep_images="all", name="made")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return run.export(tmp_path_factory.mktemp("sets") / "made", licence="CC0")


@pytest.fixture(scope="module")
def again(exported) -> Run:
    return evaluate([Contrast(), Contrast(1)], str(exported), split="all")


def test_the_manifest_describes_the_files(run, exported):
    with (exported / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 12
    for row in rows:
        content = (exported / row["path"]).read_bytes()
        with Image.open(exported / row["path"]) as picture:
            found = (picture.format, str(picture.width), str(picture.height))
        assert found == (row["format"], row["width"], row["height"])
        assert sha256(content).hexdigest() == row["sha256"]
        assert row["licence"] == "CC0"
        wanted = {"posted": "JPEG", "webp": "WEBP"}.get(row["pipeline"], "PNG")
        assert row["format"] == wanted
    posted = next(row for row in rows if row["pipeline"] == "posted")
    with Image.open(exported / posted["path"]) as picture:
        # libjpeg's standard luminance table at quality 90: the first entry of 16 becomes 3.
        assert picture.quantization[0][0] == 3
    content = json.loads((exported / "export.json").read_text())
    assert content["cells"][0]["pipeline"] == "pgd[eps=1/255]"
    assert content["data"]["fingerprint"] == run.info.data.fingerprint


def test_scored_again_the_set_gives_the_verdicts_of_its_run(exported, again):
    compared = reproduced(again, read_exported(exported))
    assert [(each.equal, each.images) for each in compared] == [(12, 12)] * 10
    assert again.info.data.exported[0].pipeline == "pgd[eps=1/255]"
    records = again.records.set_index(["detector", "sample"])
    with (exported / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            name = row["detector"]
            assert records.loc[(name, row["path"]), "log_odds"] == pytest.approx(
                float(row["log_odds"]), abs=1e-5
            )


def test_the_transfer_table_has_each_detector_on_each_cell(run, again):
    rows = transfer(join_runs([again])).frame().to_dict(orient="records")
    names = again.detectors
    own = run.summary[(run.summary["generator"] == "all") & (run.summary["pipeline"] == "posted")]
    accuracy = dict(zip(own["detector"], own["accuracy"], strict=True))
    posted = {row["crafted on"]: row for row in rows if row["pipeline"] == "posted"}
    for name in names:
        assert float(posted[name][name]) == pytest.approx(100 * accuracy[name], abs=0.05)
        other = next(each for each in names if each != name)
        assert float(posted[name][other]) > float(posted[name][name])


def test_a_verdict_that_differs_is_counted(exported, again):
    found = read_exported(exported)
    flipped = found._replace(
        rows=[
            row | {"correct": str(row["correct"] != "True")} if row["path"] == "images/0/000003.png" else row
            for row in found.rows
        ]
    )
    first = reproduced(again, flipped)[0]
    assert (first.equal, first.images, first.first) == (11, 12, "images/0/000003.png")
    assert (
        "11 of 12 verdicts as in the exported run; the first other one is images/0/000003.png"
        in first.sentence
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "images/0/000001.png").unlink(), "images/0/000001.png is missing"),
        (
            lambda folder: (folder / "images/0/000001.png").write_bytes(
                (folder / "images/0/000000.png").read_bytes()
            ),
            "images/0/000001.png is another file than the one exported",
        ),
        (lambda folder: (folder / "images/0/more.png").write_bytes(b""), "images/0/more.png is not listed"),
        (
            lambda folder: (folder / "manifest.csv").write_text(
                (folder / "manifest.csv").read_text() + "x\n"
            ),
            "manifest.csv was changed after the export",
        ),
    ],
)
def test_a_set_that_does_not_fit_its_manifest_is_refused(run, tmp_path, change, expected):
    folder = run.export(tmp_path / "set", pipelines=["pgd[eps=1/255]"], detectors=[run.detectors[0]])
    change(folder)
    with pytest.raises(UserError, match="does not fit its manifest") as refused:
        ImageData.open(str(folder), split="all")
    assert expected in str(refused.value)


def test_what_cannot_be_exported_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        run.export(tmp_path / "full")
    with pytest.raises(UserError, match="pipeline 'clean' has no attack"):
        run.export(tmp_path / "new", pipelines=["clean"])
    few = evaluate(Contrast(), images(40), {"fgsm": attacks.fgsm(eps=1 / 255)})
    with pytest.raises(UserError, match="kept 6 of 40 attacked images of fgsm"):
        few.export(tmp_path / "new")
    with pytest.raises(UserError, match="has no attack, so there is nothing to export"):
        evaluate(Contrast(), images(), keep_images="all").export(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_encoded_files_decode_to_what_the_perturbation_gives():
    levels = (torch.rand((3, 3, 16, 24), generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    for name, format_, options in (("jpeg", "JPEG", {"quality": 60}), ("webp", "WEBP", {"quality": 60})):
        wanted = getattr(perturbations, name)(**options)(levels)
        subsampling = {"subsampling": "4:2:0"} if name == "jpeg" else {}
        for content, image in zip(encoded(levels, format_, **options, **subsampling), wanted, strict=True):
            decoded = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            assert np.array_equal(decoded, image.permute(1, 2, 0).numpy())


def test_the_document_runs(tmp_path, cli, monkeypatch):
    """The examples of EXPORT.md, on fewer images; the threshold travels."""
    text = (REPOSITORY / "docs" / "EXPORT.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    scenario = blocks["yaml"].replace("limit: 40", "limit: 6") + "trust: off\nthreshold: 0.4\n"
    (tmp_path / "my_set.yaml").write_text(scenario)
    monkeypatch.chdir(tmp_path)
    run, export, score, other = [cli(*shlex.split(line)[2:]) for line in blocks["console"].splitlines()]
    assert [each.code for each in (run, export, score, other)] == [0] * 4, (export.err, score.err, other.err)
    assert "36 images of 6 cells (12 JPEG, 24 PNG)" in export.out
    assert score.out.count("6 of 6 verdicts as in the exported run") == 6
    assert "as in the exported run" not in other.out
    runs = sorted((tmp_path / "results/my_set_exported").glob("2*"))
    stored = [json.loads((folder / "run.json").read_text())["detectors"][0]["threshold"] for folder in runs]
    assert stored == pytest.approx([0.4, 0.5])
    outcome = cli("run", "my_exported_set", "--limit", "3")
    assert outcome.code == 2
    assert "an exported set has no attacks and no splits" in outcome.err
