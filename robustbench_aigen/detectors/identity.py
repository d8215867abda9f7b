"""Hashes of what detectors are loaded from."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib.metadata import packages_distributions, version
from inspect import getsourcefile, unwrap
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.remembering import forget
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.imports import is_installed, source_files
from robustbench_aigen.numerics.seeding import changed_generators, global_states, preserved_global_rng

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector


def file_hash(file: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return sha256_of_file(file)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error


def files_hash(files: Iterable[Path]) -> str:
    """Return one sha256 of several files, by their names and contents, in the order of their names."""
    digest = sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def _values(packed: object) -> object:
    """Return the identity of packed weights, with all their values."""
    if isinstance(packed, Tensor):
        numbers = packed.dequantize() if packed.is_quantized else packed
        return sha256(
            numbers.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    if isinstance(packed, list | tuple):
        return [_values(each) for each in packed]
    return packed


def network_hash(network: nn.Module, *sources: str) -> str:
    """Return the sha256 of some source code and of all weights and buffers of a network."""
    digest = sha256()
    for source in sources:
        digest.update(source.encode() + b"\0")
    for name, tensor in sorted(network.state_dict().items()):
        if is_lazy(tensor):
            raise UserError(
                f"the weights {name} of the network have no shape yet (a lazy module)",
                hint="call the network once, and load its weights after that",
            )
        if not isinstance(tensor, Tensor):
            # Packed weights of quantised layers.
            digest.update(f"{name} {_values(tensor)!r}".encode())
            continue
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


PYTHON = "python:"
"""Prefixes of the architectures of detectors from functions of the user."""


def identity_of(detector: "Detector") -> list[Any]:
    """Return everything that decides the outputs of a detector, as plain values; the name is left out.

    Of a detector that was loaded: the hash of its weights, its preprocessing, its architecture, what else it is made
    of, and versions of libraries. Of a user's module: the hash of its state, of the source files of its classes
    outside installed packages, versions of those packages, its preprocessing and its answers to four images. Where
    code has no source file (in a notebook), a token of this process is among them, or else the user's ``version``.
    """
    from robustbench_aigen.detectors.ensembles import (
        Ensemble,
    )  # Ensembles are detectors, which know this module.

    if isinstance(detector, Ensemble):
        # A factory may have made the whole of it, of files of its own.
        members = [identity_of(member) for member in detector.members]
        return [detector.rule, detector.weights_sha256, list(detector.made_of), *members]
    identity: list[Any] = [detector.weights_sha256, asdict(detector.preprocessing)]
    # A network of the package, or a file of the user's whose format decides what it is.
    identity += [detector.architecture, list(detector.made_of)]
    identity += [f"{name}={version(name)}" for name in detector.libraries]
    if detector.borrows:
        identity += [code_of(_kinds(detector), detector.version), _answers_somewhere(detector)]
    return identity


def digest_of(detector: "Detector") -> str:
    """Return the sha256 of :func:`identity_of`, of the weights and the code that the detector has now."""
    forget(detector)
    return sha256(json.dumps(identity_of(detector), sort_keys=True).encode()).hexdigest()


@torch.no_grad()
def answers_of(detector: "Detector") -> str:
    """Return a detector's outputs on its probes, to three digits, so that the order of sums has no effect."""
    return " ".join(f"{value:.2e}" for value in detector(detector.probes()).flatten().tolist())


_SIDES = (64, 224, 32, 28, 299, 256, 384, 512)
"""Image sizes that are tried on a detector without an input size."""


def _answers_somewhere(detector: "Detector") -> str:
    """Return the answers of a user's module to its probes, which do not depend on what it was shown before.

    Empty where it answers on no size, or draws random numbers.
    """
    sizes = [None] if detector.preprocessing.input_size else [(side, side) for side in _SIDES]
    with borrowed(detector), preserved_global_rng():
        for size in sizes:
            before = global_states()
            try:
                answers = answers_of(detector if size is None else detector.read_as(input_size=size))
            except Exception:  # noqa: BLE001, S112  Any reason is one against this size.
                continue
            return "" if changed_generators(before) else answers
    return ""


def code_of(kinds: Iterable[Any], own_word: str = "") -> list[str]:
    """Return the identity of the code of some classes and functions: hashes of files, versions of packages, tokens.

    Parameters
    ----------
    kinds
        Classes and functions.
    own_word
        The user's version of code without a source file; replaces the tokens of this process.
    """
    files, packages, tokens = set[Path](), set[str](), set[str]()
    for kind in kinds:
        root = (getattr(kind, "__module__", None) or "").partition(".")[0]
        place = _source_of(kind)
        if place is None:
            tokens.add(_token(kind))
        elif not is_installed(str(place)):
            files.update([place, *source_files(kind)] if isinstance(kind, type) else [place])
        elif root != __name__.partition(".")[0]:
            packages.add(root)
    known = _distributions()
    versions = {f"{name}={version(name)}" for root in packages for name in known.get(root, ())}
    said = [f"version={own_word}"] if own_word else sorted(tokens)
    return [files_hash(sorted(files)), *sorted(versions), *said]


def _kinds(detector: "Detector") -> Iterator[Any]:
    """Yield the classes of a network's modules, and the functions that were put in their places."""
    seen: set[int] = set()
    for network in detector.networks():
        for module in network.modules():
            hooks = (module._forward_hooks, module._forward_pre_hooks)  # noqa: SLF001  torch lists them nowhere else.
            own = [*vars(module).values(), *(hook for held in hooks for hook in held.values())]
            for kind in type(module).__mro__:
                if kind.__module__.partition(".")[0] in ("torch", "builtins"):
                    continue
                # Methods show where a class of a notebook is from, and which were replaced.
                own += [kind, *vars(kind).values()]
            for thing in own:
                plain = unwrap(getattr(thing, "__func__", thing)) if callable(thing) else thing
                if isinstance(plain, type | FunctionType) and id(plain) not in seen:
                    seen.add(id(plain))
                    yield plain


def _source_of(kind: Any) -> Path | None:
    """Return the file that a class or a function was read from; None where there is no such file any more."""
    try:
        file = kind.__code__.co_filename if isinstance(kind, FunctionType) else getsourcefile(kind)
    except (TypeError, OSError):
        return None
    place = None if file is None else Path(file)
    return place.resolve() if place is not None and place.is_file() else None


PROCESS = token_hex(16)
"""A token for values that are valid only in this process."""
_NUMBERS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_COUNTER = count()


def _token(kind: Any) -> str:
    """Return a token that no other process, and no other class or function of this process, has."""
    if kind not in _NUMBERS:
        _NUMBERS[kind] = next(_COUNTER)
    return f"{PROCESS}-{_NUMBERS[kind]}"


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()
