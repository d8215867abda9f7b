"""Programs of ``torch.export`` (``.pt2``) and of TorchScript."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from robustbench_aigen.detectors.archives import check_unpacked_size, is_zip
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import PaddedBatch
from robustbench_aigen.detectors.identity import file_hash
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.text import counted

_INSTEAD = "save its weights as safetensors and name their arch"


@contextmanager
def _one_line_is_enough() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that it raises as well."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def load_exported(request: Request) -> Loaded:
    """Load an exported program.

    Its weights and constants are read with ``weights_only=False``: a crafted archive runs code.

    Raises
    ------
    UserError
        If the user does not trust it, or it is damaged.
    """
    request.need_trust("an archive of torch.export", _INSTEAD)
    if is_zip(request.path):
        check_unpacked_size(request.path)
    try:
        with _one_line_is_enough():
            program = torch.export.load(request.path)
        if request.device.type != "cpu":
            program = move_to_device_pass(program, request.device)
        network = _plain_module(program)
    except Exception as error:  # It runs what is inside, which may raise anything.
        raise _damaged("an exported program", request.path, error) from error
    batch, size = _input_shape(program, request)
    wrapped = network if batch is None else PaddedBatch(network, *batch)
    metadata = {} if size is None else {"input_size": size}
    return Loaded(wrapped, "torch.export", file_hash(request.path), metadata)


def load_torchscript(request: Request) -> Loaded:
    """Load a TorchScript module.

    Its code is not Python, but has operators that read and write files.

    Raises
    ------
    UserError
        If the user does not trust it, or it is damaged.
    """
    request.need_trust("a TorchScript program", _INSTEAD)
    check_unpacked_size(request.path)
    try:
        with warnings.catch_warnings():
            # The deprecation of TorchScript does not help users of such a file.
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(request.path, map_location=request.device)
    except Exception as error:  # As above.
        raise _damaged("a TorchScript program", request.path, error) from error
    return Loaded(network, "TorchScript", file_hash(request.path))


def _damaged(what: str, file: Path, error: Exception) -> UserError:
    return UserError(f"cannot be read as {what}: {first_line(error)}", file=file)


def _plain_module(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the program as a module whose mode can be set: what it was exported in is what it computes."""
    network = program.module()
    for name in ("train", "eval"):
        setattr(network, name, MethodType(getattr(nn.Module, name), network))
    return network


def _input_shape(
    program: torch.export.ExportedProgram, request: Request
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the batch sizes that a program takes, where it does not take all, and its height and width."""
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise UserError(
            f"the program has {counted(len(inputs), 'input')}; a detector has one", file=request.path
        )
    (node,) = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == inputs[0]]
    shape: Any = node.meta["val"].shape
    if len(shape) != 4 or shape[1] != 3:
        raise UserError(
            f"the program takes input of shape {tuple(shape)}; a detector takes N×3×H×W", file=request.path
        )
    size = (shape[2], shape[3]) if all(isinstance(side, int) for side in shape[2:]) else None
    if isinstance(shape[0], int):
        return (shape[0], shape[0]), size
    allowed = program.range_constraints.get(shape[0].node.expr)
    if allowed is None:
        return None, size
    smallest, largest = max(int(allowed.lower), 1), min(allowed.upper, 2**20)
    return (smallest, int(largest)), size
