"""Reads the weights in a file, without running what else may be in it."""

import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy._core.multiarray import scalar
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from robustbench_aigen.detectors.archives import (
    beginning,
    check_unpacked_size,
    is_safetensors,
    is_zip,
)
from robustbench_aigen.errors import UserError, first_line

Weights = Mapping[str, Tensor]
_INNER = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
"""Under which keys training scripts keep the weights."""
_COPIES = (
    "ema", "teacher", "shadow", "swa", "averag", "momentum", "target", "best", "old", "init", "backup", "callback",
)  # fmt: skip
"""Parts of the names of copies of the weights that are being trained."""
_NO_WEIGHTS = ("optim", "sched", "scaler", "amp", "rng", "loops", "grad")
"""Parts of the names of what training scripts keep beside weights and what holds tensors, too."""
_SAVE = "save it with torch.save(model.state_dict(), FILE)"


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
"""Harmless types that training scripts store beside weights: hyperparameters, paths and numbers."""


class WeightSet(NamedTuple):
    """Weights of one network in a file.

    Parameters
    ----------
    key
        Place of the weights in the file, keys joined by dots; empty for the file itself.
    weights
        Tensors by their names.
    module
        The whole network, where the file holds it.
    quantised
        Whether some of them were stored quantised.
    """

    key: str
    weights: Weights
    module: nn.Module | None = None
    quantised: bool = False


def read_weight_sets(file: Path, need_trust: Callable[[str, str], None]) -> list[WeightSet]:
    """Read every set of weights in a file without running code in it.

    Parameters
    ----------
    file
        safetensors, what ``torch.save`` wrote, or numpy's ``.npz``.
    need_trust
        Called with what the file is and what to do instead before code in it would run; it raises to refuse.

    Returns
    -------
    list of WeightSet
        The weights being trained before copies of them (EMA, teacher, …); at least one set.

    Raises
    ------
    UserError
        If it is damaged, holds no weights, or can run code and is not trusted.
    """
    loaded = _read(file, need_trust)
    # Of equally ordinary names the one that comes first in the file.
    found = sorted(_weight_sets(loaded, ""), key=lambda each: _rank(each.key))
    if found:
        return found
    keys = ", ".join(str(key) for key in list(loaded)[:5]) if isinstance(loaded, Mapping) else ""
    raise UserError(f"holds no state dict{f' (it has {keys})' if keys else ''}", file=file, hint=_SAVE)


def read_weights(file: Path, need_trust: Callable[[str, str], None]) -> Weights | nn.Module:
    """Read the weights being trained in a file, as :func:`read_weight_sets` does; a whole network where it holds one."""
    first = read_weight_sets(file, need_trust)[0]
    return first.module if first.module is not None and not first.key else first.weights


def copy_words(name: str) -> int:
    """Return the number of words that mark weights as a copy: an average, a teacher, an earlier state.

    >>> copy_words("module.model"), copy_words("teacher.backbone"), copy_words("best_ema")
    (0, 1, 2)
    """
    return sum(part in name.lower() for part in _COPIES)


def _rank(key: str) -> tuple[int, int]:
    last = key.rpartition(".")[2].lower()
    usual = _INNER.index(last) + 1 if last in _INNER else len(_INNER) + 1
    return copy_words(key), 0 if not key else usual


def _read(file: Path, need_trust: Callable[[str, str], None]) -> object:
    is_of_torch = beginning(file, 1) in (b"P", b"\x80")
    if is_safetensors(file) or (file.suffix.lower() == ".safetensors" and not is_of_torch):
        try:
            return load_safetensors(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"not a safetensors file: {first_line(error)}", file=file) from error
    if is_zip(file):
        names = check_unpacked_size(file)
        if names and all(name.endswith(".npy") for name in names):
            return _read_npz(file)
    hint = f"{_SAVE} or as safetensors"
    try:
        # An open file: torch goes by its content then, not by its name.
        with (
            torch.serialization.safe_globals([*_INERT]),
            warnings.catch_warnings(),
            file.open("rb") as stream,
        ):
            warnings.simplefilter("ignore")  # torch warns of its own limits; what it cannot read is an error.
            return torch.load(stream, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not _holds_objects(error):
            # What torch says of weights_only does not help here, because torch did not write the file.
            raise UserError(
                "cannot be read as a state dict: not a file of torch.save, or damaged",
                file=file,
                hint=hint,
            ) from error
        need_trust("a pickle of more than weights", hint)
        return _read_pickle(file)
    except Exception as error:  # torch.load raises zip, OS and its own errors; each means the same here.
        raise UserError(
            f"cannot be read as a state dict: {first_line(error)}", file=file, hint=hint
        ) from error


def _read_npz(file: Path) -> dict[str, Tensor]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except Exception as error:  # Errors of numpy, zip, zlib and Python's tokenizer; each means the same here.
        raise UserError(f"cannot be read as arrays of numpy: {first_line(error)}", file=file) from error


def _holds_objects(error: UnpicklingError) -> bool:
    """Whether weights-only loading met an object, rather than garbage."""
    text = str(error)
    return "GLOBAL" in text or "allowlisted" in text or "unrecognized function" in text


def _read_pickle(file: Path) -> object:
    try:
        with file.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=False)
    except Exception as error:  # It runs what is inside, which may raise anything.
        raise UserError(f"cannot be unpickled: {first_line(error)}", file=file) from error


_DEEPEST, _LONGEST = 4, 16
"""Largest depth of weights in a checkpoint, and largest length of searched lists."""


def _weight_sets(value: object, key: str, depth: int = 0) -> Iterator[WeightSet]:
    """Yield the sets of weights in what a training script saved, in the order of the file."""
    if isinstance(value, nn.Module):
        network = _unwrapped(value)
        yield WeightSet(key, _named(network.state_dict()), network)
        return
    if isinstance(value, list | tuple) and len(value) <= _LONGEST:
        value = dict(enumerate(value))
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    named = _named({name: each for name, each in value.items() if isinstance(name, str)})
    # A single number, for example a best accuracy, is not a weight; most entries of a state dict are tensors.
    if any(tensor.dim() for tensor in named.values()) and len(named) >= len(value) / 2:
        yield WeightSet(key, named, quantised=any(map(_is_quantised, value.values())))
    for name, inner in value.items():
        if not any(part in str(name).lower() for part in _NO_WEIGHTS):
            yield from _weight_sets(inner, f"{key}.{name}" if key else str(name), depth + 1)


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the network inside data parallelism, ``torch.compile`` and weight averaging."""
    while type(module).__name__ in (
        "DataParallel", "DistributedDataParallel", "AveragedModel", "OptimizedModule", "FullyShardedDataParallel",
    ):  # fmt: skip
        inner = getattr(module, "_orig_mod", None)
        module = cast(nn.Module, module.module if inner is None else inner)
    return module


_PACKED = "._packed_params._packed_params"
"""Under which name a quantised linear layer keeps its weight and bias."""


def _named(entries: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the tensors among named entries as dense ones; quantised layers are taken apart."""
    named: dict[str, Tensor] = {}
    for name, value in entries.items():
        if isinstance(value, Tensor):
            named[name] = _dense(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            named[name] = torch.from_numpy(value)
        elif name.endswith(_PACKED) and isinstance(value, tuple) and isinstance(value[0], Tensor):
            place = name.removesuffix(_PACKED)
            named[f"{place}.weight"] = _dense(value[0])
            if isinstance(value[1], Tensor):
                named[f"{place}.bias"] = _dense(value[1])
    packed = [name.removesuffix(_PACKED) for name in entries if name.endswith(_PACKED)]
    for place in packed:
        named.pop(f"{place}.scale", None)
        named.pop(f"{place}.zero_point", None)
    return named


def _is_quantised(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_quantised, value))
    return isinstance(value, Tensor) and value.is_quantized


def _dense(tensor: Tensor) -> Tensor:
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()
