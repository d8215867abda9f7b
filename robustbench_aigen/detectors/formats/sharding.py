"""Weights in several files: ``model-00001-of-00003.safetensors`` with ``model.safetensors.index.json``."""

import json
import re
from pathlib import Path

from robustbench_aigen.detectors.archives import LARGEST_TEXT
from robustbench_aigen.errors import UserError, first_line, printable, shortened
from robustbench_aigen.files import is_regular, stays_inside

INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{2,})-of-(?P<count>\d{2,})(?P<suffix>\.[A-Za-z]+)")


def shards_of(file: Path) -> list[Path]:
    """Return all files of the weights that one file is a part or the index of; the file alone where it is neither.

    Raises
    ------
    UserError
        If the index is damaged or a shard is missing.
    """
    if file.name.endswith(INDEX):
        return _there(file, [file.parent / name for name in _names_in(file)])
    shard = _SHARD.fullmatch(file.name)
    if shard is None:
        return [file]
    digits, count = len(shard["number"]), int(shard["count"])
    names = [
        f"{shard['stem']}-{number:0{digits}}-of-{shard['count']}{shard['suffix']}" for number in range(1, count + 1)
    ]  # fmt: skip
    if count > _MOST or file.name not in names:
        # Counted from 0, or not a shard at all.
        return [file]
    return _there(file, [file.with_name(name) for name in names])


_MOST = 10_000


def _names_in(index: Path) -> list[str]:
    try:
        if index.stat().st_size > LARGEST_TEXT:
            raise UserError("is too large for an index of weights", file=index)
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        found = sorted({str(name) for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"is not an index of weights: {first_line(error)}", file=index) from error
    outside = next((name for name in found if not stays_inside(name)), None)
    if outside is not None:
        raise UserError(
            f"names weights outside its folder: {shortened(printable(outside))}",
            file=index,
            hint="put every file of the weights beside the index",
        )
    return found


def _there(file: Path, shards: list[Path]) -> list[Path]:
    missing = [shard.name for shard in shards if not is_regular(shard)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"the weights are in {len(shards)} files, and {shortened(printable(missing[0]))}{more} is missing beside it",
            file=file,
        )
    return shards
