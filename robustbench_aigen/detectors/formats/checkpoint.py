"""What a file of torch is, and which of its entries are a network's."""

import zipfile
from pathlib import Path
from typing import NamedTuple

from torch import nn

from robustbench_aigen.detectors.formats.request import Request
from robustbench_aigen.detectors.state_dicts import Weights, read_weights


def file_kind(file: Path) -> str:
    """Return what a file of torch is: ``exported`` (torch.export), ``torchscript`` or ``weights``."""
    if not zipfile.is_zipfile(file):
        return "weights"
    with zipfile.ZipFile(file) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if "archive_format" in names or any(name.startswith("models/") for name in names):
        return "exported"
    return "torchscript" if any(name.startswith("code/") for name in names) else "weights"


def read_checkpoint(request: Request) -> Weights | nn.Module:
    """Read the weights of a request; as :func:`read_weights`, and the user may trust its code."""
    return read_weights(request.path, request.need_trust)


class Matched(NamedTuple):
    """Weights under a network's own names; what was left out because it belongs to something else."""

    weights: Weights
    prefix: str
    left_out: tuple[str, ...]


def without_prefix(weights: Weights, network: nn.Module) -> Matched:
    """Strip the prefix under which wrappers and Lightning modules keep a network's weights.

    ``module.`` of data parallelism, ``model.`` or any other name of an attribute, also several of them, and
    ``_orig_mod.`` of ``torch.compile``. The prefix is the one under which most of the network's names are found. Where
    there is one, entries outside it belong to other things than the network (a loss, a metric).
    """
    cleaned = {name.replace("_orig_mod.", ""): tensor for name, tensor in weights.items()}
    expected = network.state_dict().keys()
    prefixes = {""}
    for wanted in list(expected)[:4] + list(expected)[-4:]:
        prefixes |= {
            name.removesuffix(wanted)
            for name in cleaned
            if name.endswith("." + wanted)
        }  # fmt: skip

    def found(prefix: str) -> int:
        return sum(prefix + name in cleaned for name in expected)

    # Of equally good ones the shortest, then the first in the alphabet.
    best = min(prefixes, key=lambda prefix: (-found(prefix), len(prefix), prefix))
    if not best:
        return Matched(cleaned, "", ())
    inside = {name.removeprefix(best): tensor for name, tensor in cleaned.items() if name.startswith(best)}
    outside = tuple(name for name in cleaned if not name.startswith(best))
    return Matched(inside, best, outside)
