"""Finds the data that ships with the package: recipes (``attacks/``) and scenarios (``scenarios/``).

Both stand at the top level of a checkout and are copied into the wheel under ``_catalogue``.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def catalogue_folder(kind: str) -> Path:
    """Return the folder of shipped ``attacks`` or ``scenarios``."""
    shipped = _PACKAGE / "_catalogue" / kind
    return shipped if shipped.is_dir() else _PACKAGE.parent / kind


def shipped_files(kind: str) -> dict[str, Path]:
    """Map the name of every shipped recipe or scenario to its file, sorted by name."""
    return {file.stem: file for file in sorted(catalogue_folder(kind).glob("*.yaml"))}
