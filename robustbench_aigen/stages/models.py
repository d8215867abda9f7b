"""Models of diffusers as written in a scenario: a folder, or a name of the hub."""

import re
from pathlib import Path

HUB = "hf:"
"""Prefix of a model of the hub: ``hf:ORG/NAME``, or ``hf:ORG/NAME/FOLDER`` for a folder inside it."""
MODEL_FORMS = "FOLDER or hf:ORG/NAME"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)?").fullmatch


def read_model(value: object) -> str:
    """Read a model: the absolute path of its folder, or its name on the hub; raise ValueError with what is wanted."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a model, {MODEL_FORMS}, not {value!r}")
    if value.startswith(HUB):
        if not _HUB_NAME(value.removeprefix(HUB)):
            raise ValueError(f"is no name of the hub: '{value}'; write hf:ORG/NAME or hf:ORG/NAME/FOLDER")
        return value
    return str(Path(value).expanduser().absolute())


def model_starting_at(value: object, folder: Path) -> object:
    """Return a model as written, or several of a sweep, with the path of a folder starting at ``folder``."""
    if isinstance(value, list | tuple):
        return [model_starting_at(each, folder) for each in value]
    if isinstance(value, str) and value.strip() and not value.startswith(HUB):
        return str(folder / Path(value).expanduser())
    return value


def names_one_place(value: object) -> bool:
    """Whether a model means the same folder from every place: a name of the hub, or an absolute path."""
    return isinstance(value, str) and (value.startswith(HUB) or Path(value).expanduser().is_absolute())
