"""What fuzzing found: the smallest inputs, each of which once ended in another error than the reader's own."""

import base64
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import REPOSITORY
from safetensors.torch import save_file
from test_run_formats import FOLDERS, without

import robustbench_aigen as ra
from benchmarks.fuzzing.contract import MARKER, Loader, Watch
from benchmarks.fuzzing.loaders import LOADERS
from robustbench_aigen.data.dataset_card import class_names_in_readme
from robustbench_aigen.data.layouts.exported import read_exported
from robustbench_aigen.data.layouts.manifest import is_manifest
from robustbench_aigen.detectors.format_detection import format_of_path
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.digests import digest_of_text, sealed
from robustbench_aigen.documents.located_yaml import read_yaml, yaml_value
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.masks import _read_once
from robustbench_aigen.runs.folder import gallery_image, write_run
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import Scenario

# Scenario files


@pytest.mark.parametrize(
    "text",
    [
        "version: !!bool maybe",
        "version: !!int ''",
        "version: !!int abc",
        "version: !!timestamp soon",
        "!!int a: 1",
        "!!int : 1",
        "!!timestamp : 1",
        "!!bool x: 1",
    ],
)
def test_a_tag_that_does_not_fit_its_text_is_an_error_with_a_line(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Scenario.from_yaml(file)
    assert caught.value.line == 1
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="."):
        yaml_value(text)


def test_a_deeply_nested_scenario_is_refused_at_its_first_line(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match="nested too deeply") as caught:
        read_yaml(file)
    assert caught.value.line == 1


def test_merged_keys_do_not_double_at_each_level(tmp_path):
    lines = ["m0: &m0 {k: 1}", *(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}" for n in range(1, 40))]
    file = tmp_path / "a.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read_yaml(file).content["m39"] == {"k": 1}


def test_a_message_does_not_repeat_a_long_value_or_key():
    error = UserError("x" * 5000, key="k" * 5000)
    assert len(str(error)) < 2000
    assert "\n" not in str(error)


# Data


@pytest.mark.parametrize("head", ["a: 2024-02-31", "a: !!int ''", "a: !!bool x", "[" * 5000])
def test_the_head_of_a_readme_that_is_not_yaml_names_no_classes(tmp_path, head):
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n", encoding="utf-8")
    assert class_names_in_readme(tmp_path) == {}


def test_a_deeply_nested_line_is_not_a_manifest(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a":' * 100_000, encoding="utf-8")
    assert not is_manifest(tmp_path / "a.jsonl")


def test_an_arrow_file_with_offsets_outside_its_buffers_is_refused(tmp_path):
    table = pa.table({"image": ["a.png", "b.png"], "label": [0, 1]})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    offsets = struct.pack("<iii", 0, 5, 10)
    assert offsets in buffer.getvalue()
    (tmp_path / "a.arrow").write_bytes(buffer.getvalue().replace(offsets, struct.pack("<iii", 0, 2**30, 10)))
    with pytest.raises(UserError, match="cannot be read as Arrow"):
        ra.ImageData.open(tmp_path / "a.arrow", split="all")


def test_damage_inside_a_parquet_file_is_an_error_of_the_file(tmp_path):
    pq.write_table(
        pa.table({"image": ["a.png"] * 9, "label": [0] * 9}), tmp_path / "a.parquet", compression="zstd"
    )
    whole = (tmp_path / "a.parquet").read_bytes()
    first = whole.index(b"\x28\xb5\x2f\xfd")  # The first compressed page.
    (tmp_path / "a.parquet").write_bytes(whole[: first + 4] + b"\xff" * 4 + whole[first + 8 :])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        ra.ImageData.open(tmp_path / "a.parquet", split="all")
    (tmp_path / "b.parquet").write_bytes(whole.replace(b"label", b"l\xe5\xe5el"))
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        ra.ImageData.open(tmp_path / "b.parquet", split="all")


SHORT_ROW_GROUP = (
    "eNptUstOwkAUvW2GxgUkYDKTjumChTQuoD4ixBg3FwTfD0gMMXFTcayPgtii/IRLl36KS5cu/AQ+xZkpKZJ4F/fenjnn3NvMnGNn"
    "nRK6SbeOZQGApZuMzL43HAQ52Xjeaix6kRgpgFboImVlScxTi1pODVYymmnnvJRUKEgZMQAo4TtVsK24dyf6PiVAsyXTztz3/UCU"
    "4NiRtAQJ/WsRThFGuMPLLjg0y6tg5flUQE1G2KfBvgz3yl2Ym/x3Qzmcq/2AmiBTXpYdtswt7gKR7nO+eqz2fTfYh+G+me63oZxJ"
    "JPzQJrf+o/jXL5/6sR8pdxfYxATu2FnsdM6628n/2hNjVUUNVbQxiSPEMdYDbCEG2Ag0Vq8jnqimgXiggVnFpE06nU8fpOmWbJqt"
    "pga1SRPTuFBgfNk9DK/V54nmt7HeVv57iD3cnZqlovaF3m9/blVUEqkIR5fdm3AmmZ2DXRz60fOLGFV6w2HFj6KncfFVRPH906C4"
    "UfPWvHVelpeq7jVnApzLt/YLNI6FXQ=="
)
"""A Parquet file whose row group declares more rows than it has: zlib, base64."""


def test_a_row_group_with_fewer_rows_than_it_declares_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(zlib.decompress(base64.b64decode(SHORT_ROW_GROUP)))
    with pytest.raises(UserError, match="fewer rows than it declares"):
        ra.ImageData.open(tmp_path / "a.parquet", split="all")


WRONG_HISTOGRAM = (
    "eNp9kc1Kw0AQx2fXTcihhzQ6SxZCySVLhDRYoTn14j2H4husJdRCP2Lqxzt49OzZk8/gszkTLRQVl1n+7Mzsb+fPzq+uJ6gwwqhGiRAB"
    "eADgyna7ROB0QdUQffSTCnKvL8RfMhxSp6SthFDQt4U1CUN4Cdo/GbHibKy4riE/Oh3TTiQqM5tC7O8Xt83GIeEHmYy91cYtmwzqhNEy"
    "i2Jv7W6adTaq308DBmhlElNYSHBgpuCH5vsOUkU/Cwpb2eAvK4aHJCiPHJLM9JnxjQUejnnywOtf7HmvgsJ+CPsi/jf2i31+IOs3qZUN"
    "SCBPW9fdPTT340Xbjl3X7Z7Sx6bbr3bb9LIqL8qJKcg3Wx8RfU4f9wlaGDlK"
)
"""A Parquet file whose histogram does not fit its column: pyarrow ends the process over its ``column``."""


def test_a_wrong_histogram_does_not_end_the_process(tmp_path):
    (tmp_path / "a.parquet").write_bytes(zlib.decompress(base64.b64decode(WRONG_HISTOGRAM)))
    code = "import robustbench_aigen as ra; ra.ImageData.open('a.parquet', split='all', labels={0: 'real', 1: 'fake'})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "a.parquet: cannot be read as Parquet: Definition level" in done.stderr


def exported(folder: Path, manifest: str, cells: object = ()) -> Path:
    written = manifest.encode()
    (folder / "manifest.csv").write_bytes(written)
    content = sealed({"format": 1, "cells": cells}, {"manifest.csv": digest_of_text(written)})
    (folder / "export.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("path,sha256\n../secret.png,00\n", "../secret.png is outside its folder"),
        ("path,sha256\n/etc/passwd,00\n", "/etc/passwd is outside its folder"),
        (f"path,sha256\n{'x' * 5000},00\n", "is missing"),
        ("path,label\na.png,real\n", "not a table with path and sha256"),
        ("path,sha256\na.png\n", "is missing|not a table"),
    ],
)
def test_an_exported_set_stays_in_its_folder(tmp_path, manifest, message):
    with pytest.raises(UserError, match=message):
        read_exported(exported(tmp_path, manifest))


def test_an_exported_set_without_cells_is_damaged(tmp_path):
    with pytest.raises(UserError, match="no list of cells"):
        read_exported(exported(tmp_path, "path,sha256\n", cells=3))


# Run folders


@pytest.mark.parametrize("name", ["run.json", "baseline.json"])
def test_a_deeply_nested_run_is_damaged(tmp_path, name):
    for each in (name, "summary.csv", "records.parquet"):
        (tmp_path / each).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        Run.load(tmp_path)


def test_a_gallery_of_other_bytes_is_damaged(tmp_path):
    run = ra.evaluate(
        "minigen/lenet5", limit=4, pipelines={"fgsm": [{"attack": "fgsm", "eps": "4/255"}]}, trust="off"
    )
    run.save(tmp_path / "run")
    gallery = pd.read_parquet(tmp_path / "run" / "gallery.parquet")
    for value, reason in ((b"no image", "not an image"), (None, "cannot be read"), (3, "cannot be read")):
        gallery.assign(image=[value] * len(gallery)).to_parquet(tmp_path / "run" / "gallery.parquet")
        info = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
        info = {name: part for name, part in info.items() if name != "digests"}
        (tmp_path / "run" / "run.json").write_text(json.dumps(info), encoding="utf-8")
        with pytest.raises(UserError, match=reason):
            _ = Run.load(tmp_path / "run").gallery
    whole = gallery["original"].iloc[0]
    with pytest.raises(UserError, match="is damaged"):
        gallery_image(whole[: len(whole) // 2])


def test_a_mask_in_postscript_runs_no_program(tmp_path):
    file = tmp_path / "mask.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="PostScript"):
        _read_once(str(file), 0)


# Checkpoints


@pytest.mark.parametrize("content", [b"\x08", b"\x08\x01", b"\x08\x01\x12"])
def test_a_file_of_few_bytes_has_a_format_or_none(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    format_of_path(tmp_path / "a.bin", "a.bin")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a\0b", ""])
def test_an_index_names_no_weights_outside_its_folder(tmp_path, name):
    folder = tmp_path / "own"
    folder.mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(UserError, match="outside its folder"):
        load_detector({"path": str(index), "arch": "lenet5"})


def test_a_long_name_in_an_index_is_a_missing_file(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x" * 5000}}), encoding="utf-8")
    with pytest.raises(UserError, match="is missing beside it") as caught:
        load_detector({"path": str(index), "arch": "lenet5"})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("base", [{"path": "a.safetensors"}, {"ensemble": [{"path": "a.safetensors"}] * 2}])
def test_a_card_whose_base_is_its_own_weights_is_refused(tmp_path, base):
    save_file(build_architecture("lenet5").state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps({"base": base}), encoding="utf-8")
    with pytest.raises(UserError, match="leads back to the same weights"):
        load_detector(tmp_path / "a.safetensors")


@pytest.mark.parametrize("damage", ["header", "archive"])
def test_damaged_arrays_of_numpy_are_an_error(tmp_path, damage):
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    content = (
        buffer.getvalue().replace(b"'shape': (3,)", b"'shape': (((")
        if damage == "header"
        else buffer.getvalue()
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
        archive.writestr("b.npy", content)
    if damage == "archive":
        written = bytearray((tmp_path / "a.npz").read_bytes())
        second = written.index(b"PK\x03\x04", 4)
        written[second + 2] ^= 1
        (tmp_path / "a.npz").write_bytes(written)
    with pytest.raises(UserError, match="cannot be read as arrays of numpy"):
        load_detector({"path": str(tmp_path / "a.npz"), "arch": "lenet5"})


def test_a_damaged_group_in_a_keras_file_is_an_error(tmp_path):
    h5py = pytest.importorskip("h5py")
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as archive:
        archive.attrs["model_config"] = "{}"
        archive.create_group("layers").create_dataset("a", data=np.ones(3))
    # Nodes of the symbol table.
    file.write_bytes(file.read_bytes().replace(b"SNOD", b"SNOX"))
    with pytest.raises(UserError, match="is not a Keras model"):
        load_detector(file)


@pytest.mark.filterwarnings("error")
def test_what_torch_warns_of_in_a_checkpoint_is_not_shown(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError):
        load_detector({"path": str(tmp_path / "a.pth"), "arch": "lenet5"})
    torch.save({"a": torch.ones(2, 2).to_sparse()}, tmp_path / "b.pth")
    with pytest.raises(UserError):
        load_detector({"path": str(tmp_path / "b.pth"), "arch": "lenet5"})


# The fuzzing itself


@pytest.mark.parametrize("fault", ["error", "message", "marker", "write", "process", "none"])
def test_the_watch_sees_each_kind_of_violation(tmp_path, fault):
    scratch = tmp_path / "scratch"
    folder = scratch / "input"
    folder.mkdir(parents=True)

    def load(content: bytes, _: Path) -> None:
        match content:
            case b"error":
                raise KeyError(1)
            case b"message":
                raise UserError("")
            case b"marker":
                (scratch / MARKER).touch()
            case b"write":
                (tmp_path / "elsewhere").write_text("x")
            case b"process":
                subprocess.run([sys.executable, "-c", ""], check=True)
            case _:
                raise UserError("one line", hint="and a hint")

    watch = Watch(Loader("own", load, lambda _: [], lambda _: None), scratch)
    found = watch.examine(fault.encode(), folder).violation
    kinds = {
        "error": "exception",
        "message": "message",
        "marker": "code",
        "write": "audit",
        "process": "audit",
    }
    assert (None if found is None else found.kind) == kinds.get(fault)


def test_the_command_knows_its_loaders_and_replays_an_input(tmp_path):
    for name in LOADERS.values():
        assert importlib.util.find_spec(f"benchmarks.fuzzing.loaders.{name}") is not None
    (tmp_path / "input").write_bytes(b"version: !!bool maybe")
    command = [sys.executable, "-m", "benchmarks.fuzzing", "scenario", "--input", str(tmp_path / "input")]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert "no violation" in done.stdout


def test_damaged_pages_of_records_are_named(tmp_path):
    """A run folder without digests, as earlier versions wrote them: the footer is sound, a page is not."""
    folder = tmp_path / "run"
    shutil.copytree(FOLDERS[0], folder)
    run = Run.load(folder)
    write_run(folder, run.info, run.records, run.summary, run.gallery)
    without(folder, lambda content: None)
    file = folder / "records.parquet"
    content = bytearray(file.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    content[4 : len(content) - footer] = b"\xff" * (len(content) - footer - 4)
    file.write_bytes(bytes(content))
    cells = Run.load(folder).cells
    with pytest.raises(UserError, match=r"is damaged: records\.parquet: "):
        cells.cell(*next(iter(cells)))
    with pytest.raises(UserError, match=r"is damaged: records\.parquet: "):
        cells.images()


def test_a_row_that_a_summary_has_twice_is_named(tmp_path):
    """A run folder of an early version, whose summary lacks columns and is completed from the records."""
    folder = tmp_path / "run"
    shutil.copytree(FOLDERS[0], folder)
    run = Run.load(folder)
    summary = run.summary.drop(columns="trust")
    row = summary.index[summary["generator"] != "all"][0]
    write_run(folder, run.info, run.records, pd.concat([summary, summary.loc[[row]]]), run.gallery)
    with pytest.raises(UserError, match=r"summary\.csv has the row .+ twice"):
        Run.load(folder)


@pytest.mark.parametrize("key", ["input_size", "resize_to"])
def test_a_size_that_no_memory_holds_is_refused(key):
    declared = {"id": "minigen/lenet5", "input_size": [32, 32]} | {key: [10**19, 2]}
    with pytest.raises(UserError, match=f"{key} of {10**19}×2 is larger than 16384 pixels a side"):
        load_detector(declared)
