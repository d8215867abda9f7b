"""Images on their way in: odd files, threads, decoding ahead, near-duplicates, the hub."""

import io
import json
import sys
import threading
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from test_layouts import README, bare_parquet, opened, tree

from robustbench_aigen.data.selection import select
from robustbench_aigen.engine import prefetch, shards
from robustbench_aigen.engine.prefetch import Lookahead
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.parallel_map import in_threads
from robustbench_aigen.numerics.threads import using_threads


def encoded(image: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(
    (48, 40), Image.Resampling.BICUBIC
)
ROTATED = Image.Exif()
ROTATED[0x0112] = 8


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(PHOTO, "WEBP", lossless=True), PHOTO),
        (encoded(PHOTO, "MPO", quality=100, save_all=True, append_images=[PHOTO.rotate(180)]), PHOTO),
        (encoded(PHOTO, "PNG", exif=ROTATED), PHOTO.transpose(Image.Transpose.ROTATE_90)),
        (encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)]), PHOTO.quantize()),
        (encoded(PHOTO.convert("P"), "PNG", transparency=bytes(range(100))), PHOTO.convert("P")),
        (encoded(PHOTO.convert("CMYK"), "JPEG", quality=100), PHOTO),
    ],
    ids=["webp", "mpo", "exif", "animation", "palette with alpha", "cmyk"],
)  # fmt: skip
def test_formats_come_out_as_the_picture_they_hold(content, expected, recwarn):
    levels = decode(content).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(levels - np.asarray(expected.convert("RGB")).astype(int)).mean() < 4
    assert not recwarn.list


def test_sixteen_bits_are_scaled_in_every_channel():
    # Pillow writes no 16-bit colour, so the PNG is put together by hand.
    import struct
    import zlib

    rows = np.random.default_rng(2).integers(0, 1 << 16, (3, 4, 3), dtype=np.uint16)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    assert (decode(png).permute(1, 2, 0).numpy() == rows >> 8).all()


def test_damaged_metadata_does_not_cost_the_image():
    content = encoded(PHOTO, "JPEG", exif=b"Exif\0\0nonsense of a header")
    assert decode(content).shape == (3, 40, 48)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "missing or empty"),
        (b"These are notes.", "not an image"),
        (encoded(PHOTO, "WEBP")[:80], "."),
        (encoded(PHOTO, "JPEG", progressive=True)[:-60], "truncated"),
        (encoded(Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((2, 2), 1 << 20, dtype=np.int32)), "TIFF"), "32-bit"),
    ],
)
def test_what_cannot_be_read_says_why(content, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content)


def test_a_bomb_is_refused_before_it_is_decoded():
    """A few hundred bytes that say they are 30,000 pixels a side."""
    content = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    import struct
    import zlib

    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    with pytest.raises(UnreadableImageError, match="bomb"):
        decode(bytes(content))


def test_threads_keep_the_order_and_hold_little():
    """Two threads: with many, all of the items would be on their way."""
    taken, done = [], []

    def items():
        for number in range(500):
            taken.append(number)
            # A chunk is 16 items, and each of the cores has at most two and one more is being filled.
            yield number

    with using_threads(2):
        for result in in_threads(lambda number: number * number, items()):
            done.append(result)
            assert len(taken) - len(done) <= 16 * (2 * 2 + 2)
    assert done == [number * number for number in range(500)]


def test_an_error_in_a_thread_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // number, [1, 0]))


@pytest.fixture
def three_shards(tmp_path, monkeypatch):
    for number in range(24):
        write_image(tmp_path / ("fake", "real")[number % 2] / f"{number:02}.png", number, fake=False)
    (tmp_path / "real" / "05.png").write_text("no image")
    monkeypatch.setattr(shards, "SHARD_SIZE", 8)
    return list(make_shards(select(opened(tmp_path), "all", None)))


def test_what_is_decoded_ahead_is_what_is_decoded_at_once(three_shards):
    with Lookahead() as ahead:
        for place, shard in enumerate(three_shards):
            images = ahead.take(shard)
            if place + 1 < len(three_shards):
                ahead.prepare(three_shards[place + 1])
            alone = decode_shard(shard)
            assert [s.id for s in images.samples] == [s.id for s in alone.samples]
            assert all((one == other).all() for one, other in zip(images.levels, alone.levels, strict=True))
            assert (images.hashes, images.problems) == (alone.hashes, alone.problems)


def test_a_shard_is_decoded_once_and_ahead_unless_it_is_large(three_shards, monkeypatch):
    decoded = []

    def counted(shard):
        decoded.append((threading.current_thread() is threading.main_thread(), three_shards.index(shard)))
        return decode_shard(shard)

    monkeypatch.setattr(prefetch, "decode_shard", counted)
    for most in (prefetch._MOST, 0):
        monkeypatch.setattr(prefetch, "_MOST", most)
        decoded.clear()
        with Lookahead() as ahead:
            ahead.take(three_shards[0])
            ahead.prepare(three_shards[1])
            ahead.take(three_shards[1])
        assert decoded == [(True, 0), (most == 0, 1)]


def test_a_run_from_the_cache_decodes_nothing(tmp_path, cli, image_folder, monkeypatch):
    command = ("run", "jpeg_sweep", "--data", image_folder, "--split", "all", "--output", tmp_path / "out")
    assert cli(*command).code == 0
    monkeypatch.setattr(prefetch, "decode_shard", None)
    outcome = cli(*command)
    assert outcome.code == 0, outcome.err


def test_bad_files_are_named_and_counted_through_every_backend_with_mixed_sizes(tmp_path, cli):
    """Sizes differ within a class, so the libraries get groups of one size."""
    for number in range(8):
        size = ((32, 32), (40, 36))[number % 2]
        write_image(tmp_path / "data" / "real" / f"{number}.png", number, fake=False, size=size)
        write_image(tmp_path / "data" / "fake" / f"{number}.png", 50 + number, fake=True, size=size)
    (tmp_path / "data" / "real" / "notes.jpg").write_text("These are notes.")
    (tmp_path / "data" / "fake" / "half.png").write_bytes(
        (tmp_path / "data" / "fake" / "1.png").read_bytes()[:900]
    )
    attacks = "\n".join(
        f"  {backend}: [{{attack: pgd, eps: 8/255, steps: 2, backend: {backend}}}]"
        for backend in ("native", "torchattacks", "art")
    )
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: data, split: all}\n"
        f"detectors: [minigen/lenet5]\nmode: score\npipelines:\n{attacks}\n"
    )
    outcome = cli("run", tmp_path / "s.yaml", "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert {row["n"] for row in said["summary"]} == {16}
    assert {row["pipeline"] for row in said["summary"]} == {"clean", "native", "torchattacks", "art"}
    assert [problem["sample"] for problem in said["unreadable"]] == ["fake/half.png", "real/notes.jpg"]
    assert "skipped real/notes.jpg: not an image" in outcome.err


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client asks for: the listing of a data set, and its files."""

    root = None
    commit = "a" * 40

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {}
        if path.startswith("/api/datasets/me/pictures"):
            files = [
                {"rfilename": str(f.relative_to(self.root))} for f in self.root.rglob("*") if f.is_file()
            ]
            content = json.dumps({"id": "me/pictures", "sha": self.commit, "siblings": files}).encode()
            if path.count("/tree/"):
                content = json.dumps(
                    [{"type": "file", "path": f["rfilename"], "size": 1, "oid": "0"} for f in files]
                ).encode()
        elif path.startswith("/datasets/me/pictures/resolve/"):
            content = (self.root / path.split("/", 6)[6]).read_bytes()
            headers = {"X-Repo-Commit": self.commit, "ETag": f'"{sha1(content).hexdigest()}"'}
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    root = tmp_path / "hub"
    bare_parquet(root / "data" / "test-00000-of-00001.parquet")
    bare_parquet(root / "other" / "val.parquet")
    (root / "README.md").write_text(README)
    (root / "model.bin").write_bytes(b"not wanted")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Hub,), {"root": root}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    local = partial(
        huggingface_hub.snapshot_download,
        endpoint=f"http://127.0.0.1:{server.server_port}",
        cache_dir=tmp_path / "cache",
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    yield tmp_path / "cache"
    server.shutdown()
    server.server_close()


def test_a_data_set_of_the_hub_is_fetched_once_and_read(hub):
    source = opened("hf://me/pictures")
    assert [(s.label, s.split) for s in source.samples] == [(1, "test"), (0, "test"), (1, "val"), (0, "val")]
    assert source.name == "me/pictures"
    assert decode(source.encoded(1)).shape == (3, 8, 8)
    assert not list(hub.rglob("model.bin"))
    part = opened("hf://datasets/me/pictures@main/data", labels={0: "real", 1: "fake"})
    assert [(s.label, s.split) for s in part.samples] == [(0, "test"), (1, "test")]


def test_what_the_hub_has_not_is_said(hub):
    with pytest.raises(UserError, match="the hub has no data set 'me/nothing'"):
        opened("hf://me/nothing")
    with pytest.raises(UserError, match="has no 'train'"):
        opened("hf://me/pictures/train")
    with pytest.raises(UserError, match="is not a data set of the hub"):
        opened("hf://pictures")


def test_a_missing_extra_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="hf://me/pictures needs huggingface_hub") as caught:
        opened("hf://me/pictures")
    assert caught.value.hint == "pip install 'robustbench-aigen[hub]'"


def test_a_listed_file_that_is_not_there_is_an_unreadable_image(tmp_path):
    tree(tmp_path, "x/1.png")
    (tmp_path / "list.csv").write_text("path,label\nx/1.png,real\nx/2.png,fake\n")
    (shard,) = make_shards(select(opened(tmp_path), "all", None))
    assert decode_shard(shard).problems == [("x/2.png", "missing or empty")]
