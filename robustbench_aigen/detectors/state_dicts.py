"""Reads the weights in a file, without running what else may be in it."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from robustbench_aigen.errors import UserError, first_line

Weights = Mapping[str, Tensor]
_INNER = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
"""Under which keys training scripts keep the weights."""


class _Settings(dict[str, object]):
    """Stands for the mapping classes of hyperparameters."""


_INERT: list[tuple[Callable[..., Any], str]] = [
    (_Settings, "lightning.fabric.utilities.data.AttributeDict"),
    (_Settings, "lightning_fabric.utilities.data.AttributeDict"),
    (_Settings, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (Namespace, "argparse.Namespace"),
    (PurePosixPath, "pathlib.PosixPath"),
    (PurePosixPath, "pathlib._local.PosixPath"),
    (np.dtype, "numpy.dtype"),
    *(
        (type(np.dtype(name)), f"numpy.dtypes.{type(np.dtype(name)).__name__}")
        for name in ("f8", "f4", "i8", "i4", "?")
    ),
    *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What training scripts store beside weights and what runs nothing: hyperparameters, paths and numbers."""


def read_weights(file: Path, need_trust: Callable[[str, str], None]) -> Weights | nn.Module:
    """Read a file of weights without running code in it.

    Parameters
    ----------
    file
        safetensors, or what ``torch.save`` wrote.
    need_trust
        Called with what the file is and what to do instead before code in it would run; it raises to refuse.

    Returns
    -------
    Weights or nn.Module
        The weights; the whole network where the file holds one and the user trusts it.

    Raises
    ------
    UserError
        If it is damaged, holds no weights, or can run code and is not trusted.
    """
    if file.suffix == ".safetensors":
        try:
            return load_safetensors(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"not a safetensors file: {first_line(error)}", file=file) from error
    hint = "save it with torch.save(model.state_dict(), FILE) or as safetensors"
    try:
        with torch.serialization.safe_globals([*_INERT]):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not _holds_objects(error):
            raise UserError(
                f"cannot be read as a state dict: {first_line(error)}", file=file, hint=hint
            ) from error
        need_trust("a pickle of more than weights", hint)
        loaded = _read_pickle(file)
    except Exception as error:  # torch.load raises zip, OS and its own errors; each means the same here.
        raise UserError(
            f"cannot be read as a state dict: {first_line(error)}", file=file, hint=hint
        ) from error
    if isinstance(loaded, nn.Module):
        return loaded
    return _weights_in(loaded, file)


def _holds_objects(error: UnpicklingError) -> bool:
    """Whether weights-only loading met an object, rather than garbage."""
    text = str(error)
    return "GLOBAL" in text or "allowlisted" in text or "unrecognized function" in text


def _read_pickle(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # It runs what is inside, which may raise anything.
        raise UserError(f"cannot be unpickled: {first_line(error)}", file=file) from error


def _weights_in(loaded: object, file: Path) -> Weights:
    """Return the weights in what a training script saved."""
    if isinstance(loaded, Mapping):
        for key in _INNER:
            inner = loaded.get(key)
            if isinstance(inner, nn.Module):
                inner = inner.state_dict()
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
                loaded = inner
                break
        weights = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
        if weights and len(weights) >= len(loaded) / 2:
            return weights
    keys = ", ".join(str(key) for key in list(loaded)[:5]) if isinstance(loaded, Mapping) else ""
    raise UserError(
        f"holds no state dict{f' (it has {keys})' if keys else ''}",
        file=file,
        hint="save it with torch.save(model.state_dict(), FILE)",
    )
