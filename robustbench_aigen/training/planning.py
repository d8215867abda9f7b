"""Trainings from a recipe and the options of a command: sweeps, seeds, folds, generators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import product

from robustbench_aigen.data.release_dates import in_order
from robustbench_aigen.data.splitting import divide
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted
from robustbench_aigen.training.jobs import Job
from robustbench_aigen.training.recipe import Settings, TrainingRecipe
from robustbench_aigen.training.splits import Splits, check_generators


@dataclass(frozen=True)
class Variants:
    """The variants of a training: sweeps, seeds, folds, generators.

    Parameters
    ----------
    sweep
        The values of recipe keys, every combination of which is trained.
    folds
        Number of folds of cross-validation, 0 for none. A support vector machine searches its grid with them.
    generators
        Generators of the training fakes; None is all.
    each, all_but_one, together
        Whether there is a detector for each generator alone, for all but each, for all of them.
    chronological
        Whether there is a detector for all generators until each release date but the last.
    released
        Release dates of generators, before those that the package knows.
    """

    sweep: Mapping[str, Sequence[object]]
    folds: int = 0
    generators: tuple[str, ...] | None = None
    each: bool = False
    all_but_one: bool = False
    together: bool = True
    chronological: bool = False
    released: Mapping[str, date] = field(default_factory=dict)


def plan_jobs(loaded: TrainingRecipe, splits: Splits, variants: Variants) -> list[Job]:
    """Return the trainings, in their order.

    Raises
    ------
    UserError
        If a swept value is not one that the recipe could have, or there is no such generator.
    """
    if variants.generators is not None:
        check_generators(splits, variants.generators)
    jobs = []
    for values in product(*variants.sweep.values()):
        changes = dict(zip(variants.sweep, values, strict=True))
        swept = loaded.overridden(changes, "--sweep")
        variant = {key: _written(value) for key, value in changes.items()}
        for suffix, own in _by_generator(splits, variants):
            job = Job(
                _name(loaded.name + suffix, variant),
                loaded.name,
                swept.settings,
                own,
                variant,
            )
            jobs += _folded(job, variants.folds)
    return jobs


def _written(value: object) -> str:
    return "+".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _name(stem: str, variant: Mapping[str, str]) -> str:
    name = "-".join([stem, *(f"{key}={value}" for key, value in variant.items())])
    return "".join("_" if character in '/\\:*?"<>| ' else character for character in name)


def _by_generator(splits: Splits, variants: Variants) -> list[tuple[str, Splits]]:
    names = variants.generators or tuple(splits.generators)
    chosen = []
    if variants.each:
        chosen += [(f"@{name}", splits.of([name])) for name in names]
    if variants.all_but_one:
        if len(names) < 2:
            raise UserError(
                "--all-but-one needs at least two generators",
                hint="use a source with at least two generators",
            )
        chosen += [
            (f"@all-but-{name}", splits.of([other for other in names if other != name])) for name in names
        ]
    if variants.chronological:
        chosen += [(f"@until-{known[-1]}", splits.of(known)) for known in _periods(names, variants.released)]
    if variants.together:
        suffix = "" if variants.generators is None else "@" + "+".join(names)
        chosen.append((suffix, splits.of(variants.generators)))
    return chosen


def _periods(names: Sequence[str], own: Mapping[str, date]) -> list[list[str]]:
    """Return the generators until each release date but the last, the oldest first.

    Raises
    ------
    UserError
        If a date is unknown, or all generators have one date.
    """
    dates, unknown = in_order(names, own)
    if unknown:
        raise UserError(
            f"the release date of '{unknown[0]}' is unknown",
            hint=f"write it into a scenario of yours: protocol: {{source: …, training: chronological, released: {{{unknown[0]}: 2024-08-01}}}}, and give it to --scenario",
        )
    days = sorted(set(dates.values()))
    if len(days) < 2:
        raise UserError(
            "a chronological training needs generators of at least two dates",
            hint="use a source with more generators",
        )
    return [[name for name, day in dates.items() if day <= last] for last in days[:-1]]


def _folded(job: Job, folds: int) -> list[Job]:
    if not folds:
        return [job]
    if job.settings.svm is not None:
        svm = job.settings.svm.model_copy(update={"folds": folds})
        return [replace(job, settings=job.settings.model_copy(update={"svm": svm}))]
    # Test images stay out of it; what was held out for validation goes round.
    indices = sorted([*job.splits.train, *job.splits.val])
    parts = divide(job.splits.source, indices, {str(fold): 1 / folds for fold in range(1, folds + 1)})
    if len({*parts.values()}) < folds:
        raise UserError(
            f"{counted(len(indices), 'image')} cannot be divided into {folds} folds",
            hint="give a smaller number to --folds",
        )
    jobs = []
    for fold in sorted({*parts.values()}, key=int):
        own = replace(
            job.splits,
            train=[index for index in indices if parts[index] != fold],
            val=[index for index in indices if parts[index] == fold],
        )
        variant = {**job.variant, "fold": f"{fold}/{folds}"}
        jobs.append(replace(job, name=f"{job.name}-fold={fold}", splits=own, variant=variant))
    return jobs


def seeds_of(settings: Settings, count: int) -> list[object]:
    """Return ``count`` seeds, starting at the seed of the recipe."""
    return [settings.seed + number for number in range(count)]
