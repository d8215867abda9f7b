"""Files of detectors: the recognition of their format, and loading without trust.

The first byte of an input selects the suffix of the file.
"""

import io
import json
import pickle
import random
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmarks.fuzzing.contract import MARKER, Loader
from benchmarks.fuzzing.mutation import mutated
from benchmarks.fuzzing.structures import TEXTS, draws, edited, one_of_many, values
from robustbench_aigen.errors import first_line

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_SUFFIXES = (
    ".safetensors", ".pth", ".pt", ".onnx", ".pt2", ".keras", ".h5", ".skops", ".zip", ".npz", ".ckpt", ".bin", ".pkl",
    ".safetensors.index.json", ".card.json",
)  # fmt: skip


def _load(content: bytes, folder: Path) -> None:
    from robustbench_aigen.detectors.format_detection import format_of_path
    from robustbench_aigen.detectors.loading import load_detector

    suffix = _SUFFIXES[content[0] % len(_SUFFIXES)] if content else _SUFFIXES[0]
    file = folder / f"model{suffix}"
    file.write_bytes(content[1:])
    if suffix == ".card.json":
        card, file = file.rename(folder / "model.json"), folder / "model.safetensors"
        file.write_bytes(_valid_weights(folder.parent / "seeds"))
        assert card.exists()
    format_of_path(file, file.name)
    arch = None if suffix == ".card.json" else "lenet5"
    load_detector({"path": str(file), **({} if arch is None else {"arch": arch})}, trust_code=False)


def _valid_weights(folder: Path) -> bytes:
    return (folder / "lenet5.safetensors").read_bytes()


class _Call:
    """An object that calls a function when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('pathlib').Path({str(self.place)!r}).touch()",)


def _torch(value: Any, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def _named(suffix: str, content: bytes) -> bytes:
    return bytes([_SUFFIXES.index(suffix)]) + content


def _header(header: object, more: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + more


def _zip(members: dict[str, bytes], *, packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _small() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)).eval()


def _onnx(folder: Path) -> list[bytes]:
    file = folder / "small.onnx"
    torch.onnx.export(_small(), (torch.rand(1, 3, 8, 8),), file, dynamo=False, verbose=False)
    return [_named(".onnx", file.read_bytes())]


def _skops() -> list[bytes]:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(np.random.default_rng(0).random((8, 48)), [0, 1] * 4)
    stored = skops.io.dumps(model)
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        schema = json.loads(archive.read("schema.json"))
    hostile = {
        **schema,
        "__class__": "system",
        "__module__": "os",
        "__loader__": "FunctionNode",
        "content": {},
    }
    return [_named(".skops", stored), _named(".skops", _zip({"schema.json": json.dumps(hostile).encode()}))]


def _keras(folder: Path, marker: str) -> list[bytes]:
    from robustbench_aigen.detectors.formats.keras_model import keras_on_torch

    def touched(value: Any) -> Any:
        import os

        os.close(os.open(marker, os.O_CREAT))
        return value

    keras = keras_on_torch("a seed")
    layers, found = keras.layers, []
    plain = [layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
    hostile = [layers.Input((8, 8, 3)), layers.Lambda(touched), layers.Flatten(), layers.Dense(1)]
    for name, parts in (("small", plain), ("code", hostile)):
        model = keras.Sequential(parts)
        for suffix in (".keras", ".h5"):
            model.save(folder / f"{name}{suffix}")
            found.append(_named(suffix, (folder / f"{name}{suffix}").read_bytes()))
    return found


def _libraries(folder: Path, marker: Path) -> list[bytes]:
    """Return models of the optional libraries that are installed."""
    found = []
    for make in (partial(_onnx, folder), _skops, partial(_keras, folder, str(marker))):
        try:
            found += make()
        except Exception as error:  # noqa: BLE001  Without its extra a format has no seed.
            print(f"no seeds of a library: {first_line(error)}", file=sys.stderr)
    return found


def _seeds(folder: Path) -> list[bytes]:
    from safetensors.torch import save

    from robustbench_aigen.detectors.zoo import build_architecture

    folder.mkdir(parents=True, exist_ok=True)
    marker = folder.parent / MARKER
    weights = build_architecture("lenet5").state_dict()
    (folder / "lenet5.safetensors").write_bytes(save(weights))
    few = dict(list(weights.items())[:2])
    call = _Call(marker)
    arrays = io.BytesIO()
    np.savez(arrays, **{name: tensor.numpy() for name, tensor in few.items()})
    objects = io.BytesIO()
    np.savez(objects, a=np.array([call], dtype=object))
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.trace(_small(), torch.rand(1, 3, 8, 8)), scripted)
    program = io.BytesIO()
    torch.export.save(torch.export.export(_small(), (torch.rand(1, 3, 8, 8),)), program)
    bomb = _zip({"archive/data.pkl": bytes(2**29), "archive/version": b"3"}, packed=True)
    found = [
        _named(".safetensors", save(weights)), _named(".pth", _torch(few)), _named(".pt", _torch({"state_dict": few, "x": call})),
        _named(".pth", _torch(call)), _named(".pth", _torch(call, old=True)), _named(".pth", _torch(few, old=True)),
        _named(".pkl", pickle.dumps(call)), _named(".bin", pickle.dumps(call)), _named(".pth", pickle.dumps(call, 0)),
        _named(".pt", scripted.getvalue()), _named(".pt2", program.getvalue()), _named(".npz", arrays.getvalue()),
        _named(".npz", objects.getvalue()), _named(".pth", bomb), _named(".npz", _zip({"a.npy": bytes(2**29)}, packed=True)),
        _named(".zip", _zip({"../a": b"x", "/b": b"y"})), _named(".safetensors", _header({"a": {"dtype": "F32", "shape": [2**62, 2], "data_offsets": [0, 0]}})),
        _named(".safetensors", _header({}, b"x")), _named(".safetensors", _header(b"{" * 5000)),
        _named(".safetensors.index.json", json.dumps({"weight_map": {"a": "../secret.png", "b": "/etc/passwd"}}).encode()),
        _named(".safetensors.index.json", json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors.index.json"}}).encode()),
        _named(".card.json", b'{"arch": "lenet5", "input_size": [32, 32], "outputs": "logits"}'),
        _named(".card.json", b'{"arch": "python:os.system"}'), _named(".card.json", b'{"base": {"path": "model.safetensors"}}'),
        _named(".card.json", b"[" * 100000), _named(".onnx", b"\x08"), _named(".onnx", b"\x08\x01"), _named(".h5", b"\x89HDF\r\n\x1a\n"),
    ]  # fmt: skip
    return [*found, *_libraries(folder, marker)]


def _structured(seeds: list[bytes]) -> "SearchStrategy[bytes]":
    from hypothesis import strategies as st

    tensor = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "X"]),
            "shape": st.lists(st.sampled_from([0, 1, 2, 6, 2**31, 2**62, -1]), max_size=4),
            "data_offsets": st.lists(st.sampled_from([0, 4, 8, 24, 2**62, -1]), min_size=2, max_size=2),
        }
    )
    keys = st.sampled_from(["conv1.weight", "a", "__metadata__", *TEXTS])
    headers = st.dictionaries(keys, st.one_of(tensor, tensor, values()), max_size=4)
    weights = st.builds(
        lambda header, more: _named(".safetensors", _header(header, more)), headers, st.binary(max_size=64)
    )
    suffix = st.sampled_from(_SUFFIXES)
    starts = st.sampled_from([content[1:9] for content in seeds])
    short = st.builds(
        lambda name, start, more: _named(name, start + more), suffix, starts, st.binary(max_size=64)
    )
    card = {
        "arch": "lenet5",
        "input_size": [32, 32],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "outputs": "logits",
        "fake_index": 1,
        "threshold": 0.5,
    }
    cards = st.builds(
        lambda value, draw: _named(".card.json", json.dumps(edited(card, value, draw)).encode()),
        values(),
        draws(),
    )
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "model.safetensors", "b": "x.safetensors"}}
    indices = st.builds(
        lambda value, draw: _named(".safetensors.index.json", json.dumps(edited(index, value, draw)).encode()),
        values(), draws(),
    )  # fmt: skip

    def saved(value: Any) -> bytes:
        return _named(".pth", _torch(value))

    inner = st.one_of(
        values(),
        st.just(torch.ones(2)),
        st.just(torch.ones(6, 3, 5, 5)),
        st.just(torch.ones(2).to_sparse()),
        st.just(torch.empty(3, device="meta")),
    )
    states = st.dictionaries(
        st.sampled_from(["state_dict", "model", "conv1.weight", "conv1.bias", "epoch", "", "a.b"]),
        inner,
        max_size=4,
    ).map(saved)

    def changed(content: bytes, draw: random.Random) -> bytes:
        return mutated(content, seeds, draw, len(content) + 4096)

    edits = st.builds(changed, one_of_many(seeds), draws())
    return st.one_of(weights, short, cards, indices, states, edits, edits)


LOADER = Loader("checkpoint", _load, _seeds, _structured)
