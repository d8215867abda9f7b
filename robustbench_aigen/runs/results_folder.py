"""The folder of a new run below a results folder, and the link to the newest run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from robustbench_aigen.files import PARTIAL, remove_leftovers, writing


@contextmanager
def run_folder(parent: Path) -> Iterator[tuple[str, Path]]:
    """Yield a run id (the UTC time) and a folder to fill, which becomes ``parent/<run id>`` when the block ends.

    ``parent/latest`` then points at it. After an error nothing of it is left. Runs that end at the same time get
    ids of their own.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with writing(f"the run into '{parent}'"):
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parent)
        run_id, partial = _reserve(parent)
        try:
            yield run_id, partial
            partial.rename(parent / run_id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        latest, link = parent / "latest", parent / f"{PARTIAL}latest-{run_id}"
        if latest.is_dir() and not latest.is_symlink():
            # A copy of a results folder may hold a folder where there was a link.
            latest.rename(parent / f"latest-until-{run_id}")
        try:
            link.symlink_to(run_id, target_is_directory=True)
            link.replace(latest)
        finally:
            link.unlink(missing_ok=True)


def _reserve(parent: Path) -> tuple[str, Path]:
    """Make the folder of a run in progress, under a unique id."""
    stem = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        run_id = stem if number == 1 else f"{stem}-{number}"
        partial = parent / f"{PARTIAL}{run_id}"
        try:
            partial.mkdir()
        except FileExistsError:
            continue
        # The earlier owner of the id has renamed its folder by now, or the folder would still exist.
        if not (parent / run_id).exists():
            return run_id, partial
        partial.rmdir()
    raise AssertionError("count does not end")
