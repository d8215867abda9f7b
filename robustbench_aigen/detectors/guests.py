"""Other people's code, called so that it leaves the program as it was."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

import torch

from robustbench_aigen.errors import UserError


@contextmanager
def called_as_a_guest(what: str) -> Iterator[None]:
    """Undo what code sets for the whole process, and keep what it prints out of the output.

    That is torch's default dtype, its default device and whether gradients are computed.

    Raises
    ------
    UserError
        Where the code wants to leave the program.
    """
    dtype, device, has_gradients = (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
    )
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        raise UserError(
            f"{what} calls sys.exit({error.code!r})",
            hint="raise an exception in its code, or return an answer",
        ) from error
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if torch.is_grad_enabled() != has_gradients:
            torch.set_grad_enabled(has_gradients)


@contextmanager
def in_the_same_folder() -> Iterator[None]:
    """Come back to the working folder: results are written relative to it."""
    folder = None
    with suppress(OSError):  # It may have been deleted.
        folder = os.getcwd()  # noqa: PTH109  A text, as chdir takes it.
    try:
        yield
    finally:
        if folder is not None:
            os.chdir(folder)
