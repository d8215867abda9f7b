"""Objects named as ``package.module:name`` in recipes and scenarios."""

from importlib import import_module
from typing import Any

from robustbench_aigen.errors import UserError


def import_object(reference: str) -> Any:
    """Import what ``package.module:name`` names.

    Raises
    ------
    UserError
        If the reference is not of that form, or there is no such module or name.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise UserError(f"'{reference}' is not of the form package.module:name")
    try:
        return getattr(import_module(module_name), name)
    except ImportError as error:
        raise UserError(f"cannot import '{module_name}' of '{reference}': {error}") from error
    except AttributeError:
        raise UserError(f"module '{module_name}' has no '{name}'") from None
