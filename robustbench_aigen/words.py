"""The meaning of names of classes, splits and generators in data sets and classifiers."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from robustbench_aigen.scenario.class_words import (
    BETWEEN,
    BY,
    CATEGORIES,
    EMPTY,
    FAMILIES,
    GENERATORS,
    LINKING,
    NO_SPLIT_BESIDE,
    NOT,
    NOUNS,
    PLAIN,
    STRONG_SPLITS,
    TRUTHS,
    WEAK,
    WEAK_SPLITS,
)
from robustbench_aigen.scenario.words import folded, words_of

Labels = Mapping[str, int]
"""The meanings of a source's labels, folded text to 0 or 1: the scenario's ``labels:``."""
NO_LABELS: Labels = MappingProxyType({})

_CLASSES = {**WEAK, **PLAIN}
_SPLITS = {**WEAK_SPLITS, **STRONG_SPLITS}
_KNOWN = {*_CLASSES, *_SPLITS, *NOT, *EMPTY, *GENERATORS}
_LONGEST = 3
"""Words of a name that are at most one of the vocabulary: computer generated art is two, hold out one."""
_FIRST = re.compile(r"^[\W_]*([A-Z]?[a-z]+|[A-Z]+|\d+)(?=[A-Z\W_])[\W_]*")
_LAST = re.compile(r"[\W_]*(?<=[a-z0-9\W_])([A-Z]?[a-z]+|[A-Z]+)[\W_]*$")
_VARIANT = re.compile(r"\D?\d+(\D\d+)?(px|k|p)?|n\d{8}")
"""Sizes, versions, compressions and ImageNet's classes: ``512x512``, ``v2``, ``c23``, ``n01440764``."""


Context = Literal["folder", "output", "column"]
"""The context of a name."""


def label_of(name: str, own: Labels = NO_LABELS, context: Context = "folder") -> int | None:
    """Return 0 for a name of the real class, 1 for one of the fake class, None for neither or both.

    The lists of words differ by context on purpose. Folders have arbitrary names, and a wrong guess would relabel
    images. Outputs of classifiers have few meanings: names of generators and words such as ``machine`` mean fake.
    Labels of images in memory are taken literally: ``real`` or ``fake``.

    Parameters
    ----------
    name
        The name, in any spelling.
    own
        The user's meanings of folded names, which take precedence.
    context
        ``folder`` for folders, files and class names of a data set, ``output`` for the outputs of a classifier,
        ``column`` for the labels of images in memory.

    >>> label_of("1_fake"), label_of("nature"), label_of("AiArtData"), label_of("progan"), label_of("real_vs_fake")
    (1, 0, 1, None, None)
    >>> label_of("midjourney", {"midjourney": 1}), label_of("midjourney", context="output")
    (1, 1)
    >>> label_of("AI-generated", context="output"), label_of("AI-generated", context="column")
    (1, None)
    """
    if own and (said := own.get(folded(name))) is not None:
        return said
    if context == "column":
        return _COLUMN.get(folded(name))
    return _class_of(name)[0] if context == "folder" else _class_of_output(name)


_COLUMN = {"real": 0, "fake": 1}
_FAKE_OUTPUTS = {word for word, label in _CLASSES.items() if label == 1} | {
    "machine", "computer", "midjourney", "dalle", "sd", "sdxl", "stylegan", "flux", "biggan", "glide", "imagen", "firefly",
    "robot",
}  # fmt: skip
_REAL_OUTPUTS = {word for word, label in _CLASSES.items() if label == 0} | {"realism", "realistic", "hum"}


def _class_of_output(name: str) -> int | None:
    words = [word for word in words_of(name) if not word.isdigit()]
    is_negated = any(word in NOT or word == "un" for word in words)
    plain = "".join(words)
    if plain in PLAIN:
        return PLAIN[plain]
    fake = bool({*words, plain} & _FAKE_OUTPUTS)
    real = bool({*words, plain} & _REAL_OUTPUTS)
    if fake == real:
        # "ai_generated_photo" and "fake human" are fakes; no real class has both words.
        return 1 if fake and not is_negated else None
    return 1 if fake != is_negated else 0


def is_weak(name: str) -> bool:
    """Whether a name is a weak class name, which counts only without a plain class name beside it: ``nature``, ``deepfake``."""
    return not _class_of(name)[1]


def is_family(name: str) -> bool:
    """Whether a name of the fake class is one of a kind of generators: ``GAN``, ``diffusion_images``."""
    return any(token in FAMILIES for token in _tokens(name))


@lru_cache(maxsize=1 << 14)
def _class_of(name: str) -> tuple[int | None, bool]:
    """Return the class of a name, and whether a plain word says it."""
    tokens = [token for token in _tokens(name) if not token.isdigit()]
    plain: set[int] = set()
    weak: set[int] = set()
    unknown = False
    is_negated = False
    for token in tokens:
        if token in _CLASSES:
            # A picture that is not a photograph may still be real.
            unknown |= is_negated and token in WEAK
            (plain if token in PLAIN else weak).add(_CLASSES[token] ^ is_negated)
            is_negated = False
            continue
        unknown |= is_negated or not any(token in words for words in (NOT, EMPTY, _SPLITS, GENERATORS))
        is_negated = token in NOT
    # What is called fake_false need not be a fake.
    unknown |= is_negated or any(token in TRUTHS for token in tokens)
    if unknown or (len(plain | weak) > 1 and any(token in BETWEEN for token in tokens)):
        return None, False
    meanings = tuple(plain or weak)
    return (meanings[0], bool(plain)) if len(meanings) == 1 else (None, False)


def class_beside_source(name: str) -> int | None:
    """Return the class whose plain word begins or ends a name that has words of its own as well, None for any other.

    >>> class_beside_source("real_coco"), class_beside_source("FakeLumina"), class_beside_source("train_lumina_fake")
    (0, 1, 1)
    >>> class_beside_source("fake"), class_beside_source("real_vs_fake_coco"), class_beside_source("photos_flickr")
    (None, None, None)
    """
    tokens = _tokens(name)
    said = {_CLASSES[token] for token in tokens if token in _CLASSES}
    if (
        label_of(name) is not None
        or len(said) != 1
        or any(token in NOT or token in TRUTHS for token in tokens)
    ):
        return None
    words = [t for t in tokens if not (t in EMPTY or t in _SPLITS or t.isdigit())]
    return said.pop() if words and (words[0] in PLAIN or words[-1] in PLAIN) else None


def is_truth(name: str) -> bool:
    """Whether a name only says that something holds or not: ``true``, ``no``, ``fake_false``."""
    tokens = _tokens(name)
    said = [token for token in tokens if token in TRUTHS or token in NOT]
    return bool(said) and all(token in EMPTY or token in NOT or token in _CLASSES for token in tokens)


def generator_in(name: str) -> str:
    """Return the generator in a name that tells a class or split as well, without the words that do.

    >>> generator_in("fake_stable-diffusion-v1-5"), generator_in("TestSDXL"), generator_in("1_midjourney_train")
    ('stable-diffusion-v1-5', 'SDXL', 'midjourney')
    >>> generator_in("generated_by_flux")
    'flux'
    """
    text = name
    for edge in (_FIRST, _LAST):
        while (found := edge.search(text)) is not None and (
            _is_no_name(found[1]) or _is_by(found[1], text, name)
        ):
            text = text[: found.start()] + text[found.end() :]
    return text


def _is_by(word: str, text: str, name: str) -> bool:
    """Whether a word followed a removed class word."""
    return text != name and folded(word) in BY


def _is_no_name(word: str) -> bool:
    label, is_plain = _class_of(word)
    return is_plain or label == 0 or split_of(word) is not None or (word.isdigit() and len(word) < 2)


def says_nothing(name: str) -> bool:
    """Whether a folder's name names no generator: ``dataset``, ``real_vs_fake``, ``train_set``, ``512x512``, ``batch_3``.

    >>> says_nothing("real-vs-fake"), says_nothing("images"), says_nothing("sdxl"), says_nothing("test_v2")
    (True, True, False, True)
    """
    if _VARIANT.fullmatch(folded(name)) or folded(name) in CATEGORIES:
        return True
    tokens = _tokens(name)
    if tokens and all(token in LINKING for token in tokens):
        # Fakes in A, B, C … are of several generators.
        return False
    if any(token in GENERATORS for token in tokens):
        # Imagen is Spanish for image as well.
        return False
    return all(
        token in EMPTY or token in NOT or token in _SPLITS or token.isdigit()
        or (token in _CLASSES and (token in PLAIN or WEAK[token] == 0))
        for token in tokens
    )  # fmt: skip


def names_generator(name: str) -> bool:
    """Whether a name has a word of a published generator: ``stylegan2``, ``imagenet_ai_0424_sdv5``."""
    return any(token in GENERATORS for token in _tokens(name))


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for the name of a split, None for anything else.

    A split's name may have a year, a number, a class and such words as ``set`` and ``images`` beside it.

    >>> split_of("train2017"), split_of("TestImages"), split_of("real_train"), split_of("latest"), split_of("eval")
    ('train', 'test', 'train', None, None)
    """
    found, rest = _split_and_rest(name)
    return None if rest else found


def split_beside(name: str, beside: Iterable[str]) -> str | None:
    """Return the split that a folder's name tells among others of the same depth, None for anything else.

    Beside the name of another split ``eval`` is one as well, and so is a name with foreign words, ``train_sdxl`` beside
    ``test_sdxl``.
    """
    found, rest = _split_and_rest(name)
    if found is not None and not rest:
        return found
    others = {split for other in beside if other != name and (split := _split_and_rest(other)[0]) is not None}
    if found is not None:
        return found if others - {found} else None
    weak = {WEAK_SPLITS[token] for token in _tokens(name) if token in WEAK_SPLITS}
    if len(weak) != 1 or not others or not says_nothing(name):
        return None
    meant = weak.pop()
    return "test" if meant == "val" in others and "test" not in others else meant


def ends_with_split(name: str) -> str | None:
    """Return the split whose word begins or ends a name: ``celeba_train``, ``test-sdxl``.

    None where the rest makes a thing of it: ``train_station``.
    """
    found, _ = _split_and_rest(name)
    words = [token for token in _tokens(name) if not token.isdigit()]
    return found if found is not None and {words[0], words[-1]} & STRONG_SPLITS.keys() else None


def split_in(name: str) -> str | None:
    """Return the split that a file's name begins with or holds as a word of its own.

    >>> split_in("train-00000-of-00001"), split_in("cifake_test"), split_in("latest")
    ('train', 'test', None)
    """
    parts = [part for part in re.split(r"[-_. ]", name) if part]
    found = {split for part in parts if (split := split_of(part)) is not None}
    return _one_of(found)


@lru_cache(maxsize=1 << 14)
def _split_and_rest(name: str) -> tuple[str | None, bool]:
    """Return the one split that a name's words tell, and whether it has words that have nothing to do with splits."""
    tokens = _tokens(name)
    if any(token in NO_SPLIT_BESIDE for token in tokens):
        return None, True
    found = _one_of({STRONG_SPLITS[token] for token in tokens if token in STRONG_SPLITS})
    rest = any(
        not (token in STRONG_SPLITS or token in EMPTY or token in _CLASSES or token.isdigit())
        for token in tokens
    )
    return found, rest


def _one_of(splits: set[str]) -> str | None:
    """Return the split that the words of one name tell, such as ``trainval`` and ``dev-test``, None for two at odds."""
    if splits == {"train", "val"}:
        # What is trained and validated on is not tested on.
        return "train"
    if splits == {"val", "test"}:
        # Neither the development's test set nor the two in one is trained on.
        return "test"
    return next(iter(splits)) if len(splits) == 1 else None


@lru_cache(maxsize=1 << 14)
def _tokens(name: str) -> tuple[str, ...]:
    """Return a name's words as the vocabulary has them: joined where two are one of it, parted where one is two."""
    words = words_of(name)
    tokens: list[str] = []
    place = 0
    while place < len(words):
        for count in range(min(_LONGEST, len(words) - place), 0, -1):
            joined = "".join(words[place : place + count])
            if joined in _KNOWN:
                tokens.append(joined)
                break
        else:
            count = 1
            tokens += _parted(words[place])
        place += count
    return tuple(tokens)


def _parted(word: str) -> list[str]:
    """Part a word without spaces: ``fakefaces``, ``trainset``, and scripts that write none."""
    if not word.isascii():
        return _longest_first(word) or [word]
    for cut in range(2, len(word) - 1):
        first, last = word[:cut], word[cut:]
        if first in NOT and last in PLAIN:
            return [first, last]
        if (first in _JOINED and last in _NOUN) or (first in _NOUN and last in _JOINED):
            return [first, last]
        if first in _JOINED and last in _JOINED and (first in STRONG_SPLITS) != (last in STRONG_SPLITS):
            return [first, last]
    return [word]


_NOUN = frozenset(noun for noun in NOUNS if len(noun) > 2)
_JOINED = frozenset(
    word for word in (*PLAIN, *WEAK, *STRONG_SPLITS) if len(word) > 2 and word.isascii()
) | {"ai"}  # fmt: skip


def _longest_first(word: str) -> list[str]:
    tokens: list[str] = []
    while word:
        size = next((size for size in range(len(word), 0, -1) if word[:size] in _KNOWN), 0)
        if not size:
            return []
        tokens.append(word[:size])
        word = word[size:]
    return tokens
