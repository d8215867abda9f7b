"""Functions named as ``package.module:name`` in recipes."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from robustbench_aigen.errors import UserError


def import_function(reference: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` names.

    Raises
    ------
    UserError
        If the reference is not of that form, or names nothing that was written in Python and can be called.
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
    # Its source is part of the identity of what it computes.
    if not callable(found) or not hasattr(found, "__code__"):
        raise UserError(f"'{reference}' is no Python function")
    function: Callable[..., Any] = found
    return function


def require_extra(package: str, extra: str) -> None:
    """Raise UserError where a package of one of the project's extras is not installed."""
    if find_spec(package) is None:
        raise UserError(
            f"this needs the package '{package}'", hint=f'pip install "robustbench-aigen[{extra}]"'
        )
