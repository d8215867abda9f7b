"""What the names of classes mean: which are AI-generated and which are real."""

from collections.abc import Sequence
from typing import NamedTuple

from robustbench_aigen.detectors.preprocessing_settings import FAKE_COLUMN as FAKE
from robustbench_aigen.scenario.class_words import NOT, PLAIN, WEAK
from robustbench_aigen.scenario.words import words_of

REAL = 0
# A classifier's classes may be called by words that are too much of a guess for folders.
_FAKE = {word for word, label in {**WEAK, **PLAIN}.items() if label == FAKE} | {
    "machine", "computer", "midjourney", "dalle", "sd", "sdxl", "stylegan", "flux", "biggan", "glide", "imagen", "firefly",
    "robot",
}  # fmt: skip
_REAL = {word for word, label in {**WEAK, **PLAIN}.items() if label == REAL} | {"realism", "realistic", "hum"}
_NOT = {*NOT, "un"}


def meaning_of(name: str) -> int | None:
    """Return 0 for the name of a real class, 1 for one of an AI-generated class, None for any other.

    >>> meaning_of("AI-generated"), meaning_of("human"), meaning_of("not_fake"), meaning_of("LABEL_1")
    (1, 0, 0, None)
    """
    words = [word for word in words_of(name) if not word.isdigit()]
    is_negated = any(word in _NOT for word in words)
    plain = "".join(words)
    if plain in PLAIN:
        return PLAIN[plain]
    fake = bool({*words, plain} & _FAKE)
    real = bool({*words, plain} & _REAL)
    if fake == real:
        # "ai_generated_photo" and "fake human" are fakes; nobody calls a real class after both.
        return FAKE if fake and not is_negated else None
    return FAKE if fake != is_negated else REAL


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
    meanings = [meaning_of(name) for name in names]
    known = {meaning for meaning in meanings if meaning is not None}
    if not known:
        return Meanings((), ())
    if len(known) == 1:
        (only,) = known
        meanings = [1 - only if meaning is None else meaning for meaning in meanings]
    if None in meanings or len(set(meanings)) < 2:
        return Meanings((), ())
    return Meanings(
        tuple(index for index, meaning in enumerate(meanings) if meaning == REAL),
        tuple(index for index, meaning in enumerate(meanings) if meaning == FAKE),
    )
