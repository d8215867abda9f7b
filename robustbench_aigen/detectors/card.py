"""The JSON card beside a weights file: what a detector does around its network, and where it comes from."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from robustbench_aigen.digests import DamagedFileError, read_sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec, PreprocessingSpec
from robustbench_aigen.scenario.located_yaml import LocatedYaml
from robustbench_aigen.scenario.validation import validated


class DetectorCard(PreprocessingSpec):
    """What of a card the loader reads. A card may say more (training, data, results)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    arch: str | None = None
    arch_options: dict[str, Any] = Field(default_factory=dict)
    sha256: str | None = None
    base: DetectorSpec | None = None
    """The detector that the weights are filled into, where they are not of a named architecture."""


def card_edits(weights: Path) -> tuple[str, ...]:
    """Say whether the card that a training wrote was changed since: it may be, and decides the numbers."""
    file = weights.with_suffix(".json")
    try:
        read_sealed(file)
    except DamagedFileError as error:
        return (f"{error}; --fresh of its training writes it anew",)
    return ()


def read_card(weights: Path) -> DetectorCard:
    """Return the card of a weights file, an empty one where there is none.

    Raises
    ------
    UserError
        If it is not JSON, a value is of the wrong type, or a key looks like a misspelt one.
    """
    file = weights.with_suffix(".json")
    if not file.is_file():
        return DetectorCard()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"the card is not valid JSON: {error}", file=file) from error
    located = LocatedYaml(file, content)
    card = validated(DetectorCard, located, "a card")
    for key in card.model_extra or {}:
        near = get_close_matches(key, DetectorCard.model_fields, n=1, cutoff=0.75)
        if near:
            raise located.error(f"unknown key '{key}'", (key,), f"did you mean '{near[0]}'?")
    return card
