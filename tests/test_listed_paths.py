"""Lists, tables and tar files whose images' paths say what no column does: generator and split."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustbench_aigen.data.opening import open_source
from robustbench_aigen.scenario.data_spec import SourceSpec

TOLD = "generators come from the paths: {}; columns: {{generator: …}} selects a column instead"


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def csv_of(folder: Path, rows: list[tuple[str, str]]) -> Path:
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    return folder / "list.csv"


def parquet_of(folder: Path, rows: list[tuple[str, str]], name: str = "a.parquet") -> Path:
    images = [{"bytes": png(number), "path": path} for number, (path, _) in enumerate(rows)]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": [label for _, label in rows]}), folder / name)
    return folder / name


def tar_of(folder: Path, rows: list[tuple[str, str]], name: str = "a.tar") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / name, "w") as archive:
        for number, (path, label) in enumerate(rows):
            label_path = f"{path.rpartition('.')[0]}.cls"
            for member, content in ((path, png(number)), (label_path, label.encode())):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return folder / name


KINDS = [csv_of, parquet_of, tar_of]


def opened(path: Path, **said):
    return open_source(SourceSpec(source=str(path), **said), Path())


def generators(source):
    return [(sample.label, sample.generator) for sample in source.samples]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("rows", "expected", "told"),
    [
        (
            [("images/midjourney/1.png", "fake"), ("images/acme/2.png", "fake"), ("images/coco/3.png", "real")],
            [(1, "midjourney"), (1, "acme"), (0, "real")],
            TOLD.format("acme, midjourney"),
        ),
        (
            [("sdxl/1.png", "fake"), ("sdxl/2.png", "real"), ("flux/3.png", "fake"), ("flux/4.png", "real")],
            [(1, "sdxl"), (0, "sdxl"), (1, "flux"), (0, "flux")],
            TOLD.format("flux, sdxl"),
        ),
        (
            [("mine/fake/sdxl/1.png", "fake"), ("mine/fake/acme/2.png", "fake"), ("mine/real/3.png", "real")],
            [(1, "sdxl"), (1, "acme"), (0, "real")],
            None,
        ),
        (
            [("male/1.png", "fake"), ("male/2.png", "real"), ("female/3.png", "fake"), ("female/4.png", "real")],
            [(1, "fake"), (0, "real"), (1, "fake"), (0, "real")],
            "folders in the paths with images of both classes are read as kinds of pictures, not as generators: female, male; if they are generators, layout: generator",
        ),
        (
            [("ai_dataset/1.png", "fake"), ("ai_dataset/2.png", "real")],
            [(1, "fake"), (0, "real")],
            None,
        ),
        (
            [("test/x/sdxl/1.png", "fake"), ("train/x/acme/2.png", "fake"), ("train/x/512x512/3.png", "real")],
            [(1, "sdxl"), (1, "acme"), (0, "real")],
            TOLD.format("acme, sdxl"),
        ),
    ],
)  # fmt: skip
def test_folders_of_the_paths_name_generators_as_folders_do(tmp_path, make, rows, expected, told):
    source = opened(make(tmp_path, rows))
    assert generators(source) == expected
    assert source.notices == ([] if told is None else [told])


@pytest.mark.parametrize("make", KINDS)
def test_the_line_on_kinds_of_pictures_can_be_typed(tmp_path, make):
    rows = [("a/male/1.png", "fake"), ("a/male/2.png", "real"), ("a/female/3.png", "fake"), ("a/female/4.png", "real")]  # fmt: skip
    (line,) = opened(make(tmp_path, rows)).notices
    source = opened(tmp_path / next(tmp_path.iterdir()), layout=line.rpartition("layout: ")[2])
    assert generators(source) == [(1, "male"), (0, "male"), (1, "female"), (0, "female")]


def test_a_generator_that_a_column_names_is_not_read_from_the_paths(tmp_path):
    (tmp_path / "list.csv").write_text("path,label,model\nsdxl/1.png,fake,flux\nsdxl/2.png,real,\n")
    source = opened(tmp_path / "list.csv")
    assert generators(source) == [(1, "flux"), (0, "real")]
    assert source.notices == []


@pytest.mark.parametrize("make", [parquet_of, tar_of])
def test_files_and_their_folders_are_called_after_generators(tmp_path, make):
    suffix = ".tar" if make is tar_of else ".parquet"
    rows = [("1.png", "fake"), ("2.png", "real")]
    for name in (
        "midjourney-test-00000-of-00002",
        "midjourney-test-00001-of-00002",
        "sdxl-000003",
        "acme/train-000001",
    ):
        make(tmp_path, rows, f"{name}{suffix}")
    source = opened(tmp_path)
    names = [generator for label, generator in generators(source) if label]
    assert sorted(names) == ["acme", "midjourney", "midjourney", "sdxl"]


def test_hundreds_of_folders_are_prompts(tmp_path):
    rows = [(f"scene {one}{other}/1.png", "fake") for one in "abcdefghijk" for other in "abcdefghijk"]
    source = opened(csv_of(tmp_path, [*rows, ("y/1.png", "real")]))
    assert set(generators(source)) == {(1, "fake"), (0, "real")}
    assert source.notices == [
        "121 folders of fakes in the paths are too many to be read as generators; for generators, add a column generator"
    ]


def test_splits_stand_in_the_paths_of_a_table(tmp_path):
    rows = [("train/FAKE/1.png", "fake"), ("test/FAKE/2.png", "fake"), ("test/REAL/3.png", "real")]
    assert [sample.split for sample in opened(parquet_of(tmp_path, rows)).samples] == [
        "train",
        "test",
        "test",
    ]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([("fake/1.png", "0"), ("fake/2.png", "0"), ("real/3.png", "1")], "3 of 3 labels contradict"),
        ([("fake/1.png", "1"), ("real/2.png", "0"), ("real/3.png", "1")], "1 of 3 labels contradicts"),
        ([("fake/1.png", "1"), ("real/2.png", "0")], None),
        ([("ai_images/1.png", "1"), ("ai_images/2.png", "0")], None),
        ([("nature/1.png", "1"), ("deepfake/2.png", "0")], None),
    ],
)
def test_labels_that_contradict_the_class_folders_are_told(tmp_path, make, rows, count):
    source = opened(make(tmp_path, rows), labels={"0": "real", "1": "fake"})
    warned = [notice for notice in source.notices if "contradict" in notice]
    assert [notice.partition(" the class folders")[0] for notice in warned] == ([count] if count else [])
    assert all(notice.is_warning for notice in warned)
