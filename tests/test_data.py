"""Images and labels: layouts, formats, splits, selection."""

import io
import json
import os
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_image
from PIL import Image

from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.data.layouts.tables import TableSource
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.words import label_of, split_of


def encoded(image: Image.Image, format_: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


GRADIENT = Image.fromarray(np.dstack([np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))] * 3))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "PA", "1", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    image = GRADIENT.convert(mode)
    levels = decode(encoded(image, "TIFF" if mode in ("CMYK", "YCbCr", "PA") else "PNG"))
    assert levels.shape == (3, 24, 32)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(levels.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_sixteen_bit_grey_is_scaled_not_clipped():
    image = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    assert decode(encoded(image))[0].flatten().tolist() == list(range(256))


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated a quarter turn
    assert decode(encoded(GRADIENT, "JPEG", exif=exif)).shape == (3, 32, 24)


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", encoded(GRADIENT, "PNG")[:60], encoded(GRADIENT, "JPEG", quality=95)[:-300]],
)
def test_what_is_no_whole_image_is_said_to_be_unreadable(content):
    with pytest.raises(UnreadableImageError):
        decode(content)


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImageError, match="decompression bomb"):
        decode(encoded(GRADIENT))


@pytest.mark.parametrize(
    ("name", "label"),
    [("real", 0), ("0_real", 0), ("Nature", 0), ("REAL", 0), ("fake", 1), ("1_fake", 1), ("ai", 1), ("AI-generated", 1),
     ("synthetic", 1), ("progan", None), ("surreal", None), ("train", None)],
)  # fmt: skip
def test_class_names(name, label):
    assert label_of(name) == label


def test_split_names():
    assert [split_of(name) for name in ("train", "Validation", "TEST", "valid", "nature")] == [
        "train",
        "val",
        "test",
        "val",
        None,
    ]


LAYOUTS = {
    "plain": {"real/a.png": (0, "real", None), "fake/a.png": (1, "fake", None)},
    "cifake": {"train/REAL/a.png": (0, "real", "train"), "test/FAKE/a.png": (1, "fake", "test")},
    "genimage": {"ADM/val/nature/a.png": (0, "ADM", "val"), "ADM/train/ai/a.png": (1, "ADM", "train")},
    "kinds": {"real/coco/a.png": (0, "real", None), "fake/sdxl/a.png": (1, "sdxl", None)},
    "forensynths": {"progan/0_real/a.png": (0, "progan", None), "progan/1_fake/a.png": (1, "progan", None)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    for number, path in enumerate(LAYOUTS[layout]):
        write_image(tmp_path / path, number, fake=False)
    (tmp_path / "notes.txt").write_text("not an image")
    found = {s.id: (s.label, s.generator, s.split) for s in FolderSource(tmp_path).samples}
    assert found == LAYOUTS[layout]


def parquet(file, labels, *, names=None, paths=None, **columns):
    images = [{"bytes": encoded(GRADIENT), "path": path} for path in (paths or [None] * len(labels))]
    table = pa.table({"image": images, "label": labels, **columns})
    if names:
        features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, file, row_group_size=2)


def test_parquet_labels_follow_the_files_own_class_names(tmp_path):
    parquet(tmp_path / "test.parquet", [0, 1, 1], names=["FAKE", "REAL"])
    source = TableSource(tmp_path / "test.parquet")
    assert [s.label for s in source.samples] == [1, 0, 0]
    assert {s.split for s in source.samples} == {"test"}
    assert decode(source.encoded(2)).shape == (3, 24, 32)


def test_parquet_labels_follow_the_paths_where_there_are_no_names(tmp_path):
    parquet(tmp_path / "a.parquet", [7, 3], paths=["fake/1.png", "real/1.png"])
    assert [s.label for s in TableSource(tmp_path / "a.parquet").samples] == [1, 0]


def test_parquet_whose_labels_mean_nothing_is_refused(tmp_path):
    parquet(tmp_path / "a.parquet", [0, 1])
    with pytest.raises(UserError, match="row 0: cannot tell whether label 0 is real or fake"):
        TableSource(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        TableSource(tmp_path / "b.parquet")
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="needs the columns image and label"):
        TableSource(tmp_path / "c.parquet")


def test_equal_file_names_in_two_splits_stay_apart(tmp_path):
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}.parquet", [0, 1], names=["real", "fake"], paths=["a.png", "b.png"])
    assert len({s.id for s in TableSource(tmp_path).samples}) == 4


def test_a_source_without_splits_gets_80_10_10_with_near_duplicates_together(tmp_path):
    for number in range(40):
        write_image(tmp_path / "real" / f"{number}.png", number, fake=False)
        write_image(tmp_path / "fake" / f"{number}.png", 100 + number, fake=True)
    twin = Image.open(tmp_path / "real" / "0.png")
    twin.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / "real" / "twin.jpg", quality=90)
    source = open_source(str(tmp_path), tmp_path)
    by_split = {
        split: {s.id for s in select(source, split, None).samples} for split in ("train", "val", "test")
    }
    assert sum(len(ids) for ids in by_split.values()) == 81
    assert {split: len(ids) for split, ids in by_split.items()} == pytest.approx(
        {"train": 65, "val": 8, "test": 8}, abs=2
    )
    for ids in by_split.values():
        assert ("real/0.png" in ids) == ("real/twin.jpg" in ids)
    labels = Counter(i.split("/")[0] for i in by_split["test"])
    assert abs(labels["real"] - labels["fake"]) <= 1


def test_a_limit_is_stratified_by_generator_and_label_and_fixed(tmp_path):
    for generator, fakes in (("adm", 30), ("glide", 10)):
        for number in range(fakes):
            write_image(tmp_path / generator / "ai" / f"{number}.png", number, fake=True)
            write_image(tmp_path / generator / "nature" / f"{number}.png", number, fake=False)
    source = open_source(str(tmp_path), tmp_path)
    chosen = select(source, "all", 16)
    assert Counter((s.generator, s.label) for s in chosen.samples) == {
        ("adm", 0): 6,
        ("adm", 1): 6,
        ("glide", 0): 2,
        ("glide", 1): 2,
    }
    assert chosen.indices == select(source, "all", 16).indices
    assert set(chosen.indices) <= set(select(source, "all", 40).indices)
    assert len(select(source, "all", 1000).indices) == 80


def test_cifake_is_read_with_its_own_label_order(cifake):
    source = open_source(str(cifake), cifake)
    test = select(source, "test", None).samples
    assert Counter(s.label for s in test) == {0: 10_000, 1: 10_000}
    assert all(s.id.split("/")[-2] == ("FAKE" if s.label else "REAL") for s in test)


@pytest.mark.parametrize("labels", [[0, 2], [0, -2], [0.0, 0.5], [[0], [1]], ["real", "cat"]])
def test_a_label_that_means_nothing_names_its_row(tmp_path, labels):
    parquet(tmp_path / "a.parquet", labels, names=["real", "fake"])
    with pytest.raises(UserError, match="row [01]: cannot tell"):
        TableSource(tmp_path / "a.parquet")


def test_labels_as_words_are_read(tmp_path):
    parquet(tmp_path / "a.parquet", ["ai", "nature"])
    assert [s.label for s in TableSource(tmp_path / "a.parquet").samples] == [1, 0]


@pytest.mark.parametrize("image", ["text", [1, 2], 3.5])
def test_an_image_column_without_images_is_said(tmp_path, image):
    pq.write_table(pa.table({"image": [image], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="not images"):
        TableSource(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "metadata", ["not json", "[]", '{"info": null}', '{"info": {"features": {"label": {"names": 3}}}}']
)
def test_foreign_metadata_does_no_harm(tmp_path, metadata):
    table = pa.table({"image": [encoded(GRADIENT)], "label": ["fake"], "generator": [7]})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "a.parquet")
    (sample,) = TableSource(tmp_path / "a.parquet").samples
    assert (sample.label, sample.generator) == (1, "7")


def test_links_are_followed_once_and_results_and_hidden_files_passed_over(tmp_path):
    write_image(tmp_path / "elsewhere" / "a.png", 1, fake=False)
    data = tmp_path / "data"
    write_image(data / "fake" / "b.png", 2, fake=True)
    (data / "real").symlink_to(tmp_path / "elsewhere")
    (data / "fake" / "loop").symlink_to(data)
    run_folder = data / "results" / "fake" / "1"
    write_image(run_folder / "figures" / "c.png", 3, fake=True)
    for name in ("run.json", "summary.csv", "records.parquet"):
        (run_folder / name).write_text("")
    write_image(data / ".cache" / "fake" / "d.png", 4, fake=True)
    (data / ".cache" / "x.parquet").write_text("")
    assert [s.id for s in open_source("data", tmp_path).samples] == ["fake/b.png", "real/a.png"]


def test_images_without_a_class_are_counted_aloud(tmp_path):
    for number, folder in enumerate(["real", "fkae", "fkae"]):
        write_image(tmp_path / folder / f"{number}.png", number, fake=False)
    (notice,) = FolderSource(tmp_path).notices
    assert (
        notice
        == "2 images are left out: their folders name no class (fkae); if they are real or fake, say which: labels: {fkae: …}"
    )


def test_a_file_that_cannot_be_opened_is_an_unreadable_image(tmp_path):
    for number in range(20):
        write_image(tmp_path / "real" / f"{number}.png", number, fake=False)
    source = open_source(str(tmp_path), tmp_path)
    (tmp_path / "real" / "3.png").unlink()
    assert sum(len(select(source, split, None).indices) for split in ("train", "val", "test")) == 20


def test_a_generator_called_all_is_refused(tmp_path):
    write_image(tmp_path / "a.png", 1, fake=True)
    (tmp_path / "list.csv").write_text("path,label,generator\na.png,fake,all\n")
    with pytest.raises(UserError, match="generator called 'all'"):
        select(open_source(str(tmp_path / "list.csv"), tmp_path), "all", None)


def test_a_file_name_that_is_no_utf8_becomes_printable(tmp_path):
    write_image(tmp_path / "real" / "a.png", 1, fake=False)
    (tmp_path / "real" / "a.png").rename(tmp_path / "real" / os.fsdecode(b"\xff.png"))
    (sample,) = FolderSource(tmp_path).samples
    assert sample.id == "real/\\xff.png"
