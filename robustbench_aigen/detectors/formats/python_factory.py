"""Detectors that the user's own Python makes: ``python:package.module:factory``, ``python:path/to/file.py:factory``."""

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.guests import called_as_a_guest
from robustbench_aigen.detectors.identity import PYTHON as PREFIX
from robustbench_aigen.detectors.identity import file_hash, network_hash
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.imports import import_callable, importable, source_files, users_code

_FORM = "write python:package.module:factory or python:path/to/file.py:factory"


def load_python(request: Request) -> Loaded | Detector:
    """Call a factory.

    It takes no arguments and returns a module (or any callable) from normalised N×3×H×W tensors to one or two
    numbers for each image, or a whole :class:`~robustbench_aigen.detectors.contract.Detector`.

    Raises
    ------
    UserError
        If there is no such factory, or it returns nothing of the kind.
    """
    where, name = split_reference(request.place)
    before = set(sys.modules)
    what = f"'python:{request.place}'"
    with called_as_a_guest(what), users_code(what):
        factory = (
            _from_file(_file_of(request, where), name)
            if where.endswith(".py")
            else _from_module(where, name, request.folder)
        )
        # A factory may import modules beside its file when it is called.
        with importable(_file_of(request, where).parent if where.endswith(".py") else request.folder):
            network = factory()
    # What the factory imported while it ran is loaded by now; a second call in this process finds it loaded.
    while_running = _imported_by.setdefault(request.place, set())
    while_running |= sys.modules.keys() - before
    code = [file_hash(file) for file in source_files(factory, while_running)] or [request.place]
    if isinstance(network, Detector):
        network.adopt()
        network.architecture = f"{PREFIX}{request.place} ({network.architecture})"
        network.weights_sha256 = network_hash(network.network, *code, network.weights_sha256)
        return network
    if not isinstance(network, nn.Module):
        if isinstance(network, type):
            raise UserError(
                f"'python:{request.place}' returns the class {network.__name__}, not a torch module",
                hint=f"return {network.__name__}() from the factory, or name the class itself as the factory",
            )
        if not callable(network):
            raise UserError(
                f"'python:{request.place}' returns {type(network).__name__}, not a torch module",
                hint="a factory takes no arguments and returns a module from N×3×H×W to one or two numbers an image",
            )
        network = _Called(network)
    return Loaded(network, f"{PREFIX}{request.place}", network_hash(network, *code))


_imported_by: dict[str, set[str]] = {}
"""Names of the modules that a factory imported when it was called first in this process, by the factory."""


def factory_sources(request: Request) -> list[Path]:
    """Return the source files of a factory that was called before."""
    where, name = split_reference(request.place)
    module = _module_name(_file_of(request, where)) if where.endswith(".py") else where
    factory = getattr(sys.modules.get(module), name, None)
    return [] if factory is None else source_files(factory, _imported_by.get(request.place, ()))


def check_python(place: str, folder: Path) -> None:
    """Raise UserError where a reference is not of the right form or its file is not there. Nothing is imported."""
    where, _ = split_reference(place)
    if where.endswith(".py") and not (folder / where).expanduser().is_file():
        raise UserError(f"no file '{where}' of 'python:{place}'", hint=f"looked for {folder / where}")


def split_reference(place: str) -> tuple[str, str]:
    """Split what follows ``python:`` into module or file and name."""
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise UserError(f"'python:{place}' does not name a factory", hint=_FORM)
    return where, name


def _from_module(module: str, name: str, folder: Path) -> Callable[..., Any]:
    with importable(folder), importable(Path.cwd()):
        return import_callable(f"{module}:{name}")


def _file_of(request: Request, where: str) -> Path:
    return (request.folder / Path(where).expanduser()).resolve()


def _module_name(file: Path) -> str:
    """Return a name for a file's module: data classes and pickles look it up, and no other module may have it."""
    return f"{file.stem}_{sha256(os.fsencode(file)).hexdigest()[:12]}"


def _from_file(file: Path, name: str) -> Callable[..., Any]:
    if not file.is_file():
        raise UserError(f"no file '{file.name}'", hint=f"looked for {file}")
    unique = _module_name(file)
    spec = spec_from_file_location(unique, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[unique] = module
    with importable(file.parent):
        spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        choices = [key for key, value in vars(module).items() if callable(value)]
        raise UserError(f"'{file.name}' has no function '{name}'", hint=did_you_mean(name, choices))
    factory: Callable[..., Any] = found
    return factory


class _Called(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(images)
