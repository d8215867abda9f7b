"""The card of a benchmark run: a JSON file, and a CSV of verdicts beside it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field, JsonValue

from robustbench_aigen.digests import DIGESTS, DamagedFileError, digest_of_text, sealed, unsealed
from robustbench_aigen.documents.document import Section, validated
from robustbench_aigen.documents.located_yaml import LocatedYaml
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import require_regular, write_atomically
from robustbench_aigen.leaderboard.verdicts import Verdicts, read_verdicts
from robustbench_aigen.scenario.scenario import read_threshold
from robustbench_aigen.suites.suite import Suite, suite_files, suite_of

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(pattern=r"\S")]
_LARGEST = 5_000_000
"""Bytes of a file of a card: more is not read."""


def _rule(value: str | None) -> str | None:
    if value is not None and not isinstance(read_threshold(value), str):
        raise ValueError("must be a rule that is fitted on the validation split: youden or fpr@0.01")
    return value


class CardDetector(Section):
    """The detector: how to load it, and the hash of its weights.

    ``spec`` are the keys of a detector in a scenario. Relative paths start at the folder of the card.
    """

    name: Text
    spec: dict[str, JsonValue]
    architecture: str
    weights_sha256: Digest
    preprocessing: JsonValue
    parameters: int | None = None


class CardTraining(Section):
    """The disclosed training: name of the data, generators of the training fakes, and hyper-parameters."""

    data: Text
    generators: Annotated[tuple[Text, ...], Field(min_length=1)]
    hyperparameters: Annotated[dict[str, JsonValue], Field(min_length=1)]


class CardThreshold(Section):
    """The threshold of the verdict, as score and as log-odds in nats.

    ``rule`` is the rule that was fitted on the validation split, or None for the detector's own threshold.
    """

    score: float
    log_odds: float
    rule: Annotated[str | None, AfterValidator(_rule)] = None


class CardData(Section):
    """Images that are not part of a suite: their name, and their split."""

    name: Text
    split: Text


class CardSuite(Section):
    """The suite with its version, the digest of its file, and the fingerprint of its images.

    ``data`` are the caller's images of a suite that has none; the file of verdicts lists them.
    """

    name: Text
    sha256: Digest
    fingerprint: Digest
    data: CardData | None = None

    @property
    def title(self) -> str:
        """The name of the suite, with that of the caller's images."""
        return self.name if self.data is None else f"{self.name} on {self.data.name}"


class CardRun(Section):
    """Evidence of the run: when and on what it was computed, by which versions; ``link`` leads to more."""

    run_id: Text
    started: str
    precision: Literal["fp32", "bf16"]
    device: str
    revision: str | None
    packages: dict[str, str | None]
    records_sha256: Digest
    link: str | None = None


class CardFlag(Section):
    """A trust flag that the run raised."""

    flag: Text
    pipeline: str
    evidence: str


class CardNumbers(Section):
    """Number of images and of right verdicts, and the share of right verdicts with its 95 % interval."""

    images: int
    right: int
    accuracy: float
    low: float
    high: float


class Card(Section):
    """A card. ``results`` has the numbers by condition and group of images."""

    format: Literal[1]
    detector: CardDetector
    training: CardTraining
    licence: Text
    suite: CardSuite
    threshold: CardThreshold
    run: CardRun
    flags: tuple[CardFlag, ...]
    results: dict[str, dict[str, CardNumbers]]


@dataclass(frozen=True, eq=False)
class Entry:
    """A card with its verdicts.

    Parameters
    ----------
    file
        The file of the card.
    card, verdicts
        Its content, and that of the file beside it.
    changes
        Files that were changed after they were written, as sentences.
    """

    file: Path
    card: Card
    verdicts: Verdicts
    changes: tuple[str, ...] = ()

    @property
    def suite(self) -> Suite:
        """The suite of the card."""
        return suite_of(self.card.suite.name)

    @property
    def images(self) -> pd.DataFrame:
        """``sample, label, generator, sha256`` of the images that the card is of: the suite's, or those it lists."""
        return self.verdicts.images if self.suite.takes_own_images else self.suite.images


def verdicts_file(file: Path) -> Path:
    """Return the file of verdicts of a card."""
    return file.with_name(f"{file.stem}.csv")


def card_name(suite: str, detector: str, data: str | None = None) -> str:
    """Return the name of the file of a card; ``data`` are the caller's images of a suite without any.

    >>> card_name("quick_v1", "minigen/cifake_cnn+pgd")
    'quick_v1-minigen-cifake_cnn+pgd.json'
    """
    parts = "-".join(each for each in (suite, data, detector) if each)
    return f"{re.sub(r'[^A-Za-z0-9_.+@-]+', '-', parts)}.json"


def write_entry(folder: Path, card: Card, verdicts: Verdicts) -> Path:
    """Write a card and its verdicts into a folder, and return the file of the card.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    own = card.suite.data
    file = folder / card_name(card.suite.name, card.detector.name, None if own is None else own.name)
    rows = verdicts_file(file)
    content = verdicts.csv()
    write_atomically(rows, content)
    document = sealed(card.model_dump(mode="json"), {rows.name: digest_of_text(content)})
    write_atomically(file, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return file


def read_entry(file: str | Path) -> Entry:
    """Read a card and its verdicts. Changed digests do not stop the reading; they are in ``changes``.

    Raises
    ------
    UserError
        If a file is missing, is not JSON, lacks a key, or names an unknown suite.
    """
    path = Path(file)
    rows = verdicts_file(path)
    try:
        content = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"the card is not valid JSON: {error}", file=path) from error
    if not isinstance(content, dict):
        raise UserError("the card is not a mapping", file=path)
    values = {key: value for key, value in content.items() if key != DIGESTS}
    card = validated(Card, LocatedYaml(path, values), "a card")
    raw = _read(rows)
    changes = []
    try:
        digests = unsealed(content, path.name)[1]
        if digests.get(rows.name) != digest_of_text(raw):
            changes.append(f"{rows.name} was changed after it was written")
    except DamagedFileError as error:
        changes.append(str(error))
    try:
        verdicts = read_verdicts(raw, suite_of(card.suite.name))
    except DamagedFileError as error:
        raise UserError(str(error), file=rows) from error
    return Entry(path, card, verdicts, tuple(changes))


def find_cards(folder: str | Path) -> list[Path]:
    """Return the cards in a folder, sorted by name: their names begin with that of a suite.

    Raises
    ------
    UserError
        If there is no card.
    """
    found = sorted(file for name in suite_files() for file in Path(folder).glob(f"{name}-*.json"))
    if not found:
        raise UserError(f"no card in '{folder}'", hint="robust-aigen submit RUN makes one")
    return found


def _read(file: Path) -> bytes:
    try:
        require_regular(file)
        if file.stat().st_size > _LARGEST:
            raise UserError(f"the file has more than {_LARGEST:,} bytes", file=file)
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error
