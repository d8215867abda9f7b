"""The list of systems, and where each one's data and detector are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("systems.yaml")


@dataclass(frozen=True)
class DataSet:
    """Images of one origin.

    Parameters
    ----------
    folder
        Below the root of all data.
    split
        What is tested on.
    test_only
        Whether nothing is trained on it.
    """

    folder: str
    split: str = "test"
    test_only: bool = False


@dataclass(frozen=True)
class System:
    """A detector of a study.

    Parameters
    ----------
    id
        Its architecture and the training recipe of that name.
    study
        A to E of ``docs/ZOO.md``.
    data
        Name of the data set that it is trained on here.
    reported
        The accuracy that the study reports, as a fraction; None where it reports none.
    note
        What differs from the study.
    settings
        Keys of the recipe that are replaced.
    name
        Under which it is listed; the id unless given.
    limit
        At most so many images are trained on, and as many tested on; all where None.
    scratch
        Whether a recipe that starts from ImageNet's weights, which are a download, starts from random ones.
    """

    id: str
    study: str
    data: str
    reported: float | None = None
    note: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    limit: int | None = None
    scratch: bool = False

    @property
    def called(self) -> str:
        """The name under which it is listed."""
        return self.name or self.id

    def weights(self, detectors: Path) -> Path:
        """Where its trained weights are."""
        return detectors / self.called / f"{self.called}.safetensors"


def read_systems() -> tuple[dict[str, DataSet], list[System]]:
    """Return the data sets by name, and the systems."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    data = {name: DataSet(**said) for name, said in content["data"].items()}
    return data, [System(**said) for said in content["systems"]]
