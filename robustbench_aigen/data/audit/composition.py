"""Composition of a data set: file properties per generator and class."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from robustbench_aigen.data.audit.facts import ImageFacts
from robustbench_aigen.data.audit.survey import Surveyed

_METADATA = {"exif": "EXIF", "xmp": "XMP", "icc": "ICC", "text": "text", "comment": "comment", "c2pa": "C2PA"}

_WORDS: dict[str, Callable[[ImageFacts], str]] = {
    "format": lambda fact: " ".join(
        [fact.format, *([] if fact.mode == "RGB" else [fact.mode]), *(["progressive"] * fact.progressive)]
    ),
    "quality": lambda fact: (
        "–" if fact.quality is None else f"{'≈' * (fact.encoder != 'libjpeg')}{fact.quality}"
    ),
    "subsampling": lambda fact: fact.subsampling or "–",
    "size": lambda fact: f"{fact.width}×{fact.height}",
    "aspect": lambda fact: f"{fact.width / fact.height:.2f}",
    "metadata": lambda fact: (
        " ".join(word for name, word in _METADATA.items() if getattr(fact.metadata, name)) or "–"
    ),
    "software": lambda fact: fact.metadata.software or "–",
}


class Part(NamedTuple):
    """The images of one generator and class; ``facts`` counts the values of every fact, the most frequent first."""

    generator: str
    label: int
    images: int
    facts: dict[str, dict[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return self._asdict()


def parts(images: Sequence[Surveyed]) -> list[Part]:
    """Return every generator and class of the images, reals first."""
    found: dict[tuple[str, int], list[ImageFacts]] = {}
    for image in images:
        found.setdefault((image.sample.generator, image.sample.label), []).append(image.facts)
    return [
        Part(generator, label, len(facts), {name: _counts(map(word, facts)) for name, word in _WORDS.items()})
        for (generator, label), facts in sorted(found.items())
    ]


def balance(images: Sequence[Surveyed]) -> list[dict[str, Any]]:
    """Return, per split, how many images of each class there are."""
    counts = Counter((image.sample.split or "", image.sample.label) for image in images)
    return [
        {"split": split or None, "real": counts[split, 0], "fake": counts[split, 1]}
        for split in sorted({split for split, _ in counts})
    ]


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))
