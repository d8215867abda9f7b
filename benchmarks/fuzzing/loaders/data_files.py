"""Manifests, tables and tar files of images: opening, the samples, and the first images.

The first byte of an input selects the name of the file.
"""

import io
import json
import random
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.fuzzing.contract import FORBIDDEN, Loader
from benchmarks.fuzzing.structures import TEXTS, draws, values
from robustbench_aigen.digests import digest_of_text, sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import UnreadableImageError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_NAMES = (
    "list.csv", "list.tsv", "list.jsonl", "a.parquet", "a.arrow", "a.tar", "README.md", "labels.json", "export.json",
    "manifest.csv",
)  # fmt: skip
_BESIDE = ("README.md", "labels.json", "export.json", "manifest.csv")
"""Files that are read with the folder that they are in."""
_OPENED = 4
"""Images of a source that are read."""
_COLUMNS = ("path", "label", "image", "generator", "split", "file_name", "id", "x")


def _load(content: bytes, folder: Path) -> None:
    from robustbench_aigen.data.image_data import ImageData
    from robustbench_aigen.data.samples import read_encoded
    from robustbench_aigen.numerics.decoding import decode

    name = _NAMES[content[0] % len(_NAMES)] if content else _NAMES[0]
    (folder / name).write_bytes(content[1:])
    for place in ("a.png", "real/b.png", "fake/c.png"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(_IMAGE)
    beside = name in ("README.md", "labels.json", "export.json",
    "manifest.csv",
)  # fmt: skip
    if name == "README.md":
        (folder / "a.parquet").write_bytes(_parquet({"image": [_IMAGE] * 2, "label": [0, 1]}))
    opened = ImageData.open(folder if beside else folder / name, split="all")
    _ = opened.samples, opened.notices
    for index in range(min(_OPENED, len(opened.source.samples))):
        try:
            decode(read_encoded(opened.source, index))
        except UnreadableImageError:
            continue


def _export(folder: Path, name: str) -> None:
    """Complete an exported set around one of its two files, with digests that fit."""
    cells = [{"folder": "images/0", "detector": "d", "pipeline": "p"}]
    content: Any = {"format": 1, "cells": cells}
    if name == "manifest.csv":
        written = (folder / name).read_bytes()
    else:
        written = f"path,label,sha256\nreal/b.png,real,{sha256(_IMAGE).hexdigest()}\n".encode()
        (folder / "manifest.csv").write_bytes(written)
        try:
            content = json.loads((folder / name).read_bytes())
        except (ValueError, RecursionError):
            return
    if isinstance(content, dict):
        files = {"manifest.csv": digest_of_text(written)}
        (folder / "export.json").write_text(json.dumps(sealed(content, files)), encoding="utf-8")


def _image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (9, 8, 7)).save(buffer, "PNG")
    return buffer.getvalue()


_IMAGE = _image()


def _named(name: str, content: bytes) -> bytes:
    return bytes([_NAMES.index(name)]) + content


def _csv(rows: list[list[str]], separator: str = ",") -> bytes:
    return "\n".join(separator.join(cells) for cells in rows).encode(errors="replace")


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def _arrow(columns: dict[str, Any], *, is_file: bool = False) -> bytes:
    buffer, table = io.BytesIO(), pa.table(columns)
    make = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with make(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _tar(members: list[tuple[str, Any]]) -> bytes:
    """Return a tar file of contents, and of links and devices: a pair of a type and a target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _seeds(folder: Path) -> list[bytes]:
    structs = [{"bytes": _IMAGE, "path": "fake/a.png"}, {"bytes": None, "path": "a.png"}]
    columns = {"image": structs, "label": [0, 1], "generator": [None, "sdxl"], "split": ["train", "test"]}
    bomb = {"image": [bytes(2**27)], "label": [1]}
    rows = [
        ["path", "label", "generator", "split"],
        ["a.png", "fake", "sdxl", "test"],
        ["real/b.png", "real", "", "train"],
    ]
    lines = b"\n".join(
        json.dumps({"path": path, "label": label, "meta": {"generator": "x"}}).encode()
        for path, label in (("a.png", "fake"), ("real/b.png", "real"))
    )
    tricky = [
        ["path", "label"],
        ["../" + FORBIDDEN, "fake"],
        ["/dev/zero", "real"],
        ["a\0.png", "1"],
        ["fake", "fake"],
    ]
    links = [
        ("a.png", _IMAGE), ("a.cls", b"1"), ("../../up.png", _IMAGE), ("../../up.cls", b"0"), ("/abs.png", _IMAGE),
        ("l.png", (tarfile.SYMTYPE, "../" + FORBIDDEN)), ("l.cls", b"1"), ("h.png", (tarfile.LNKTYPE, "/etc/passwd")),
        ("h.cls", b"0"), ("d.png", (tarfile.CHRTYPE, "")), ("p.png", (tarfile.FIFOTYPE, "")), ("f.json", b'{"label": 1}'),
        ("loop.png", (tarfile.SYMTYPE, "loop.png")), ("f.png", _IMAGE),
    ]  # fmt: skip
    card = b"---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': real\n          '1': fake\n---\n"
    return [
        _named("list.csv", _csv(rows)), _named("list.tsv", _csv(rows, "\t")), _named("list.csv", _csv(rows).decode().encode("utf-16")),
        _named("list.csv", b"sep=;\n" + _csv(rows, ";")), _named("list.csv", _csv(tricky)), _named("list.jsonl", lines),
        _named("list.jsonl", b'{"a":' * 3000 + b"1" + b"}" * 3000), _named("list.jsonl", b"[" * 100000),
        _named("list.jsonl", b'{"path": "a.png", "label": ' + b"9" * 6000 + b"}"),
        _named("a.parquet", _parquet(columns)), _named("a.parquet", _parquet(bomb, compression="zstd")),
        _named("a.parquet", _parquet({"image": ["a.png", "../" + FORBIDDEN], "label": ["real", "fake"]})),
        _named("a.arrow", _arrow(columns)), _named("a.arrow", _arrow(columns, is_file=True)),
        _named("a.arrow", _arrow({"image": [[1, 2], [3]], "label": [0, 1]})),
        _named("a.tar", _tar([("0.png", _IMAGE), ("0.cls", b"1"), ("1.png", _IMAGE), ("1.json", b'{"label": "real"}')])),
        _named("a.tar", _tar(links)), _named("README.md", card),
        _named("export.json", b'{"format": 1, "cells": [{"folder": "images/0", "detector": "d", "pipeline": "p"}]}'),
        _named("manifest.csv", f"path,label,sha256\nreal/b.png,real,{sha256(_IMAGE).hexdigest()}\n".encode()),
        _named("manifest.csv", b"path,label,sha256\n../secret.png,real,00\n"), _named("manifest.csv", b"path,label\na.png,real\n"),
        _named("labels.json", b'{"a.png": "fake", "real/b.png": "real"}'),
    ]  # fmt: skip


def _structured(seeds: list[bytes]) -> "SearchStrategy[bytes]":
    from hypothesis import strategies as st

    cell = st.one_of(
        st.sampled_from([*TEXTS, "a.png", "real/b.png", "fake/c.png", "0", "1"]), st.text(max_size=6)
    )
    names = st.lists(st.one_of(st.sampled_from(_COLUMNS), cell), min_size=1, max_size=5)
    heads = st.one_of(names, st.just(["path", "label", "generator", "split"]), st.just(["image", "label"]))
    rows = st.lists(st.lists(cell, min_size=1, max_size=5), max_size=5)
    separators = st.sampled_from([",", ";", "\t", "|"])
    lists = st.builds(
        lambda head, more, mark: _named("list.csv", _csv([head, *more], mark)), heads, rows, separators
    )
    objects = st.lists(
        st.dictionaries(st.sampled_from(_COLUMNS), st.one_of(cell, values()), max_size=5),
        min_size=1,
        max_size=4,
    )
    lines = objects.map(lambda all_: _named("list.jsonl", "\n".join(map(json.dumps, all_)).encode()))
    cards = values().map(
        lambda value: _named("README.md", f"---\n{json.dumps(value)}\n---\n".encode(errors="replace"))
    )
    labels = objects.map(lambda all_: _named("labels.json", json.dumps(all_).encode()))

    def table(kinds: list[tuple[str, list[Any]]], is_arrow: bool) -> bytes:
        columns = {}
        for name, column in kinds:
            try:
                columns[name] = pa.array(column)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                columns[name] = pa.array([str(value)[:20].encode("utf-8", "replace") for value in column])
        try:
            return _named("a.arrow", _arrow(columns)) if is_arrow else _named("a.parquet", _parquet(columns))
        except (pa.ArrowException, ValueError, UnicodeEncodeError):
            return _named("a.parquet", b"")

    image = st.sampled_from([
        _IMAGE, b"", None, "a.png", "../" + FORBIDDEN, [1, 2, 300], [0.5], {"bytes": _IMAGE, "path": "a.png"},
        {"bytes": None, "path": None}, {"path": 3}, {"bytes": "aGk="}, {"bytes": [1], "path": "x"}, 7, True,
    ])  # fmt: skip
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(), cell, st.binary(max_size=5)
    )
    columns = st.lists(
        st.tuples(st.sampled_from(_COLUMNS), st.lists(st.one_of(image, plain), min_size=2, max_size=2)),
        min_size=1,
        max_size=5,
    )
    same = st.lists(
        st.tuples(st.sampled_from(_COLUMNS), st.one_of(image, plain).map(lambda value: [value, value])),
        min_size=1,
        max_size=5,
    )
    tables = st.builds(table, st.one_of(columns, same), st.booleans())
    member = st.one_of(
        st.sampled_from([_IMAGE, b"1", b"fake", b"", b'{"label": 0}', b"[" * 5000, b"9" * 5000, b'{"label": [1]}']),
        st.tuples(st.sampled_from([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]), cell),
        values().map(lambda value: json.dumps({"label": value}).encode()),
    )  # fmt: skip
    stem = st.sampled_from(
        ["0", "1", "../0", "/0", "a/../../1", "real/2", "fake/3", "cfg_7.5", ".h", "x" * 120]
    )
    suffix = st.sampled_from(
        [".png", ".cls", ".json", ".txt", ".seg.png", ".PNG", "", ".jpg", ".label", ".class"]
    )
    members = st.lists(st.tuples(st.builds(str.__add__, stem, suffix), member), max_size=8)

    def archived(parts: list[tuple[str, Any]]) -> bytes:
        try:
            return _named("a.tar", _tar(parts))
        except (ValueError, UnicodeError):
            return _named("a.tar", b"")

    from benchmarks.fuzzing.mutation import mutated

    def changed(content: bytes, draw: random.Random) -> bytes:
        return mutated(content, seeds, draw, len(content) + 4096)

    edits = st.builds(changed, st.one_of(tables, members.map(archived), lists), draws())
    sets = values().map(
        lambda value: _named("export.json", json.dumps({"format": 1, "cells": value}).encode())
    )
    listed = st.builds(lambda head, more: _named("manifest.csv", _csv([head, *more])), heads, rows)
    return st.one_of(lists, lines, cards, labels, sets, listed, tables, tables, members.map(archived), edits)


LOADER = Loader("data", _load, _seeds, _structured, errors=(UserError,), confined=False)
