"""Files of a folder: pictures by content, links, names that other file systems or encodings do not have."""

import io
import json
import os
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from conftest import write_image
from PIL import Image

from robustbench_aigen.cli.pictures import choose_targets
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.image_files import find_images
from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.data.opening import open_data, open_source
from robustbench_aigen.data.placing import Placing
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.summary import generator_part
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.words import shell_word
from robustbench_aigen.training.splits import Splits


def encoded(format_: str, shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 90, 9)).save(buffer, format_)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def png() -> bytes:
    return encoded("PNG")


def put(root: Path, content: bytes, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)
    return root


def counted(source) -> dict[tuple[str, int], int]:
    return dict(Counter((sample.generator, sample.label) for sample in source.samples))


# Pictures by content


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a", "PNG"), ("a.jpg_large", "JPEG"), ("a.JPE", "JPEG"), ("a.dat", "WEBP"), ("a.txt", "PNG"), ("a.apng", "PNG"),
     ("a.ppm", "PPM"), ("a.jp2", "JPEG2000"), ("a.tga", "TGA"), ("a.ico", "ICO"), ("a.bin", "BMP"), ("a.1", "GIF"),
     ("0123456789abcdef", "TIFF")],
)  # fmt: skip
def test_what_pillow_opens_is_an_image_whatever_it_is_called(tmp_path, png, name, format_):
    put(tmp_path, png, "real/a.png", "real/b.png")
    put(tmp_path, encoded(format_), f"fake/{name}")
    source = FolderSource(tmp_path)
    assert counted(source) == {("real", 0): 2, ("fake", 1): 1}
    assert "1 image is without a usual suffix" in source.notices[0]
    assert decode(source.encoded(0)).shape[0] == 3


def test_text_and_other_files_are_no_images(tmp_path, png):
    put(tmp_path, png, "real/a.png", "fake/a.png")
    put(
        tmp_path,
        b"a cat on a chair",
        "real/a.txt",
        "real/README",
        "fake/BMW",
        "fake/P5.caption",
        "fake/x.tga",
    )
    put(tmp_path, b"", "fake/empty")
    source = FolderSource(tmp_path)
    assert len(source.samples) == 2
    assert source.notices == []


def test_of_many_text_files_few_are_opened(tmp_path, png, monkeypatch):
    put(tmp_path, png, "real/a.png", "fake/a.png")
    put(tmp_path, b"words", *(f"real/{n}.txt" for n in range(300)))
    opened = []
    monkeypatch.setattr(
        "builtins.open", lambda file, *a, _open=open, **k: (opened.append(file), _open(file, *a, **k))[1]
    )
    assert len(find_images(tmp_path).files) == 2
    assert len(opened) <= 40


def test_pictures_that_are_left_out_are_told_in_a_line_each(tmp_path, png):
    put(
        tmp_path,
        png,
        "real/a.png",
        "fake/a.png",
        "real/.ipynb_checkpoints/a-checkpoint.png",
        "__MACOSX/fake/a.png",
    )
    put(tmp_path, b"\0\5\x16\7", "__MACOSX/real/._a.png", "real/._b.png")
    put(tmp_path, b"\0\0\0\x18ftypheic", "real/phone.heic", "fake/phone.HEIC")
    put(tmp_path, b"\xd0\xcf\x11\xe0", "real/Thumbs.db")
    (tmp_path / "fake" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "fake" / "round").symlink_to(tmp_path)
    (tmp_path / "fake" / "self").symlink_to("self")
    source = FolderSource(tmp_path)
    assert len(source.samples) == 2
    assert source.notices == [
        "2 pictures are left out, in formats that Pillow cannot read: .heic 2",
        "2 images are left out, in hidden folders or files: .ipynb_checkpoints 1, __MACOSX 1",
        "1 link is not followed, back to a folder above: fake/round",
        "2 links lead to nothing: fake/gone.png, fake/self",
    ]


# Links


def generators(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        for index in range(3):
            put(root, encoded("PNG", 10 * number + index + 1), f"{name}/val/ai/{index}.png")


def test_reals_linked_under_every_generator_belong_to_all_and_count_once(tmp_path, png):
    put(tmp_path / "store", png, "1.png", "2.png")
    generators(tmp_path / "d", "ADM", "glide", "sdxl")
    for name in ("ADM", "glide", "sdxl"):
        (tmp_path / "d" / name / "val" / "nature").symlink_to(tmp_path / "store")
    source = FolderSource(tmp_path / "d")
    assert counted(source) == {("real", 0): 2, ("ADM", 1): 3, ("glide", 1): 3, ("sdxl", 1): 3}
    assert source.notices == ["2 images linked under every generator belong to all generators and count once"]


def test_reals_linked_under_some_generators_count_for_each(tmp_path, png):
    generators(tmp_path, "ADM", "glide", "sdxl")
    put(tmp_path, png, "ADM/val/nature/1.png", "sdxl/val/nature/2.png")
    (tmp_path / "glide" / "val" / "nature").symlink_to("../../ADM/val/nature")
    source = FolderSource(tmp_path)
    assert counted(source) == {
        (name, label): count for name in ("ADM", "glide", "sdxl") for label, count in ((0, 1), (1, 3))
    }
    assert source.notices == ["1 image linked under several generators or splits counts once for each"]


def link_folder(root):
    (root / "fake" / "source").symlink_to("../real")


def link_file(root):
    (root / "fake" / "b.png").symlink_to("../real/a.png")


def link_hard(root):
    os.link(root / "real" / "a.png", root / "fake" / "b.png")


def link_outside(root):
    put(root.parent / "elsewhere", (root / "real" / "a.png").read_bytes(), "c.png")
    for name in ("real", "fake"):
        (root / name / "more").symlink_to(root.parent / "elsewhere")


@pytest.mark.parametrize("link", [link_folder, link_file, link_hard, link_outside])
def test_a_link_into_the_other_class_is_refused(tmp_path, png, link):
    root = put(tmp_path / "d", png, "real/a.png", "fake/f.png")
    link(root)
    with pytest.raises(
        UserError, match="links put 1 image into both classes: fake/.* and real/.* are the same file"
    ):
        FolderSource(root)


def test_a_file_that_a_link_repeats_in_one_place_counts_once(tmp_path, png):
    put(tmp_path, png, "real/a.png", "fake/f.png")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real")
    os.link(tmp_path / "fake" / "f.png", tmp_path / "fake" / "g.png")
    source = FolderSource(tmp_path)
    assert [sample.id for sample in source.samples] == ["fake/f.png", "real/a.png"]
    assert any("1 image linked twice into one place" in notice for notice in source.notices)


def test_a_tangle_of_links_ends(tmp_path, png):
    put(tmp_path, png, "real/a.png", "fake/f.png")
    for number in range(14):
        (tmp_path / f"d{number}").mkdir()
    for number in range(13):
        for name in ("x", "y"):
            (tmp_path / f"d{number}" / name).symlink_to(tmp_path / f"d{number + 1}")
    with pytest.raises(UserError, match="more than 1,000 links"):
        FolderSource(tmp_path)
    assert len(files_below(tmp_path, {".png"})) == 2


# Reals in a folder of their own


def test_reals_under_a_name_without_fakes_belong_to_generators_without_reals(tmp_path, png):
    put(
        tmp_path,
        png,
        "imagenet/0_real/1.png",
        "laion/0_real/2.png",
        "dalle/1_fake/3.png",
        "guided/1_fake/4.png",
    )
    put(tmp_path, png, "progan/0_real/5.png", "progan/1_fake/6.png")
    source = open_data(DataSpec(source="."), tmp_path)
    assert source.notices == [
        "2 reals of imagenet, laion, which have no fakes, belong to the generators without reals: dalle, guided"
    ]
    records = pd.DataFrame(
        [(s.id, s.label, s.generator) for s in source.samples], columns=["sample", "label", "generator"]
    )
    expected = {
        "dalle": {"1", "2", "3"},
        "guided": {"1", "2", "4"},
        "progan": {"5", "6"},
        "all": set("123456"),
    }
    for name, stems in expected.items():
        assert {Path(sample).stem for sample in generator_part(records, name)["sample"]} == stems
    indices = list(range(6))
    trained = Splits(source, indices, indices, indices).of(["guided"])
    assert {Path(source.samples[index].id).stem for index in trained.train} == expected["guided"]


def test_reals_of_their_own_in_another_source(tmp_path, png):
    put(tmp_path, png, "a/1.png", "b/2.png")
    parts = [
        {"source": "a", "label": "fake", "generator": "x"},
        {"source": "b", "label": "real", "generator": "coco"},
    ]
    (notice,) = open_data(DataSpec(sources=parts), tmp_path).notices
    assert notice == "1 real of coco, which has no fakes, belongs to every generator"


# Names that are not UTF-8, and file systems without case


def bytes_named(root: Path, seed: int = 0) -> Path:
    data = root / os.fsdecode(b"d\xe9data")
    for place, generator in enumerate((b"g\xe9n", b"\xff")):
        for index in range(3):
            for name, fake in (("ai", True), ("nature", False)):
                file = data / os.fsdecode(generator) / name / os.fsdecode(b"x\xfe%d.png" % index)
                write_image(file, seed + 10 * place + index + 100 * fake, fake=fake)
    return data


def test_names_that_are_not_utf8_are_escaped_in_all_that_is_written(tmp_path, cli, weights):
    data = bytes_named(tmp_path)
    outcome = cli("run", "jpeg_sweep", "--data", data, "--split", "all", "--detector", weights, "--arch", "lenet5",
                  "--output", tmp_path / "o")  # fmt: skip
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "o" / "jpeg_sweep" / "latest"
    info = json.loads((folder / "run.json").read_bytes().decode())
    assert info["data"]["generators"] == ["\\xff", "g\\xe9n"]
    assert info["data"]["source"].endswith("d\\xe9data")
    assert "d\\xe9data'" in info["command"]
    assert {"\\xff", "g\\xe9n", "all"} == set(pd.read_csv(folder / "summary.csv")["generator"])
    for out in ("--fix", "prepared"):
        copy = tmp_path / out.strip("-")
        words = (
            ("audit", data, "--split", "all", "--fix", copy)
            if out == "--fix"
            else ("data", "prepare", data, copy)
        )
        assert cli(*words).code in (0, 1)
        assert all(os.fsencode(file).isascii() for file in copy.rglob("*"))
        assert len({s.generator for s in open_source(str(copy), tmp_path).samples}) == 2
    predicted = cli("predict", data, "--detector", weights, "--arch", "lenet5", "--json")
    assert json.loads(predicted.out)["predictions"][0]["image"].endswith("d\\xe9data/g\\xe9n/ai/x\\xfe0.png")


def test_a_word_that_is_not_utf8_survives_the_shell():
    for word in (os.fsdecode(b"a'b\\c\xe9 d"), "plain", "two words", "$HOME"):
        echoed = subprocess.run(
            ["bash", "-c", f"printf %s {shell_word(word)}"], capture_output=True, check=True
        )
        assert echoed.stdout == os.fsencode(word)


def test_equal_names_but_for_case_lose_nothing_in_a_copy(tmp_path, cli):
    files = ("Real/A.PNG", "real/a.png", "REAL/a.png", "fake/ADM/x.png", "fake/adm/X.png", "fake/adm/x.png")
    for number, file in enumerate(files):
        write_image(tmp_path / "d" / file, number, fake=False, size=(24, 24))
    assert cli("data", "prepare", tmp_path / "d", tmp_path / "out", "--splits", "100/0/0").code == 0
    written = [file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.png")]
    assert len({file.casefold() for file in written}) == len(files)
    pixels = {Image.open(tmp_path / "d" / file).tobytes() for file in files}
    assert {Image.open(tmp_path / "out" / file).tobytes() for file in written} == pixels
    assert len({s.generator for s in FolderSource(tmp_path / "out").samples if s.label}) == 2


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "real",
        "testing",
        "AI",
        "512",
        "dataset",
        "../up",
        "a/b",
        ".hidden",
        "生成",
        "test_sdxl",
        "g\\xe9n",
    ],
)
def test_a_generators_folder_is_read_back_as_one_and_stays_inside(tmp_path, png, name):
    placing = Placing()
    for generator in (name, "other"):
        for label in (0, 1):
            for split in ("train", "test"):
                sample = Sample(f"{generator}{label}{split}", label, generator, split)
                put(tmp_path, png, (file := placing.file(sample, "x", ".png")).as_posix())
                assert ".." not in file.parts
    read = FolderSource(tmp_path)
    assert Counter((s.label, s.split) for s in read.samples) == dict.fromkeys(
        [(0, "train"), (0, "test"), (1, "train"), (1, "test")], 2
    )
    assert len({s.generator for s in read.samples if s.label}) == 2


def test_saved_pictures_of_one_name_stay_apart_without_case(tmp_path):
    files = {
        tmp_path / "x" / name: Path(name)
        for name in ("a/P.png", "a/p.jpg", "A/p.PNG", "a/p.png.png", "a/e\u0301.png", "a/é.png")
    }
    targets = choose_targets(files, tmp_path / "out")
    assert len({unicodedata.normalize("NFC", str(file)).casefold() for file in targets.values()}) == len(
        files
    )


def test_opening_many_files_takes_one_walk(tmp_path, png, monkeypatch):
    put(tmp_path, png, *(f"{name}/{n}.png" for name in ("real", "fake") for n in range(20)))
    listed = Counter()
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.update([str(path)]), scandir(path))[1])
    assert len(open_source(str(tmp_path), tmp_path).samples) == 40
    assert listed[str(tmp_path / "real")] <= 3
