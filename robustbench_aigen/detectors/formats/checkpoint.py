"""Sets of weights in checkpoints of torch, matched to a network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.formats.request import Request
from robustbench_aigen.detectors.formats.sharding import shards_of
from robustbench_aigen.detectors.state_dicts import Weights, WeightSet, copy_words, read_weight_sets
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted


def read_checkpoint(request: Request) -> list[WeightSet]:
    """Read the sets of weights of a request, several shards as one; the user may trust their code."""
    files = shards_of(request.path)
    if len(files) == 1:
        return read_weight_sets(files[0], request.need_trust)
    merged: dict[str, Tensor] = {}
    for file in files:
        merged.update(read_weight_sets(file, request.need_trust)[0].weights)
    return [WeightSet("", merged)]


@dataclass(frozen=True)
class Matched:
    """Weights under a network's own names.

    Parameters
    ----------
    key
        Place of the weights in the file.
    prefix
        Prefix before the network's names.
    weights
        Tensors under the network's names.
    left_out
        Names beside the prefix: they belong to something else.
    problems
        Why they do not fit, as :func:`problems_of` says; empty where they do.
    quantised
        Whether some of them were stored quantised.
    """

    key: str
    prefix: str
    weights: Weights
    left_out: tuple[str, ...]
    problems: tuple[str, ...]
    quantised: bool = False

    @property
    def name(self) -> str:
        """Name of the weights for ``weights_key``; empty if they are the whole file."""
        return ".".join(part for part in (self.key, self.prefix.rstrip(".")) if part)

    def is_called(self, key: str) -> bool:
        """Whether ``weights_key`` means these weights: the whole name, or parts of it that follow each other."""
        return f".{key}." in f".{self.name}."


def matched_weights(sets: Iterable[WeightSet], network: nn.Module) -> list[Matched]:
    """Return every set of a file's weights under a network's names, the best first.

    Those that fit come before the others, the weights being trained before copies of them. The prefix under which
    wrappers and Lightning modules keep a network's weights is stripped: ``module.`` of data parallelism, ``model.`` or
    any other name of an attribute, also several of them, and ``_orig_mod.`` of ``torch.compile``. Where there is one,
    entries outside it belong to other things than the network (a loss, a metric, a copy).
    """
    expected = network.state_dict()
    tied = _tied_names(network)
    found = [
        (position, each)
        for position, one in enumerate(sets)
        for each in _under_prefixes(one, expected, tied)
    ]  # fmt: skip

    def rank(entry: tuple[int, Matched]) -> tuple[object, ...]:
        position, each = entry
        hits = sum(name in each.weights for name in expected)
        return bool(each.problems), -hits, copy_words(each.name), position, len(each.prefix), each.prefix

    return [each for _, each in sorted(found, key=rank)]


def _under_prefixes(
    one: WeightSet, expected: Mapping[str, Tensor], tied: Mapping[str, frozenset[str]]
) -> Iterator[Matched]:
    cleaned = {name.replace("_orig_mod.", ""): tensor for name, tensor in one.weights.items()}
    wanted = [*list(expected)[:4], *list(expected)[-4:]]
    prefixes = {name.removesuffix(each) for each in wanted for name in cleaned if name.endswith("." + each)}
    for prefix in sorted({"", *prefixes}):
        inside = {
            name.removeprefix(prefix): tensor for name, tensor in cleaned.items() if name.startswith(prefix)
        }
        outside = () if not prefix else tuple(name for name in cleaned if not name.startswith(prefix))
        yield Matched(
            one.key, prefix, inside, outside, tuple(problems_of(expected, inside, tied)), one.quantised
        )


def _tied_names(network: nn.Module) -> dict[str, frozenset[str]]:
    """Map the names of parameters and buffers that are one tensor to all of its names."""
    by_tensor: dict[int, set[str]] = {}
    tensors = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in tensors:
        by_tensor.setdefault(id(tensor), set()).add(name)
    return {name: frozenset(names) for names in by_tensor.values() if len(names) > 1 for name in names}


_COUNTER = "num_batches_tracked"
"""Of batch norms; older checkpoints lack it, and nothing reads it in evaluation."""
_SHOWN = 3


def problems_of(
    expected: Mapping[str, Tensor], weights: Weights, tied: Mapping[str, frozenset[str]]
) -> list[str]:
    """Name the entries that are missing, too many, or of another shape or kind: one text for each sort of problem."""
    missing = [
        key
        for key in expected
        if key not in weights
        and not key.endswith(_COUNTER)
        and not any(other in weights for other in tied.get(key, ()))
    ]
    unexpected = [key for key in weights if key not in expected]
    both = {key: (tensor, weights[key]) for key, tensor in expected.items() if key in weights}
    shapes = [
        f"{key} is {shape_text(given)}, not {shape_text(tensor)}"
        for key, (tensor, given) in both.items()
        if given.shape != tensor.shape
    ]
    kinds = [
        f"{key} is {dtype_text(given)}"
        for key, (tensor, given) in both.items()
        if given.is_floating_point() != tensor.is_floating_point() and not key.endswith(_COUNTER)
    ]
    sorts = [
        ("missing ", missing), ("unexpected ", unexpected), ("", shapes), ("", kinds),
    ]  # fmt: skip
    return [f"{word}{_first(entries)}" for word, entries in sorts if entries]


def _first(entries: Sequence[str]) -> str:
    more = len(entries) - _SHOWN
    return ", ".join(entries[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def shape_text(tensor: Tensor) -> str:
    """Return the shape of a tensor as text: ``64×3×7×7``."""
    return "×".join(map(str, tensor.shape)) or "a single number"


def dtype_text(tensor: Tensor) -> str:
    """Return the type of a tensor's numbers as text: ``float16``."""
    return str(tensor.dtype).removeprefix("torch.")


def classes_of(matched: Matched, network: nn.Module) -> int | None:
    """Return the number of classes of weights that fit a network except for its head; None if more differs."""
    expected = network.state_dict()
    wrong = [
        name
        for name, tensor in expected.items()
        if name not in matched.weights or matched.weights[name].shape != tensor.shape
    ]
    if not wrong or any(name not in matched.weights for name in wrong) or len(matched.problems) != 1:
        return None
    counts = set()
    for name in wrong:
        ours, given = expected[name].shape, matched.weights[name].shape
        if len(ours) != len(given) or ours[1:] != given[1:] or ours[0] > 2:
            return None
        counts.add(given[0])
    has_weight = any(expected[name].dim() > 1 for name in wrong)
    return counts.pop() if len(counts) == 1 and has_weight else None


def check_values(weights: Weights, request: Request) -> None:
    """Raise UserError where tensors have no values, or some of them are not numbers."""
    of = f"of {counted(len(weights), 'tensor')}"
    empty = [name for name, tensor in weights.items() if tensor.is_meta]
    if empty:
        raise UserError(
            f"{counted(len(empty), f'{of} has', f'{of} have')} a name and a shape and no values (meta tensors): {_first(empty)}",
            file=request.path,
            hint="save the weights of a network that is on a CPU or a GPU",
        )
    damaged = [
        name for name, tensor in weights.items() if tensor.is_floating_point() and not _has_numbers(tensor)
    ]
    if damaged:
        raise UserError(
            f"{counted(len(damaged), f'{of} holds', f'{of} hold')} NaN: {_first(damaged)}",
            file=request.path,
        )


def _has_numbers(tensor: Tensor) -> bool:
    return not bool(tensor.to(torch.float32).isnan().any())
