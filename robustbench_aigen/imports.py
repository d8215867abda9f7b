"""What is imported by name: functions that recipes name, and libraries that only some users have."""

import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from robustbench_aigen.errors import UserError, first_line


def import_callable(reference: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` names, a function or a class.

    Raises
    ------
    UserError
        If the reference is not of that form, or names nothing that can be called.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise UserError(f"'{reference}' is not of the form package.module:name")
    try:
        found = getattr(import_module(module_name), name)
    except ImportError as error:
        raise UserError(f"cannot import '{module_name}' of '{reference}': {error}") from error
    except AttributeError:
        raise UserError(f"module '{module_name}' has no '{name}'") from None
    if not callable(found):
        raise UserError(f"'{reference}' is no Python function")
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
        raise UserError(f"'{reference}' is no Python function")
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
        What needs it, for the message.

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
