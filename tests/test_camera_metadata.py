"""Metadata of a camera: read back by ExifRead, in exported sets and in the files that a service gets."""

import csv
import io
from datetime import datetime
from fractions import Fraction

import exifread
import numpy as np
import pytest
import torch
from conftest import write_image
from http_service import Service, serving
from PIL import Image, features

from robustbench_aigen import ImageData, attacks, evaluate, load_detector, perturbations
from robustbench_aigen.perturbations.codecs import encoded
from robustbench_aigen.perturbations.encoded_files import exif_of_stages
from robustbench_aigen.stages.recipe_files import find_recipe
from robustbench_aigen.stages.stage import make_stage

HEIGHT, WIDTH = 24, 40
KNOWN = {
    "iphone_13": {
        "Image Make": "Apple", "Image Model": "iPhone 13", "Image Software": "15.4.1", "EXIF FNumber": "8/5",
        "EXIF FocalLength": "51/10", "EXIF FocalLengthIn35mmFilm": "26",
        "EXIF LensModel": "iPhone 13 back dual wide camera 5.1mm f/1.6",
    },
    "pixel_7": {
        "Image Make": "Google", "Image Model": "Pixel 7", "EXIF FNumber": "37/20", "EXIF FocalLength": "681/100",
        "EXIF FocalLengthIn35mmFilm": "24", "EXIF LensModel": "Pixel 7 back camera 6.81mm f/1.85",
    },
    "canon_eos_r6": {
        "Image Make": "Canon", "Image Model": "Canon EOS R6", "EXIF FNumber": "14/5", "EXIF FocalLength": "50",
        "EXIF LensModel": "RF50mm F1.8 STM",
    },
}  # fmt: skip
"""What files of these cameras say, as ExifRead prints it."""


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand((count, 3, 6, 10), generator=generator)
    smooth = torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)


def read(content: bytes) -> dict[str, str]:
    """The tags that ExifRead finds in a file. In a WebP it skips six bytes that only some programs write."""
    if content[:4] == b"RIFF":
        place = 12
        while content[place : place + 4] != b"EXIF":
            size = int.from_bytes(content[place + 4 : place + 8], "little")
            place += 8 + size + size % 2
        content = content[place + 8 :]
    return {name: str(tag) for name, tag in exifread.process_file(io.BytesIO(content), details=False).items()}


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("camera", KNOWN)
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_file_says_what_a_file_of_the_camera_says(camera, format_):
    if format_ == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    levels = images()
    exif = exif_of_stages([perturbations.camera_metadata(camera=camera)])
    stream = io.BytesIO()
    if format_ == "PNG":
        Image.fromarray(levels[0].permute(1, 2, 0).numpy()).save(stream, "PNG", exif=exif(levels[0]))
        content, plain = stream.getvalue(), None
    else:
        (content,) = encoded(levels[:1], format_, [exif(levels[0])], quality=90)
        (plain,) = encoded(levels[:1], format_, quality=90)
        assert (pixels_of(content) == pixels_of(plain)).all()
        assert Image.open(io.BytesIO(plain)).getexif().tobytes() in (b"", Image.Exif().tobytes())
    found = read(content)
    assert {name: found.get(name) for name in KNOWN[camera]} == KNOWN[camera]
    assert ("Image Software" in found) == (camera == "iphone_13")
    assert (found["EXIF ExifImageWidth"], found["EXIF ExifImageLength"]) == (str(WIDTH), str(HEIGHT))
    # An AVIF has the orientation in a box of its own, into which Pillow moves it.
    assert found.get("Image Orientation") == (None if format_ == "AVIF" else "Horizontal (normal)")
    taken = datetime.strptime(f"{found['EXIF DateTimeOriginal']}+0000", "%Y:%m:%d %H:%M:%S%z")
    assert found["Image DateTime"] == found["EXIF DateTimeDigitized"] == found["EXIF DateTimeOriginal"]
    assert 2023 <= taken.year <= 2024
    assert 8 <= taken.hour < 18
    assert Fraction(1, 1000) <= Fraction(found["EXIF ExposureTime"]) <= Fraction(1, 50)
    assert 100 <= int(found["EXIF ISOSpeedRatings"]) <= 800


def test_an_image_has_its_own_values_and_keeps_them():
    levels = images(12)
    exif = exif_of_stages([perturbations.camera_metadata()])
    first = [read_tiff(exif(each)) for each in levels]
    assert [read_tiff(exif(each)) for each in levels.clone()] == first
    assert len({each["EXIF DateTimeOriginal"] for each in first}) == 12
    assert len({each["EXIF ExposureTime"] for each in first}) > 2
    assert torch.equal(perturbations.camera_metadata()(levels), levels)


def read_tiff(exif: bytes) -> dict[str, str]:
    return read(exif.removeprefix(b"Exif\0\0"))


class Mean(torch.nn.Module):
    def forward(self, pixels):
        score = 20 * (pixels.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-score, score], dim=1)


def noisy_webp_of_a_camera(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "kind: perturb\nname: mine\nsummary: s\nchain:\n"
        "  - {perturb: gaussian_noise}\n  - {perturb: webp, quality: 80}\n  - {perturb: camera_metadata}\n"
    )
    return make_stage(find_recipe("perturb", "mine.yaml", tmp_path), {})


def test_exported_files_have_the_metadata_behind_every_kind_of_last_stage(tmp_path):
    shared, camera = attacks.fgsm(eps=4 / 255), perturbations.camera_metadata(camera="pixel_7")
    posted = perturbations.jpeg(quality=80, repeats=2)
    pipelines = {
        "plain": [shared],
        "png": [shared, camera],
        # The images behind JPEG are those of three pipelines, and only one of them delivers them with EXIF.
        "small": [shared, posted, perturbations.resize(scale=0.5, back=True)],
        "jpeg": [shared, posted, camera],
        "jpeg_alone": [shared, posted],
        "chain": [shared, noisy_webp_of_a_camera(tmp_path)],
        "resized": [shared, perturbations.resize(scale=0.5, back=True), camera],
    }  # fmt: skip
    data = ImageData.from_tensors(images(6).float() / 255, torch.arange(6) % 2, name="smooth")
    run = evaluate(Mean(), data, pipelines, keep_images="all", trust="off")
    folder = run.export(tmp_path / "set")
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    formats = {"jpeg": "JPEG", "jpeg_alone": "JPEG", "chain": "WEBP"}
    makers = {"png": "Google", "jpeg": "Google", "chain": "Apple", "resized": "Google"}
    files: dict[str, dict[str, bytes]] = {}
    for row in rows:
        content = (folder / row["path"]).read_bytes()
        files.setdefault(row["pipeline"], {})[row["source"]] = content
        assert row["format"] == formats.get(row["pipeline"], "PNG")
        if row["pipeline"] in makers:
            found = read(content)
            assert found["Image Make"] == makers[row["pipeline"]]
            assert (found["EXIF ExifImageWidth"], found["EXIF ExifImageLength"]) == (
                row["width"],
                row["height"],
            )
        else:
            assert not Image.open(io.BytesIO(content)).getexif()
        # The pixels of the file are those that were judged.
        pixels = torch.from_numpy(pixels_of(content).copy()).permute(2, 0, 1)[None] / 255
        assert Mean()(pixels)[:, 1].mul(2).sigmoid().item() == pytest.approx(float(row["score"]), abs=1e-5)
    for source, content in files["jpeg"].items():
        assert (pixels_of(content) == pixels_of(files["jpeg_alone"][source])).all()
    scores = run.records.pivot_table(index="sample", columns="pipeline", values="score", observed=True)
    assert (scores["jpeg"] == scores["jpeg_alone"]).all()


@pytest.fixture(scope="module")
def server():
    with serving(Service()) as service:
        yield service


@pytest.fixture
def service(server, monkeypatch):
    server.reset()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,::1")
    return server


@pytest.mark.parametrize("kind", ["png", "webp", {"format": "jpeg", "quality": 95}])
def test_a_service_gets_the_metadata_for_the_verdict_alone(service, tmp_path, kind):
    for number in range(6):
        folder = tmp_path / "data" / ("fake" if number % 2 else "real")
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{number}.png", number, fake=bool(number % 2))
    service.camera_score = 0.125
    detector = load_detector(
        f"{service.address}/detect",
        http={"image": kind, "score": {"path": "result.score", "of": "fake"}, "wait": 0.01},
    )
    camera = perturbations.camera_metadata(camera="canon_eos_r6")
    square = attacks.square(eps=1 / 255, steps=2)
    pipelines = {"camera": [camera], "square": [square], "both": [square, camera]}
    given = {"output": tmp_path / "out", "name": "service", "trust": "off", "split": "all"}
    run = evaluate(detector, tmp_path / "data", pipelines, **given)
    scores = {name: run.records.query("pipeline == @name")["score"].to_numpy() for name in run.pipelines}
    assert scores["camera"] == pytest.approx(0.125)
    assert scores["both"] == pytest.approx(0.125)
    assert (abs(scores["clean"] - 0.125) > 1e-3).all()
    assert (scores["square"] != scores["both"]).all()
    sent = [note for note in service.requests if note["camera"] is not None]
    # What is judged is the image or what the attack made of it: the other queries of the attack have no EXIF.
    judged = [note["image"] for note in sent]
    bare = {note["image"] for note in service.requests if note["camera"] is None}
    assert len(judged) == len(set(judged))
    assert set(judged) < bare
    assert 6 < len(judged) <= 12
    for note in sent:
        assert read(note["file"])["Image Model"] == "Canon EOS R6"
    before = service.total
    evaluate(detector, tmp_path / "data", pipelines, fresh=False, **given)
    assert service.total == before
    assert not [each.text for each in run.info.notices if "EXIF" in each.text]


def test_a_line_names_detectors_that_do_not_see_the_metadata():
    run = evaluate(Mean(), "minigen", {"photo": perturbations.camera_metadata()}, limit=6, trust="off")
    (line,) = [each.text for each in run.info.notices if "EXIF" in each.text]
    assert line == "detectors of pixels do not see the EXIF of photo: Mean"
    scores = run.records.pivot_table(index="sample", columns="pipeline", values="score", observed=True)
    assert (scores["photo"] == scores["clean"]).all()


WRONG = {
    "before": ("[{perturb: camera_metadata}, {perturb: jpeg}]", "is followed by another operation"),
    "before an attack": ("[{perturb: camera_metadata}, {attack: fgsm}]", "is followed by another operation"),
    "through": ("[{attack: fgsm, through: [{perturb: camera_metadata}]}]", "and 'through' changes pixels"),
    "mask": ("[{perturb: camera_metadata, mask: area@0.1}]", "takes no mask"),
    "in a chain": ("[{perturb: mine.yaml}]", "mine is followed by another operation"),
    "camera": (
        "[{perturb: camera_metadata, camera: nikon}]",
        "must be one of canon_eos_r6, iphone_13, pixel_7",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_metadata_that_no_file_would_have_is_one_line(cli, tmp_path, case):
    stages, said = WRONG[case]
    (tmp_path / "mine.yaml").write_text(
        "kind: perturb\nname: mine\nsummary: s\nchain:\n  - {perturb: camera_metadata}\n  - {perturb: jpeg}\n"
    )
    (tmp_path / "s.yaml").write_text(
        f"version: 1\nname: s\ndata: {{source: minigen}}\ndetectors: [minigen/lenet5]\npipelines:\n  p: {stages}\n"
    )
    outcome = cli("validate", tmp_path / "s.yaml")
    assert outcome.code == 2
    assert said in outcome.err
    assert "s.yaml:6" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2


def test_a_recipe_of_the_user_writes_its_own_exif(tmp_path):
    (tmp_path / "my_exif.py").write_text(
        "from PIL import Image\n\n\ndef same(levels, *, maker):\n    return levels\n\n\n"
        "def named(levels, *, maker):\n    exif = Image.Exif()\n    exif[271] = maker\n    return exif.tobytes()\n"
    )
    (tmp_path / "scan.yaml").write_text(
        "kind: perturb\nname: scan\nsummary: s\nparams: {maker: {kind: text, default: Nikon}}\n"
        "implementation: my_exif:same\nexif: my_exif:named\n"
    )
    stage = make_stage(find_recipe("perturb", "scan.yaml", tmp_path), {"maker": "Fuji"})
    levels = images(1)
    (content,) = encoded(levels, "JPEG", [exif_of_stages([stage])(levels[0])], quality=90)
    assert read(content)["Image Make"] == "Fuji"
