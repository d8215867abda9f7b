"""What ``robust-aigen train`` does: the trainings that a recipe and the command line's options come to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from robustbench_aigen.data.selection import open_source
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.precision import resolve_device
from robustbench_aigen.training.images import split_source
from robustbench_aigen.training.jobs import Job, Trained, train_job
from robustbench_aigen.training.recipe import LoadedRecipe


def read_assignments(texts: Sequence[str]) -> dict[str, object]:
    """Read ``KEY=VALUE`` texts, the values as YAML.

    Raises
    ------
    UserError
        If a text is not of that form.
    """
    changes: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"'{text}' is not of the form KEY=VALUE", file="--set")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"the value of {key} is not YAML", file="--set") from error
    return changes


def train_all(
    loaded: LoadedRecipe,
    data: str,
    output: Path,
    *,
    limit: int | None,
    device: str,
    half: bool,
    fresh: bool,
    progress: Progress,
) -> Iterator[Trained]:
    """Train what a recipe says on a data source; yield each detector as it is finished."""
    recipe, place = loaded.recipe, resolve_device(device)
    source = open_source(data, Path())
    for notice in source.notices:
        progress.notice(notice)
    splits = split_source(source, recipe.validation, limit)
    job = Job(recipe.name, recipe.name, recipe.settings, limit=limit)
    yield train_job(job, splits, output, device=place, half=half, fresh=fresh, progress=progress)
