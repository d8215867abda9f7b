"""Conversion of a network's output to two logits (real, fake)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.detectors.preprocessing_settings import FAKE_COLUMN
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import Outputs
from robustbench_aigen.text import counted
from robustbench_aigen.words import label_of

LEAST_PROBABILITY = torch.finfo(torch.float32).tiny
LARGEST_PROBABILITY = 1 - torch.finfo(torch.float32).eps / 2
_LOGITS = ("logits", "logit")
"""Names of the scores among several outputs of a network."""
_DEEPEST = 3
_LARGE_LOGIT = 10


class Answer(NamedTuple):
    """The part of a network's answer that the verdict rests on.

    Parameters
    ----------
    columns
        N×1 or N×2, of the network's own dtype.
    place
        Its place in the output, as in ``output:``; empty if the output is a single tensor.
    others
        The other tensors: their places and shapes.
    """

    columns: Tensor
    place: str
    others: dict[str, tuple[int, ...]]


def find_answer(raw: object, name: str, count: int, output: str | None = None) -> Answer:
    """Find in what a network answers for ``count`` images one number or two for each.

    A tensor ``logits`` comes first, then the only tensor of such a shape, then the only one of them that is not of
    whole numbers. Tuples, lists, mappings and objects are looked through.

    Parameters
    ----------
    raw
        The return value of the network.
    name
        The detector, for the message.
    count
        Number of images in the input.
    output
        The declared place of the tensor to use, if any.

    Raises
    ------
    UserError
        If there is no such tensor, or more than one.
    """
    if _names_a_class(raw):
        raise UserError(
            f"detector '{name}' returns the name of a class with its score, and the score may belong to either class",
            hint="return the score of the AI-generated class from its code, one number for each image",
        )
    tensors = dict(_tensors(raw, 0 if output else count))
    if not tensors:
        raise UserError(f"detector '{name}' returns {type(raw).__name__}, not a tensor")
    candidates = {
        place: columns
        for place, tensor in tensors.items()
        if (columns := _columns(tensor, count)) is not None
    }
    if output is not None:
        if output not in tensors:
            raise UserError(
                f"detector '{name}' has no output '{output}'",
                hint=f"set output: to one of {_listed(tensors)}"
                if any(tensors)
                else "remove output: the network has a single output",
            )
        if output not in candidates:
            raise UserError(
                f"detector '{name}': output {output} is of shape {tuple(tensors[output].shape)} for {counted(count, 'image')}; "
                "one or two numbers (real, fake) each are needed"
            )
        place = output
    else:
        place = _chosen(candidates, tensors, name, count)
    others = {other: tuple(tensor.shape) for other, tensor in tensors.items() if other != place}
    return Answer(candidates[place], place, others)


def outputs_by_place(raw: object, count: int) -> dict[str, Tensor]:
    """Return every tensor of an answer for ``count`` images by its place, one entry an image where that is possible."""
    found: dict[str, Tensor] = {}
    if _names_a_class(raw):
        return found
    for place, tensor in _tensors(raw, count):
        columns = _columns(tensor, count)
        found[place] = tensor if columns is None else columns
    return found


def as_columns(raw: object, name: str, count: int, output: str | None = None) -> Tensor:
    """Return a network's answer for ``count`` images as N×1 or N×2 float32, as :func:`find_answer` finds it."""
    return find_answer(raw, name, count, output).columns.float()


def _chosen(candidates: dict[str, Tensor], tensors: dict[str, Tensor], name: str, count: int) -> str:
    """Return the place of the tensor that the verdict rests on."""
    if not candidates:
        shapes = _listed(tensors) if len(tensors) > 1 else str(tuple(next(iter(tensors.values())).shape))
        raise UserError(
            f"detector '{name}' returns {shapes} for {counted(count, 'image')}; one or two numbers (real, fake) each are needed",
            hint="for three or more classes, add up the scores of real and of fake classes, in a module around the network or in a python: factory"
            if any(
                tensor.dim() == 2 and len(tensor) == count and tensor.shape[1] > 2
                for tensor in tensors.values()
            )
            else None,
        )
    named = [place for place in candidates if place.rpartition(".")[2] in _LOGITS]
    numbers = [place for place, tensor in candidates.items() if tensor.is_floating_point()]
    for found in (named, list(candidates), numbers):
        if len(found) == 1:
            return found[0]
    raise UserError(
        f"detector '{name}' returns {len(candidates)} tensors that could be the verdict: {_listed(candidates)}",
        hint=f"choose one with output: {_first_of_fake(numbers or list(candidates))}",
    )


def _first_of_fake(places: list[str]) -> str:
    """Return the first place that is called after the AI-generated class, else the first of all."""
    return next(
        (place for place in places if label_of(place.rpartition(".")[2], context="output") == FAKE_COLUMN),
        places[0],
    )


def _names_a_class(raw: object, depth: int = 0) -> bool:
    """Whether an answer is a word and a number, or a list of these, as pipelines of transformers give it."""
    if isinstance(raw, Mapping):
        kinds = {
            str if isinstance(value, str) else Real if isinstance(value, Real) else None
            for value in raw.values()
        }
        return kinds == {str, Real}
    is_list = isinstance(raw, list | tuple) and len(raw) > 0
    return is_list and depth < _DEEPEST and _names_a_class(raw[0], depth + 1)  # type: ignore[index]


def _tensors(raw: object, count: int, place: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of an answer with its place: positions of sequences, keys of mappings, names of attributes."""
    if isinstance(raw, Tensor):
        yield place, raw if raw.layout == torch.strided else raw.to_dense()
    elif isinstance(raw, np.ndarray | np.number | np.bool_ | Real):
        array = np.asarray(raw)
        if array.dtype.kind in "fiub":
            yield place, torch.from_numpy(np.ascontiguousarray(array))
    elif isinstance(raw, list | tuple) and (stacked := _one_each(raw, count)) is not None:
        yield place, stacked
    elif depth < _DEEPEST:
        for key, value in _parts(raw):
            yield from _tensors(value, count, f"{place}.{key}" if place else key, depth + 1)


def _one_each(raw: list[object] | tuple[object, ...], count: int) -> Tensor | None:
    """Return a list with an answer for each image as one tensor, None where it is another list."""
    if len(raw) != count or hasattr(raw, "_fields"):
        return None
    if all(isinstance(each, Real | np.number) for each in raw):
        return torch.tensor([float(each) for each in raw])  # type: ignore[arg-type]
    if all(
        isinstance(each, list | tuple) and len(each) in (1, 2) and all(isinstance(n, Real) for n in each)
        for each in raw
    ):
        return torch.tensor(raw)
    tensors = [each for each in raw if isinstance(each, Tensor)]
    if len(tensors) == count > 1 and all(
        each.numel() in (1, 2) and each.shape == tensors[0].shape for each in tensors
    ):
        return torch.stack([each.flatten() for each in tensors])
    return None


def _parts(raw: object) -> Iterator[tuple[str, object]]:
    names = getattr(raw, "_fields", None)
    if isinstance(raw, Mapping):
        yield from ((str(key), value) for key, value in raw.items())
    elif isinstance(raw, tuple) and names is not None:
        yield from zip(names, raw, strict=True)
    elif isinstance(raw, list | tuple):
        yield from ((str(position), value) for position, value in enumerate(raw))
    elif is_dataclass(raw):
        yield from ((each.name, getattr(raw, each.name)) for each in fields(raw))
    elif hasattr(raw, "__dict__"):
        yield from ((key, value) for key, value in vars(raw).items() if not key.startswith("_"))


def _columns(tensor: Tensor, count: int) -> Tensor | None:
    """Return a tensor as N×1 or N×2, None where it has not one or two numbers for each image.

    A network that squeezes leaves the first dimension out where there is one image.
    """
    if tensor.is_complex() or tensor.numel() not in (count, 2 * count):
        return None
    if tensor.dim() and tensor.shape[0] == count:
        return tensor.reshape(count, -1)
    is_squeezed = count == 1 and tensor.squeeze().dim() <= 1
    return tensor.reshape(1, -1) if is_squeezed else None


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{place or 'it'} {tuple(tensor.shape)}" for place, tensor in tensors.items())


def two_logits(columns: Tensor, outputs: Outputs) -> Tensor:
    """Turn a network's answer into two logits, of which the second is output 1's.

    A single number is that of output 1. Probabilities become logarithms, clamped where float32 has none: their
    softmax is the probability again, and their gradient is that of the log-odds, which does not vanish before the
    probability itself does. Two probabilities that do not add up to 1, of two sigmoids, are divided by their sum.

    Parameters
    ----------
    columns
        N×1 or N×2 float32.
    outputs
        ``logits``, ``probabilities`` of a sigmoid or a softmax, or ``percentages``: probabilities times 100.
    """
    if outputs == "percentages":
        columns = columns / 100
    if outputs != "logits":
        if columns.shape[1] == 1:
            p = _limited(columns, LEAST_PROBABILITY, LARGEST_PROBABILITY)
            columns = torch.log(p) - torch.log1p(-p)
        else:
            return _limited(columns, LEAST_PROBABILITY, None).log()
    if columns.shape[1] == 1:
        return torch.cat([-columns / 2, columns / 2], dim=1)
    return columns


def _limited(probabilities: Tensor, least: float, largest: float | None) -> Tensor:
    """Limit probabilities and pass all gradients: a network without a gradient at 0 and 1 has none behind this either."""
    return probabilities + (probabilities.clamp(least, largest) - probabilities).detach()


def look_like_percentages(columns: Tensor) -> bool:
    """Whether a network's answers to very different inputs, N×1 or N×2, may be probabilities times 100.

    Two numbers add up to 100 then. One number is between 0 and 100, and for some image larger than most logits.
    """
    if not columns.isfinite().all() or columns.min() < 0 or columns.max() > 100 or columns.max() <= 1:
        return False
    if columns.shape[1] == 2 and bool(((columns.sum(dim=1) - 100).abs() < 0.1).all()):
        return True
    return columns.shape[1] == 1 and bool(columns.max() > _LARGE_LOGIT)


def look_like_probabilities(columns: Tensor) -> bool:
    """Whether a network's answers to very different inputs, N×1 or N×2, are all probabilities."""
    if not columns.isfinite().all() or columns.min() < 0 or columns.max() > 1:
        return False
    if columns.shape[1] == 1 or bool(((columns.sum(dim=1) - 1).abs() < 1e-3).all()):
        return True
    # Two sigmoids saturate where the input is loud enough; two small logits do not.
    return bool(columns.min() < 0.01) or bool(columns.max() > 0.99)


class Meanings(NamedTuple):
    """Which outputs of a classifier mean real and which AI-generated; both empty where the names do not say."""

    real: tuple[int, ...]
    fake: tuple[int, ...]

    @property
    def fake_index(self) -> int | None:
        """The output that means AI-generated, of two; None where the names do not say."""
        if len(self.real) == len(self.fake) == 1 and set(self.real + self.fake) == {0, 1}:
            return self.fake[0]
        return None


def meanings_of(names: Sequence[str]) -> Meanings:
    """Sort the names of a classifier's classes.

    Of two classes one that is understood is enough. Of more, those that are not understood are fakes where others are
    real (names of generators), and real where others are fakes (names of subjects) — only if all the others agree.
    """
    meanings = [label_of(name, context="output") for name in names]
    known = {meaning for meaning in meanings if meaning is not None}
    if not known:
        return Meanings((), ())
    if len(known) == 1:
        (only,) = known
        meanings = [1 - only if meaning is None else meaning for meaning in meanings]
    if None in meanings or len(set(meanings)) < 2:
        return Meanings((), ())
    return Meanings(
        tuple(index for index, meaning in enumerate(meanings) if meaning == 0),
        tuple(index for index, meaning in enumerate(meanings) if meaning == 1),
    )
