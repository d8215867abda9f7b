"""Imports by name: functions named in recipes, and optional libraries."""

import inspect
import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from robustbench_aigen.errors import UserError, first_line


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make the modules of a folder importable, like modules beside a script."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn exceptions of a user's code into :class:`UserError` with the file and line.

    Raises
    ------
    UserError
        Also where the code wants to leave the program.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} {_failure(error)}") from error


def _failure(error: BaseException) -> str:
    """Return the type, message and place of an error."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
    return f"fails: {type(error).__name__}: {first_line(error)} ({place})"


def source_files(function: Callable[..., Any], also: Iterable[str] = ()) -> list[Path]:
    """Return the files that decide what a function computes.

    Its own, every module loaded from beside it, and every module outside installed packages that these import from
    any place. Beside it is its package, or the folder of a module that is in none; what is installed there is left out.

    Parameters
    ----------
    function
        A function or class.
    also
        Names of modules that it imports while it runs.
    """
    unwrapped = inspect.unwrap(function)
    source = inspect.getsourcefile(unwrapped)
    if source is None:
        return []
    own = Path(source).resolve()
    names = [unwrapped.__module__, *also]
    if all(name.startswith(_PREFIX) for name in names) and is_installed(str(own)):
        # What a function of this package computes with is hashed with its folder.
        return [own]
    package = sys.modules.get(unwrapped.__module__.partition(".")[0])
    folders = [str(Path(place).resolve()) for place in getattr(package, "__path__", [own.parent])]
    files = {own}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        # Some of torch's modules name a file that is nowhere.
        place = _place(file) if isinstance(file, str) and file.endswith(".py") else None
        if place is not None:
            if module.__name__ == "__main__":
                continue
            if any(place.startswith(folder + os.sep) for folder in folders) and not _NOT_THE_USERS(place):
                files.add(Path(place))
    return sorted(
        files | _imported(own, [sys.modules.get(unwrapped.__module__), *map(sys.modules.get, also)])
    )


@cache
def _place(file: str) -> str | None:
    """Return the resolved path of a file; cached, because every function of a pipeline needs thousands of modules."""
    return os.path.realpath(file) if Path(file).is_absolute() else None


def _imported(own: Path, modules: Iterable[ModuleType | None]) -> set[Path]:
    """Return the files of some modules and of those that they have imported, without installed modules."""
    waiting, seen, files = [module for module in modules if module is not None], set[str](), set[Path]()
    while waiting:
        module = waiting.pop()
        file = getattr(module, "__file__", None)
        if module.__name__ in seen or not isinstance(file, str) or not Path(file).is_file():
            continue
        seen.add(module.__name__)
        place = os.path.realpath(file)
        if is_installed(place) or (module.__name__ == "__main__" and Path(place) != own):
            continue
        files.add(Path(place))
        for value in list(vars(module).values()):
            owner = (
                value
                if isinstance(value, ModuleType)
                else sys.modules.get(getattr(value, "__module__", None) or "")
            )
            if owner is not None:
                waiting.append(owner)
    return files


_PREFIX = f"{__package__}."
"""Prefix of the names of this package's modules."""
_STANDARD = tuple(os.path.realpath(sysconfig.get_paths()[name]) + os.sep for name in ("stdlib", "platstdlib"))


def is_installed(place: str) -> bool:
    """Whether a file, links followed, belongs to Python, to an installed package or to this package."""
    return place.startswith(_STANDARD) or bool(_NOT_THE_USERS(place))


_NOT_THE_USERS = re.compile(
    f"site-packages|dist-packages|^{re.escape(str(Path(__file__).resolve().parent))}"
).search


def import_callable(reference: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` names, a function or a class.

    Raises
    ------
    UserError
        If the reference is not of that form, its module fails, or it names nothing that can be called.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise UserError(f"'{reference}' is not of the form package.module:name")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise UserError(f"cannot import '{module_name}' of '{reference}': {error}") from error
    except Exception as error:
        raise UserError(f"'{module_name}' of '{reference}' {_failure(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"module '{module_name}' has no '{name}'")
    if not callable(found):
        raise UserError(f"'{reference}' is not a Python function")
    function: Callable[..., Any] = found
    return function


def import_function(reference: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` names, a function written in Python.

    Raises
    ------
    UserError
        As :func:`import_callable` does, and if it was not written in Python.
    """
    found = import_callable(reference)
    # Its source is part of the identity of what it computes.
    if not hasattr(found, "__code__"):
        raise UserError(f"'{reference}' is not a Python function")
    return found


def import_library(name: str, *, extra: str, what: str) -> ModuleType:
    """Import a library.

    Parameters
    ----------
    name
        The module.
    extra
        The extra of this package that installs it.
    what
        The feature that needs the module, for the message.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        # They announce to their own developers what they will change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what} needs {name.partition('.')[0]}, which cannot be imported: {first_line(error)}",
            hint=f"pip install 'robustbench-aigen[{extra}]'",
        ) from error
