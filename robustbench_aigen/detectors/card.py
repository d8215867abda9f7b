"""The JSON card beside a weights file: preprocessing and provenance of a detector."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from pydantic import ConfigDict

from robustbench_aigen.detectors.archives import LARGEST_TEXT
from robustbench_aigen.digests import DamagedFileError, read_sealed
from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import LocatedYaml
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec, FileSpec


class DetectorCard(FileSpec):
    """The part of a card that the loader reads. A card may have more keys (training, data, results)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    sha256: str | None = None
    base: DetectorSpec | None = None
    """The detector that the weights are filled into, where they are not of a named architecture."""


def card_edits(weights: Path) -> tuple[str, ...]:
    """Return a notice if the card of a training was edited, because cards decide the numbers."""
    file = weights.with_suffix(".json")
    try:
        read_sealed(file)
    except DamagedFileError as error:
        return (f"{error}; train again with --fresh",)
    return ()


class Beside(NamedTuple):
    """The card beside a file (empty if missing), and a notice on a file that is not a card."""

    card: DetectorCard
    notes: tuple[str, ...] = ()


def read_card(weights: Path) -> DetectorCard:
    """Return the card of a weights file, empty if missing; as :func:`look_beside`."""
    return look_beside(weights).card


def look_beside(weights: Path) -> Beside:
    """Look for the card of a weights file.

    A JSON file of the same name without keys of a detector is ignored, for example a training's metrics.

    Raises
    ------
    UserError
        If a value of a card is of the wrong type, or a key looks like a misspelt one.
    """
    file = weights.with_suffix(".json")
    if file == weights or not file.is_file():
        return Beside(DetectorCard())
    try:
        content = _content(file)
    except (ValueError, OSError, RecursionError) as error:
        return Beside(DetectorCard(), _told_of_unreadable(file, error))
    if not isinstance(content, dict):
        return Beside(DetectorCard())
    located = LocatedYaml(file, content)
    ours = content.keys() & DetectorCard.model_fields.keys()
    for key in content.keys() - ours:
        near = get_close_matches(key, DetectorCard.model_fields, n=1, cutoff=0.75)
        if near and _would_be_valid(near[0], content[key]):
            raise located.error(f"unknown key '{key}'", (key,), f"did you mean '{near[0]}'?")
    if not ours:
        return Beside(DetectorCard())
    try:
        return Beside(validated(DetectorCard, located, "a card"))
    except UserError as error:
        if len(ours) < len(content) - len(ours):
            # Most of it is about something else.
            text = f"{file.name} is ignored as a card: {error.key}: {error.message}"
            return Beside(DetectorCard(), (text,))
        raise


def _content(file: Path) -> object:
    if file.stat().st_size > LARGEST_TEXT:
        raise ValueError("the file is too large")
    return json.loads(file.read_text(encoding="utf-8"))


def _told_of_unreadable(file: Path, error: Exception) -> tuple[str, ...]:
    """Return a notice on an ignored file that contains a key of cards."""
    try:
        start = file.read_bytes()[:4096].decode("utf-8", "replace")
    except OSError:
        start = ""
    if any(f'"{key}"' in start for key in DetectorCard.model_fields):
        raise UserError(f"the card is not valid JSON: {error}", file=file) from error
    return (f"{file.name} is not valid JSON and is ignored as a card",)


def _would_be_valid(key: str, value: object) -> bool:
    """Whether a value is one that a key of a card may have."""
    try:
        DetectorCard.model_validate({key: value})
    except ValueError:
        return False
    return True
