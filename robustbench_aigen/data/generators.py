"""Which generator each image of a table or a list belongs to."""

from collections.abc import Sequence

from robustbench_aigen.data.label_values import LabelMeaning, Refusal, plain_text
from robustbench_aigen.data.samples import CLASS_NAMES, REAL_POOL
from robustbench_aigen.words import is_weak, label_of


def read_generators(
    values: Sequence[object], labels: Sequence[LabelMeaning | None], refusal: Refusal
) -> list[str]:
    """Return the generator of every row.

    A class name (``real``, ``nature``, ``AI``) is none: reals then belong to all, fakes to ``fake``. Without a cell of
    its own a fake has the generator that its label names.

    Raises
    ------
    UserError
        If a row is called fake and its generator real, or the other way round.
    """
    found = []
    for row, (value, meaning) in enumerate(zip(values, labels, strict=True)):
        text, label = plain_text(value), 0 if meaning is None else meaning.label
        named = label_of(text) if text else None
        if meaning is not None and named is not None and named != label and not is_weak(text):
            raise refusal(
                row,
                f"the label means {CLASS_NAMES[label]}, and the generator is called '{text}'",
                "correct the cell or what the labels mean; if another column names the generator: columns: {generator: …}",
            )
        own = None if meaning is None else meaning.generator
        if not text or named == label:
            found.append(own or ("fake" if label else REAL_POOL))
        else:
            found.append(text)
    return found
