"""What ``robust-aigen train`` does: opens the data, plans the trainings, does one after the other."""

from collections.abc import Iterator
from pathlib import Path

from robustbench_aigen.data.inventory import describe_briefly
from robustbench_aigen.data.samples import ImageSource
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.numerics.precision import resolve_device
from robustbench_aigen.training.jobs import Job, Trained, train_job
from robustbench_aigen.training.planning import Variants, plan_jobs
from robustbench_aigen.training.recipe import TrainingRecipe
from robustbench_aigen.training.splits import Splits, split_source


def open_splits(loaded: TrainingRecipe, source: ImageSource, limit: int | None, progress: Progress) -> Splits:
    """Tell of a data source and choose what is trained on, what decides, and what neither has seen."""
    for notice in (*describe_briefly(source), *source.notices):
        progress.notice(notice)
    return split_source(source, loaded.validation, limit)


def train_all(
    jobs: list[Job], output: Path, *, device: str, half: bool, fresh: bool, progress: Progress
) -> Iterator[Trained]:
    """Do trainings one after the other; yield each detector as it is finished."""
    place = resolve_device(device)
    for job in jobs:
        yield train_job(job, output, device=place, half=half, fresh=fresh, progress=progress)


def plan(
    loaded: TrainingRecipe, source: ImageSource, limit: int | None, variants: Variants, progress: Progress
) -> list[Job]:
    """Return the trainings of a recipe on a data source."""
    return plan_jobs(loaded, open_splits(loaded, source, limit, progress), variants)
