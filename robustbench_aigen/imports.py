"""Functions named as ``package.module:name`` in recipes."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from robustbench_aigen.errors import UserError


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
