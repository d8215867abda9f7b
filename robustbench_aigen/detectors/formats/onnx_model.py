"""ONNX models: made into torch, with gradients; scored by onnxruntime where that fails."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from robustbench_aigen.detectors.formats.onnx_inputs import (
    in_float32,
    levels_expected,
    tensors_of,
    with_float_input,
)
from robustbench_aigen.detectors.formats.onnx_outputs import choose_output, with_one_output
from robustbench_aigen.detectors.formats.onnx_quantised import (
    QuantisedNetwork,
    is_quantised,
    logits_before_sigmoid,
    twin_graph,
)
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import BlackBox, ChannelsLastInput, PaddedBatch
from robustbench_aigen.detectors.identity import file_hash, files_hash
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library

_EQUAL = 1e-4
"""Relative to the largest answer: how far the converted network may be from onnxruntime."""


def load_onnx(request: Request) -> Loaded:
    """Load a model that takes one image tensor.

    Raises
    ------
    UserError
        If it is damaged, takes something else, or does not say which of its outputs are scores.
    """
    onnx = import_library("onnx", extra="onnx", what=f"'{request.place}'")
    runtime = import_library("onnxruntime", extra="onnx", what=f"'{request.place}'")
    digest = _hash(onnx, request.path)
    stored = _read(onnx, request.path)
    model, notes = in_float32(onnx, stored)
    session = _session(runtime, request.path if model is stored else model, request.path)
    name, shape, is_of_levels = _input(session, request.path)
    metadata: dict[str, Any] = {}
    if is_of_levels:
        model, session, notes = _taking_floats(onnx, runtime, model, session, request.path, notes)
    if is_of_levels or levels_expected(onnx, model, name):
        metadata = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3, "eight_bit": is_of_levels}
        reason = "because its input has 8-bit numbers" if is_of_levels else "as its first step shows"
        notes = (*notes, f"the network receives levels from 0 to 255, {reason} (set mean and std to change)")
    is_channels_last = _are_channels_last(session, shape, request)
    sides = shape[1:3] if is_channels_last else shape[2:]
    size = tuple(sides) if all(isinstance(side, int) for side in sides) else None
    if size is not None:
        metadata["input_size"] = size
    example = _example(shape, size or request.input_size or (64, 64), is_channels_last=is_channels_last)
    if metadata.get("std"):
        example = (example * 255).round()
    output = choose_output(model, session, _fed(session, example), request.output, request.path)
    if not output.is_alone:
        model = with_one_output(onnx, model, output.name)
        session = _session(runtime, model, request.path)
    network, told = _network(onnx, model, session, example)
    if is_channels_last:
        network = ChannelsLastInput(network)
    if isinstance(shape[0], int):
        network = PaddedBatch(network, shape[0], shape[0])
    elif any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node):
        # The range of the integers is that of the batch.
        network = PaddedBatch(network, 1, 1)
        told = (*told, "its quantisation depends on the batch: images are scored one by one")
    notes = (*told, *notes)
    return Loaded(
        network,
        "ONNX",
        digest,
        {**metadata, **output.metadata},
        (*notes, *output.notes),
        ("onnx", "onnx2torch", "onnxruntime"),
        made_of=() if request.output is None else (f"output={request.output}",),
    )


def _network(onnx: Any, model: Any, session: Any, example: torch.Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network of a model, and notices: with gradients where that is possible."""
    network, reason, before_sigmoid = _converted(onnx, model, session, example)
    if network is None:
        text = f"no gradients: {reason}; onnxruntime computes scores, for attacks without gradients"
        return BlackBox(_Session(session)), (text,)
    if not is_quantised(model):
        return network, ()
    text = (
        "quantised: onnxruntime computes the verdicts on the integers; gradients are those of a twin in torch"
    )
    return QuantisedNetwork(BlackBox(_Session(session)), network, before_sigmoid=before_sigmoid), (text,)


class _Session:
    """A session of onnxruntime as a function from one array to its only output."""

    def __init__(self, session: Any) -> None:
        self.session, self.input = session, session.get_inputs()[0].name

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        answer: np.ndarray[Any, Any] = self.session.run(None, {self.input: self.cast(images)})[0]
        return answer

    def cast(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return images in the type that the session takes."""
        if self.session.get_inputs()[0].type != "tensor(uint8)":
            return images
        return images.round().clip(0, 255).astype(np.uint8)


def _fed(session: Any, example: torch.Tensor) -> np.ndarray[Any, Any]:
    return _Session(session).cast(example.numpy())


def _read(onnx: Any, file: Path) -> Any:
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf and the file system; each means the same here.
        raise UserError(f"cannot be read as ONNX: {first_line(error)}", file=file) from error


def _session(runtime: Any, model: Any, file: Path) -> Any:
    """Return a session of a model, or of the model in a file."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # Processors without VNNI saturate sums of 16 bits otherwise, and a verdict would depend on the processor.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        source = model if isinstance(model, Path) else model.SerializeToString()
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf and its own errors; each means the same here.
        raise UserError(f"cannot be read as ONNX: {first_line(error)}", file=file) from error


def _taking_floats(
    onnx: Any, runtime: Any, model: Any, session: Any, file: Path, notes: tuple[str, ...]
) -> tuple[Any, Any, tuple[str, ...]]:
    """Return a model of 8-bit input as one of floats, which have gradients, where that is possible."""
    changed = with_float_input(onnx, model)
    try:
        return changed, _session(runtime, changed, file), notes
    except UserError:
        # Its first operator is one of whole numbers.
        return model, session, notes


def _input(session: Any, file: Path) -> tuple[str, list[Any], bool]:
    """Return the name and the shape of a model's input, and whether it is of 8-bit numbers."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in ("tensor(float)", "tensor(uint8)"):
        found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
        raise UserError(
            f"takes {found or 'nothing'}; a detector takes one float or uint8 tensor N×3×H×W or N×H×W×3",
            file=file,
        )
    if 3 not in (shape[1], shape[3]) and all(isinstance(shape[side], int) for side in (1, 3)):
        raise UserError(f"takes input of shape {shape}, which does not have three channels", file=file)
    return inputs[0].name, list(shape), inputs[0].type == "tensor(uint8)"


def _are_channels_last(session: Any, shape: list[Any], request: Request) -> bool:
    """Whether a model takes N×H×W×3; tried where its shape does not say."""
    if 3 in (shape[1], shape[3]):
        return shape[3] == 3 and shape[1] != 3
    run, size = _Session(session), request.input_size or (64, 64)
    for is_last in (False, True):
        try:
            run(_example(shape, size, is_channels_last=is_last).numpy())
        except Exception:  # noqa: BLE001, S112  Every error of onnxruntime means that the order is wrong.
            continue
        return is_last
    return False


def _example(shape: list[Any], size: tuple[int, int], *, is_channels_last: bool) -> torch.Tensor:
    """Return random input that the model takes."""
    batch = shape[0] if isinstance(shape[0], int) else 2
    sides = (*size, 3) if is_channels_last else (3, *size)
    return torch.rand((batch, *sides), generator=torch.Generator().manual_seed(0))


class _Converted(NamedTuple):
    """A model in torch, or the reason for failure; ``before_sigmoid`` if the network ends before the model's sigmoid."""

    network: nn.Module | None
    reason: str = ""
    before_sigmoid: bool = False


def _converted(onnx: Any, model: Any, session: Any, example: torch.Tensor) -> _Converted:
    """Return the model as a torch network with the outputs of onnxruntime, or the reason for failure.

    Of a quantised model, the network is its twin. Roundings in another order move its outputs by whole steps, so they
    are not compared here; the trust check ``twin_differs`` does so on the images of a run.
    """
    quantised = is_quantised(model)
    onnx2torch = import_library("onnx2torch", extra="onnx", what="an ONNX detector with gradients")
    from robustbench_aigen.detectors.formats.onnx_converters import register_converters

    register_converters()
    logits = None
    try:
        source = twin_graph(onnx, model) if quantised else model
        if quantised and (logits := logits_before_sigmoid(source)) is not None:
            source = with_one_output(onnx, source, logits)
        network: nn.Module = onnx2torch.convert(source).eval()
        with torch.no_grad():
            ours = network(example)
    except Exception as error:  # noqa: BLE001  An unknown operator, or an operator that torch lacks; a notice reports it.
        return _Converted(None, f"onnx2torch cannot convert it ({first_line(error)})")
    ours = ours[0] if isinstance(ours, list | tuple) else ours
    theirs = torch.from_numpy(_Session(session)(example.numpy()))
    far = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
    if quantised and math.isfinite(far):
        return _Converted(network, before_sigmoid=logits is not None)
    if not far <= _EQUAL * max(1.0, float(theirs.abs().max())):
        return _Converted(None, f"the outputs of the torch conversion differ by {far:.2g} from onnxruntime")
    return _Converted(network)


def _hash(onnx: Any, file: Path) -> str:
    """Return the hash of a model and of the files that its weights are in."""
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf and the file system; each means the same here.
        raise UserError(f"cannot be read as ONNX: {first_line(error)}", file=file) from error
    places = {
        entry.value
        for tensor in tensors_of(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    missing = sorted(place for place in places if not (file.parent / place).is_file())
    if missing:
        raise UserError(f"the weights are in '{missing[0]}', which is missing beside the file", file=file)
    return files_hash([file, *(file.parent / place for place in places)]) if places else file_hash(file)
