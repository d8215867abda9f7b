"""What the names of classes mean: which are AI-generated and which are real."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from robustbench_aigen.detectors.contract import FAKE, REAL

_FAKE = {
    "fake", "fakes", "ai", "aigc", "aigenerated", "aiart", "artificial", "synthetic", "synth", "generated", "generative",
    "deepfake", "deepfakes", "gan", "gans", "diffusion", "machine", "computer", "manipulated", "forged", "spoof",
    "midjourney", "dalle", "sd", "sdxl", "stylegan", "flux", "biggan", "glide", "imagen", "firefly", "robot",
}  # fmt: skip
_REAL = {
    "real", "realism", "reals", "realistic", "human", "hum", "humanmade", "nature", "natural", "authentic", "photo", "photos",
    "photograph", "photographic", "photography", "genuine", "original", "camera", "bonafide", "live", "pristine",
}  # fmt: skip
_NOT = {"not", "non", "no", "un"}


def meaning_of(name: str) -> int | None:
    """Return 0 for the name of a real class, 1 for one of an AI-generated class, None for any other.

    >>> meaning_of("AI-generated"), meaning_of("human"), meaning_of("not_fake"), meaning_of("LABEL_1")
    (1, 0, 0, None)
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    words = [word.lower() for word in words]
    is_negated = any(word in _NOT for word in words)
    plain = "".join(words)
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
