"""Pipelines of scikit-learn over flattened pixels, stored by skops: black boxes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.detectors.archives import check_unpacked_size
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import BlackBox
from robustbench_aigen.detectors.identity import file_hash
from robustbench_aigen.detectors.outputs import meanings_of
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library
from robustbench_aigen.text import counted


def load_skops(request: Request) -> Loaded:
    """Load a classifier whose features are the pixels of an image, rows of RGB values as numpy flattens them.

    Raises
    ------
    UserError
        If it holds types that skops does not trust and the user does not either, is damaged, or is no classifier of
        two classes.
    """
    io = import_library("skops.io", extra="sklearn", what=f"'{request.place}'")
    check_unpacked_size(request.path)
    try:
        untrusted = io.get_untrusted_types(file=request.path)
    except Exception as error:  # zip, JSON and its own errors; each means the same here.
        raise UserError(f"cannot be read by skops: {first_line(error)}", file=request.path) from error
    if untrusted:
        request.need_trust(
            f"a skops file with types that skops does not trust ({', '.join(untrusted[:3])})",
            "leave them out",
        )
    try:
        model = io.load(request.path, trusted=untrusted)
    except Exception as error:  # As above.
        raise UserError(f"cannot be read by skops: {first_line(error)}", file=request.path) from error
    metadata: dict[str, Any] = {"input_size": _side(model, request)}
    classes = _classes(model, request)
    if classes is not None:
        metadata["fake_index"] = classes
    if hasattr(model, "predict_proba"):
        metadata["outputs"] = "probabilities"
        answer = model.predict_proba
    elif hasattr(model, "decision_function"):
        metadata["outputs"] = "logits"
        answer = model.decision_function
    else:
        raise UserError(
            f"{type(model).__name__} has neither predict_proba nor decision_function", file=request.path
        )
    network = BlackBox(_OnRows(answer))
    return Loaded(
        network,
        _name(model),
        file_hash(request.path),
        metadata,
        ("no gradients: scikit-learn scores it as a black box, for attacks without gradients",),
        ("scikit-learn", "skops"),
    )


class _OnRows:
    """A function of rows of features as a function of images."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, images: NDArray[np.float32]) -> NDArray[Any]:
        rows = images.transpose(0, 2, 3, 1).reshape(len(images), -1)
        answer: NDArray[Any] = self.answer(rows)
        return answer


def _side(model: Any, request: Request) -> tuple[int, int]:
    """Return the height and width of images with as many values as the model has features."""
    features = getattr(model, "n_features_in_", None)
    size = request.input_size
    if size is None and features is not None:
        side = math.isqrt(features // 3)
        size = (side, side)
    if size is None:
        raise UserError(
            "it does not say how many features it takes", file=request.path, hint="give input_size"
        )
    if features is not None and 3 * size[0] * size[1] != features:
        raise UserError(
            f"takes {counted(features, 'feature')}, which {'is' if features == 1 else 'are'} not the RGB values of {size[0]}×{size[1]} pixels",
            file=request.path,
            hint="give input_size: [height, width]; features are pixels, row by row, RGB",
        )
    return size


def _classes(model: Any, request: Request) -> int | None:
    """Return which class is fake where the names of the classes say it.

    A single decision value is that of the second class.
    """
    names = getattr(model, "classes_", None)
    if names is None or len(names) != 2:
        count = "no classes" if names is None else counted(len(names), "class", "classes")
        raise UserError(f"{type(model).__name__} has {count}; a detector has two", file=request.path)
    return meanings_of([str(name) for name in names]).fake_index


def _name(model: Any) -> str:
    steps = getattr(model, "steps", None)
    return " → ".join(type(step).__name__ for _, step in steps) if steps else type(model).__name__
