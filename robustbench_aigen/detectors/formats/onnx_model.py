"""ONNX models: made into torch, with gradients; scored by onnxruntime where that fails."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from robustbench_aigen.detectors.formats.hashing import file_hash, files_hash
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import BlackBox, ChannelsLastInput, PaddedBatch
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library

_EQUAL = 1e-4
"""Relative to the largest answer: how far the converted network may be from onnxruntime."""


def load_onnx(request: Request) -> Loaded:
    """Load a model that takes one image tensor.

    Raises
    ------
    UserError
        If it is damaged or takes something else.
    """
    onnx = import_library("onnx", extra="onnx", what=f"'{request.place}'")
    runtime = import_library("onnxruntime", extra="onnx", what=f"'{request.place}'")
    model, session = _read(onnx, runtime, request.path)
    shape = _input_shape(session, request.path)
    is_channels_last = shape[3] == 3 and shape[1] != 3
    sides = shape[1:3] if is_channels_last else shape[2:]
    size = tuple(sides) if all(isinstance(side, int) for side in sides) else None
    example = _example(shape, size or request.input_size or (64, 64), is_channels_last=is_channels_last)
    network, reason = _converted(model, session, example)
    assumptions: tuple[str, ...] = ()
    if network is None:
        network = BlackBox(_Session(session))
        assumptions = (
            f"no gradients: {reason}; onnxruntime scores it as a black box, for attacks without gradients",
        )
    if is_channels_last:
        network = ChannelsLastInput(network)
    if isinstance(shape[0], int):
        network = PaddedBatch(network, shape[0], shape[0])
    return Loaded(
        network,
        "ONNX",
        _hash(onnx, request.path),
        {} if size is None else {"input_size": size},
        assumptions,
        ("onnx", "onnx2torch", "onnxruntime"),
    )


class _Session:
    """A session of onnxruntime as a function from one array to its first output."""

    def __init__(self, session: Any) -> None:
        self.session, self.input = session, session.get_inputs()[0].name

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        answer: np.ndarray[Any, Any] = self.session.run(None, {self.input: images})[0]
        return answer


def _read(onnx: Any, runtime: Any, file: Path) -> tuple[Any, Any]:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        model = onnx.load(file)
        return model, runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf, the file system and two libraries; each means the same here.
        raise UserError(f"cannot be read as ONNX: {first_line(error)}", file=file) from error


def _input_shape(session: Any, file: Path) -> list[Any]:
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
        raise UserError(
            f"takes {found or 'nothing'}; a detector takes one float tensor N×3×H×W or N×H×W×3", file=file
        )
    if 3 not in (shape[1], shape[3]) and all(isinstance(shape[side], int) for side in (1, 3)):
        raise UserError(f"takes input of shape {shape}, which has no three channels", file=file)
    return list(shape)


def _example(shape: list[Any], size: tuple[int, int], *, is_channels_last: bool) -> torch.Tensor:
    """Return random input that the model takes."""
    batch = shape[0] if isinstance(shape[0], int) else 2
    sides = (*size, 3) if is_channels_last else (3, *size)
    return torch.rand((batch, *sides), generator=torch.Generator().manual_seed(0))


def _converted(model: Any, session: Any, example: torch.Tensor) -> tuple[nn.Module | None, str]:
    """Return the model as a torch network that answers what onnxruntime does, or why there is none."""
    onnx2torch = import_library("onnx2torch", extra="onnx", what="an ONNX detector with gradients")
    from robustbench_aigen.detectors.formats.onnx_converters import register_converters

    register_converters()
    try:
        network: nn.Module = onnx2torch.convert(model).eval()
        with torch.no_grad():
            ours = network(example)
    except Exception as error:  # noqa: BLE001  An operator that is not known, or does what torch cannot; it is told.
        return None, f"onnx2torch cannot convert it ({first_line(error)})"
    ours = ours[0] if isinstance(ours, list | tuple) else ours
    theirs = torch.from_numpy(_Session(session)(example.numpy()))
    far = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
    if not far <= _EQUAL * max(1.0, float(theirs.abs().max())):
        return None, f"converted to torch it answers up to {far:.2g} otherwise than onnxruntime"
    return network, ""


def _hash(onnx: Any, file: Path) -> str:
    """Return the hash of a model and of the files that its weights are in."""
    model = onnx.load(file, load_external_data=False)
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return files_hash([file, *(file.parent / place for place in places)]) if places else file_hash(file)
