"""Parsing of ``KEY=VALUE`` and ``KEY=VALUE,VALUE`` options of the command line, without torch."""

from collections.abc import Sequence

from robustbench_aigen.documents.located_yaml import yaml_value
from robustbench_aigen.errors import UserError


def read_assignments(texts: Sequence[str]) -> dict[str, object]:
    """Read ``KEY=VALUE`` texts, the values as YAML.

    Raises
    ------
    UserError
        If a text is not of that form.
    """
    changes: dict[str, object] = {}
    for text in texts:
        key, value = _assignment(text, "--set")
        changes[key] = _yaml(key, value, "--set")
    return changes


def read_sweep(texts: Sequence[str]) -> dict[str, list[object]]:
    """Read ``KEY=VALUE,VALUE`` texts; augmentations of one value are joined by ``+``, and ``none`` is no augmentation.

    Raises
    ------
    UserError
        If a text is not of that form, or a value stands twice.
    """
    sweep: dict[str, list[object]] = {}
    for text in texts:
        key, values = _assignment(text, "--sweep")
        parts = [part.strip() for part in values.split(",")]
        if len(set(parts)) < len(parts) or key in sweep:
            raise UserError(f"'{text}' has a value twice", file="--sweep")
        if key == "augmentation":
            sweep[key] = [[] if part == "none" else part.split("+") for part in parts]
        else:
            sweep[key] = [_yaml(key, part, "--sweep") for part in parts]
    return sweep


def read_names(text: str | None) -> tuple[str, ...] | None:
    """Read ``a,b``; None stays None."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def _assignment(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not value.strip():
        raise UserError(f"'{text}' is not of the form KEY=VALUE", file=option)
    return key.strip(), value


def _yaml(key: str, text: str, option: str) -> object:
    try:
        return yaml_value(text)
    except ValueError as error:
        raise UserError(f"the value of {key} is not YAML", file=option) from error
