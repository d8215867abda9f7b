"""Files of detectors that want memory, time or another reader than they seem to: one line, and little is read."""

import json
import os
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.archives import check_size
from robustbench_aigen.errors import UserError

LARGE = 2**28 + 2**20
"""Bytes that no archive of a few hundred kilobytes may unpack to."""


def bomb(file: Path, entry: str, *others: str) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in others:
            archive.writestr(name, "{}")
        with archive.open(entry, "w") as stream:
            for _ in range(LARGE // 2**20):
                stream.write(b" " * 2**20)
    return file


@pytest.mark.parametrize(
    ("name", "entry", "others", "library"),
    [
        ("m.pt", "m/data/0", ["m/data.pkl"], None),
        ("m.npz", "a.npy", [], None),
        ("m.skops", "schema.json", [], "skops"),
        ("m.keras", "config.json", ["metadata.json"], "keras"),
        ("m.keras", "model.weights.h5", ["metadata.json", "config.json"], "keras"),
        ("m.pt2", "m/data/0", ["m/archive_format", "m/models/model.json"], None),
    ],
)
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_not_read(
    tmp_path, name, entry, others, library
):
    if library is not None and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    file = bomb(tmp_path / name, entry, *others)
    with pytest.raises(UserError, match=r"unpacks to 2\d\d MB, above the limit"):
        load_detector(file, arch="lenet5" if name in ("m.pt", "m.npz") else None, trust_code=True)


def test_the_limit_is_far_above_what_weights_compress_to(tmp_path):
    file = tmp_path / "m.npz"
    file.write_bytes(b" " * 2**20)
    check_size(file, 2**28)
    with file.open("ab") as stream:
        stream.truncate(2**28)
    check_size(file, 20 * 2**28)
    with pytest.raises(UserError, match="unpacks to 5 GB"):
        check_size(file, 21 * 2**28)


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx", "m.keras", "m.skops", "m.pt2", "m.npz"])
def test_only_regular_files_are_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero_{name}").symlink_to("/dev/zero")
    for file in (tmp_path / name, tmp_path / f"zero_{name}"):
        with pytest.raises(UserError, match="is not a regular file"):
            load_detector(file, arch=None)


@pytest.mark.parametrize(("length", "stored"), [(2**40, 100), (2**31, 2**31 + 8)])
def test_a_header_of_gigabytes_is_not_read(tmp_path, length, stored):
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(stored)
    with pytest.raises(UserError, match="not a safetensors file"):
        load_detector(tmp_path / "m.safetensors", arch="lenet5")


def test_a_file_that_is_two_kinds_at_once_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("keras")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {}}))
        archive.writestr("metadata.json", "{}")
    for name in ("m.keras", "m.h5"):
        (tmp_path / name).write_bytes((tmp_path / "a.h5").read_bytes() + (tmp_path / "b.zip").read_bytes())
        with pytest.raises(UserError, match="both an HDF5 file and a zip archive"):
            load_detector(tmp_path / name)


def test_arrays_of_gigabytes_or_of_other_files_in_hdf5_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("keras")
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("a", shape=(2**33,), dtype="f4", chunks=(2**20,))
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UserError, match="unpacks to 34 GB"):
        load_detector(tmp_path / "large.h5")
    with pytest.raises(UserError, match="links to other files"):
        load_detector(tmp_path / "linked.h5")


DEEP = "[" * 100_000 + "]" * 100_000


def test_json_that_is_nested_too_deep_is_one_line(tmp_path):
    pytest.importorskip("keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", DEEP)
    with pytest.raises(UserError, match="nested too deep"):
        load_detector(tmp_path / "m.keras")
    pytest.importorskip("timm")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"architecture": ' + DEEP + "}")
    with pytest.raises(UserError, match="is not a configuration of timm"):
        load_detector(tmp_path / "folder")
    (tmp_path / "model.safetensors.index.json").write_text(DEEP)
    with pytest.raises(UserError, match="is not an index of weights"):
        load_detector(tmp_path / "model.safetensors.index.json", arch="lenet5")
