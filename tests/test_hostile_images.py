"""Images without bounds, files that are none, and files that change while they are read."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_image
from PIL import Image, ImageOps
from test_layouts import opened

from robustbench_aigen import file_reading
from robustbench_aigen.data.selection import select
from robustbench_aigen.engine import gallery, probing, runner, shards
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import RefusedFileError, read_file
from robustbench_aigen.numerics import decoding
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode


def encoded(image: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# Sizes


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG"])
def test_the_limit_of_pixels_is_stated_and_holds_before_anything_is_decoded(monkeypatch, format_):
    content = encoded(Image.new("RGB", (40, 30)), format_)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1200)
    assert decode(content).shape == (3, 30, 40)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1199)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(UnreadableImageError, match="40×30 pixels: above the limit of"):
        decode(content)


def test_the_limits_stand_in_the_document():
    document = (Path(__file__).parents[1] / "docs" / "DATA.md").read_text(encoding="utf-8")
    assert f"{decoding.MOST_PIXELS // 1_000_000} million pixels" in document
    assert f"{file_reading.MOST_BYTES // 1024**2} MiB" in document


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(file_reading.MOST_BYTES + 1)
    with pytest.raises(RefusedFileError, match="above the limit of 256 MiB"):
        read_file(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"12345")
    assert read_file(tmp_path / "b.png", most=5) == b"12345"
    with pytest.raises(RefusedFileError):
        read_file(tmp_path / "b.png", most=4)


def test_a_bomb_in_the_text_of_a_png_is_refused_with_a_reason():
    bomb = b"a\0\0" + zlib.compress(bytes(200 * 1024**2), 9)
    content = encoded(Image.new("RGB", (4, 4)), "PNG")
    content = content[:33] + png_chunk(b"zTXt", bomb) + content[33:]
    with pytest.raises(UnreadableImageError, match="."):
        decode(content)


def test_of_many_frames_one_is_decoded():
    frames = [Image.new("L", (16, 16), shade) for shade in range(200)]
    content = encoded(frames[7], "GIF", save_all=True, append_images=frames)
    assert decode(content).unique().tolist() == [7]


def test_postscript_is_not_run():
    with pytest.raises(UnreadableImageError, match="PostScript"):
        decode(encoded(Image.new("RGB", (4, 4)), "EPS"))


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_pillows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    content = encoded(image, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (decode(content).permute(1, 2, 0).numpy() == expected).all()


# Files that are none


def listed(tmp_path, *paths):
    write_image(tmp_path / "ok.png", 1, fake=False)
    lines = [f"{path},fake\n" for path in paths]
    (tmp_path / "list.csv").write_text("path,label\nok.png,real\n" + "".join(lines))
    return opened(tmp_path / "list.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_pipes_devices_folders_and_addresses_are_unreadable_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("pipe.png")
    source = listed(tmp_path, "pipe.png", "/dev/zero", "folder.png", "link.png", "https://x.y/a.png")
    (shard,) = make_shards(select(source, "all", None))
    assert dict(decode_shard(shard).problems) == {
        "pipe.png": "a pipe, not a file",
        "/dev/zero": "a device, not a file",
        "folder.png": "a folder, not a file",
        "link.png": "a pipe, not a file",
        "https://x.y/a.png": "an address: images are read from files",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tar", "a.parquet", "a.png"])
def test_a_pipe_is_no_data_set(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError):
        opened(tmp_path / name)


def test_a_cell_without_bounds_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n" + "x" * 2**20 + ",fake\n")
    with pytest.raises(UserError, match="not valid CSV: field larger"):
        opened(tmp_path / "list.csv")


def test_a_large_cell_of_a_table_is_an_unreadable_image(tmp_path, monkeypatch):
    good = encoded(Image.new("RGB", (4, 4)), "PNG")
    pq.write_table(
        pa.table({"image": [good, bytes(5000)], "label": ["real", "fake"]}), tmp_path / "a.parquet"
    )
    monkeypatch.setattr(file_reading.refuse_size, "__defaults__", (4096,))
    (shard,) = make_shards(select(opened(tmp_path / "a.parquet"), "all", None))
    ((sample, reason),) = decode_shard(shard).problems
    assert (sample, "above the limit" in reason) == ("a#1", True)


# Counts


def test_unreadable_images_are_counted_by_class_and_a_class_without_images_is_told(tmp_path, cli):
    for number in range(3):
        write_image(tmp_path / "data" / "real" / f"{number}.png", number, fake=False)
        (tmp_path / "data" / "fake").mkdir(exist_ok=True, parents=True)
        (tmp_path / "data" / "fake" / f"{number}.png").write_text("no image")
    outcome = cli(
        "run", "jpeg_sweep", "--data", tmp_path / "data", "--split", "all", "--output", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.err
    assert "unreadable images, left out: 0 of 3 real, 3 of 3 fake" in outcome.err
    assert "no fake image can be read" in outcome.err


# Changes

SCENARIO = """
version: 1
name: s
data: {source: data, split: all}
detectors: [minigen/lenet5]
pipelines: {fgsm: [{attack: fgsm, eps: 8/255}]}
"""


def edited(file):
    write_image(file, 999, fake=False)


def cut_off(file):
    file.write_bytes(file.read_bytes()[:60])


def removed(file):
    file.unlink()


@pytest.mark.parametrize("change", [edited, cut_off, removed])
@pytest.mark.parametrize("reading", ["after hashing", "before probing", "before the gallery"])
def test_a_file_that_changes_during_a_run_ends_it_and_the_next_run_is_right(
    tmp_path, cli, monkeypatch, change, reading
):
    for number in range(3):  # All of them are in the gallery.
        write_image(tmp_path / "data" / "real" / f"{number}.png", number, fake=False)
        write_image(tmp_path / "data" / "fake" / f"{number}.png", 100 + number, fake=True)
    victim = tmp_path / "data" / "real" / "1.png"
    (tmp_path / "s.yaml").write_text(SCENARIO)
    place, name = {
        "after hashing": (runner, "repeated"),
        "before probing": (probing.Probing, "run"),
        "before the gallery": (gallery, "_originals"),
    }[reading]
    original = getattr(place, name)

    def with_change(*arguments):
        if victim.exists() and not done:
            done.append(change(victim))
        return original(*arguments)

    done: list[None] = []
    monkeypatch.setattr(place, name, with_change)
    command = ("run", tmp_path / "s.yaml", "--output", tmp_path / "out")
    outcome = cli(*command)
    assert outcome.code == 2, outcome
    assert "real/1.png" in outcome.err
    assert "since the run began" in outcome.err
    assert not list((tmp_path / "out").glob("s/*"))
    again = cli(*command, "--json")
    assert again.code == 0, again.err
    monkeypatch.undo()
    fresh = cli("run", tmp_path / "s.yaml", "--output", tmp_path / "other", "--json")
    assert fresh.code == 0, fresh.err
    assert json.loads(again.out)["summary"] == json.loads(fresh.out)["summary"]


def test_what_is_decoded_is_what_was_hashed(tmp_path):
    write_image(tmp_path / "data" / "real" / "0.png", 1, fake=False)
    write_image(tmp_path / "data" / "fake" / "0.png", 2, fake=True)
    (shard,) = make_shards(select(opened(tmp_path / "data"), "all", None))
    assert decode_shard(shard).hashes == list(shard.hashes)
    (tmp_path / "data" / "real" / "0.png").write_bytes((tmp_path / "data" / "fake" / "0.png").read_bytes())
    with pytest.raises(UserError, match=r"real/0\.png has changed"):
        decode_shard(shard)
    assert shards.content_digest(b"") != shards.content_digest(b"x")
