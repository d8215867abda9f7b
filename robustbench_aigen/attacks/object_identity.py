"""The identity of an object in memory: its values, and the code that computes with them."""

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.identity import PROCESS, code_of, files_hash, network_hash
from robustbench_aigen.imports import is_installed, source_files

_PLAIN = (
    str,
    int,
    float,
    complex,
    type(None),
    type(Ellipsis),
    torch.dtype,
    torch.device,
    np.dtype,
    np.generic,
)


def object_identity(thing: object) -> str:
    """Return the sha256 of an object: its attributes, values and weights, and the source files of its classes and functions.

    The values of a function are its defaults, its closure, and the global names that it uses. Where code has no source
    file (in a notebook), the identity is valid only in this process. The same holds for an object that cannot be read,
    for example a random generator.
    """
    walk = _Walk()
    values = walk.plain(thing)
    code = [files_hash(walk.files), *code_of(walk.code)]
    return sha256(json.dumps([values, code]).encode()).hexdigest()


class _Walk:
    """Visits an object once; ``code`` are the classes and functions that it uses, ``files`` the files they import."""

    def __init__(self) -> None:
        self.code: list[Any] = []
        self.files: set[Path] = set()
        self._seen: dict[int, int] = {}
        self._alive: list[object] = []

    def plain(self, thing: Any) -> Any:
        """Return plain values that represent an object."""
        if isinstance(thing, _PLAIN):
            return [type(thing).__name__, repr(thing)]
        if isinstance(thing, bytes):
            return ["bytes", sha256(thing).hexdigest()]
        if isinstance(thing, PathLike):
            return ["path", fspath(thing)]
        if isinstance(thing, ModuleType):
            return ["module", thing.__name__]
        if id(thing) in self._seen:
            return ["again", self._seen[id(thing)]]
        self._seen[id(thing)] = len(self._seen)
        # Temporary objects keep their addresses until the walk ends.
        self._alive.append(thing)
        return [type(thing).__qualname__, self._code(thing) if _is_code(thing) else self._value(thing)]

    def _value(self, thing: Any) -> Any:
        if isinstance(thing, nn.Module):
            for module in thing.modules():
                self._note(type(module))
            return thing.identity() if isinstance(thing, Detector) else network_hash(thing)
        if isinstance(thing, Tensor | np.ndarray):
            thing = thing.detach().cpu().numpy() if isinstance(thing, Tensor) else thing
            return [str(thing.dtype), thing.shape, sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()]
        if isinstance(thing, Mapping):
            return [[self.plain(key), self.plain(value)] for key, value in thing.items()]
        if isinstance(thing, list | tuple):
            return [self.plain(value) for value in thing]
        if isinstance(thing, set | frozenset):
            return sorted(json.dumps(self.plain(value)) for value in thing)
        return self._object(thing)

    def _code(self, thing: Any) -> Any:
        if isinstance(thing, partial):
            return [self.plain(thing.func), self.plain(thing.args), self.plain(thing.keywords)]
        if isinstance(thing, MethodType):
            return [self.plain(thing.__self__), self.plain(thing.__func__)]
        if isinstance(thing, FunctionType):
            return self._function(thing)
        if isinstance(thing, type):
            self._note(thing)
        return f"{thing.__module__}.{thing.__qualname__}"

    def _function(self, function: FunctionType) -> Any:
        self._note(function)
        name, file = f"{function.__module__}.{function.__qualname__}", Path(function.__code__.co_filename)
        if is_installed(os.path.realpath(file)):
            return name
        if file.is_file() and function.__module__ in sys.modules:
            self.files.update(source_files(function))
        used = sorted(_names(function.__code__) & function.__globals__.keys())
        inside = [each.cell_contents for each in function.__closure__ or () if _is_filled(each)]
        return [
            name,
            function.__code__.co_code.hex(),
            self.plain((function.__defaults__, function.__kwdefaults__, inside)),
            [[each, self.plain(function.__globals__[each])] for each in used],
        ]

    def _note(self, kind: Any) -> None:
        # Every key contains the versions of these packages.
        if (kind.__module__ or "").partition(".")[0] not in ("builtins", "torch", "numpy"):
            self.code.append(kind)

    def _object(self, thing: Any) -> Any:
        self._note(type(thing))
        try:
            slots = {
                name: getattr(thing, name)
                for kind in type(thing).__mro__
                for name in getattr(kind, "__slots__", ())
                if name not in ("__dict__", "__weakref__") and hasattr(thing, name)
            }
            held = {**slots, **getattr(thing, "__dict__", {})}
            known = bool(held) or hasattr(thing, "__dict__")
        except Exception:  # noqa: BLE001  Proxies raise any error, such as the `request` of Flask outside a request.
            known = False
        return self.plain(held) if known else f"{PROCESS}-{id(thing)}"


def _is_code(thing: object) -> bool:
    return isinstance(thing, partial | MethodType | FunctionType | BuiltinFunctionType | type)


def _names(code: CodeType) -> set[str]:
    """Return the global names that some code uses, including the code of its inner functions."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
