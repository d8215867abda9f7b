"""Errors of a user's code inside attacks and probes, reported as errors of the user's code."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import is_installed
from robustbench_aigen.numerics.memory import is_out_of_memory


@contextmanager
def users_faults(what: str) -> Iterator[None]:
    """Turn exceptions of the user's code into :class:`UserError`; other exceptions and lack of memory pass unchanged.

    Raises
    ------
    UserError
        With the place in the user's code.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [
            frame
            for frame in frames
            if Path(frame.filename).is_file() and not is_installed(os.path.realpath(frame.filename))
        ]
        if is_out_of_memory(error) or not theirs:
            raise
        place = f"{theirs[-1].filename}:{theirs[-1].lineno}"
        raise UserError(f"{what} fails: {type(error).__name__}: {first_line(error)} ({place})") from error
