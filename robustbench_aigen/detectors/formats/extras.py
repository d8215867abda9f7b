"""Libraries that only some formats need: imported when first used, and named with their pip command when absent."""

import warnings
from importlib import import_module
from types import ModuleType

from robustbench_aigen.errors import UserError, first_line


def library(name: str, *, extra: str, what: str) -> ModuleType:
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
