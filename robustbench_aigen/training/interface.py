"""The public functions of training, which the command line calls as well."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from robustbench_aigen.data.image_data import ImageData, as_image_data
from robustbench_aigen.data.inventory import describe_briefly
from robustbench_aigen.data.selection import ALL
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.engine.progress import Progress, Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import as_progress
from robustbench_aigen.imports import import_library
from robustbench_aigen.numerics.precision import resolve_device
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aigen.training.adversarial.file import FineTuning
    from robustbench_aigen.training.adversarial.tuning import Tuned
    from robustbench_aigen.training.jobs import Trained
    from robustbench_aigen.training.planning import Variants
    from robustbench_aigen.training.recipe import TrainingRecipe


class GeneratorComparison(NamedTuple):
    """The comparison of detectors trained on different generators: the run, and the accuracy on foreign generators.

    ``matrix`` has a row per detector, pipeline and generator, ``gaps`` a row per detector and pipeline. Both are also
    in the folder ``tables`` of the run.
    """

    run: Run
    matrix: "pd.DataFrame"
    gaps: "pd.DataFrame"


class _Ray(NamedTuple):
    """The cluster for trainings, and the cores of each."""

    address: str | None
    threads: int


def train(
    recipe: str | Path | Mapping[str, Any],
    data: Any = "minigen",
    *,
    output: str | Path = "results/detectors",
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    published: bool = False,
    weights: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    seeds: int = 1,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    folds: int | None = None,
    generators: Sequence[str] | None = None,
    each: bool = False,
    all_but_one: bool = False,
    limit: int | None = None,
    device: str = "auto",
    half: bool = False,
    fresh: bool = False,
    progress: Progress | bool = False,
    finished: "Callable[[Trained], None] | None" = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    threads: int = 1,
) -> "list[Trained]":
    """Train detectors of the zoo; a stopped training is resumed, and a finished training is returned.

    Parameters
    ----------
    recipe
        A shipped recipe (``lenet5``), a YAML file, or its content.
    data
        The same values as for :func:`robustbench_aigen.evaluate`. The splits are those for training, selection and
        test.
    output
        Folder that contains the folders of the detectors.
    name
        Name of the detector, instead of the recipe's.
    settings
        Values of keys of the recipe, ``{"learning_rate": 0.01}``.
    published
        Use the settings of the published study where the recipe differs.
    weights
        Initial weights of a backbone: ``imagenet``, ``none`` or a file.
    epochs, seed
        Instead of the recipe's.
    seeds
        Number of trainings with different seeds, starting at the recipe's seed.
    sweep
        Keys with several values; every combination is trained.
    folds
        Number of folds of a cross-validation, or of the grid search of a support vector machine.
    generators
        Train only on the fakes of these generators.
    each, all_but_one
        Train a detector on each generator, or on all generators but one.
    limit
        Largest number of images of each split.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    half
        Store the weights as float16.
    fresh
        Discard a finished or stopped training, and start again.
    progress
        True for lines on standard error, or an object that receives the progress.
    finished
        Called with each finished detector.
    engine
        ``local`` trains one detector after the other in this process. With ``ray`` each training is a task.
    address, threads
        Address of a Ray cluster, by default a Ray on this machine; and the cores of a task.

    Returns
    -------
    list
        An entry per detector: ``name``, ``folder``, ``weights`` (the file) and ``metrics``. ``load_detector(weights)``
        loads it.

    Raises
    ------
    UserError
        If the recipe, the settings or the images are wrong.
    """
    import_library("lightning", extra="train", what="training")
    from robustbench_aigen.training.planning import Variants, seeds_of

    if engine not in ("local", "ray"):
        raise UserError(f"engine is '{engine}', not local or ray")
    if engine == "local" and address is not None:
        raise UserError("an address is that of a Ray cluster", hint="--engine ray")

    loaded = _recipe(recipe, settings, weights, published=published, epochs=epochs, seed=seed, name=name)
    swept = {
        key: [values] if isinstance(values, str) else list(values) for key, values in (sweep or {}).items()
    }
    if seeds > 1:
        swept["seed"] = seeds_of(loaded.settings, seeds)
    variants = Variants(
        swept,
        folds or 0,
        _names(generators),
        each=each,
        all_but_one=all_but_one,
        together=not (each or all_but_one),
    )
    told = as_progress(progress) or Silent()
    told.work_on("", "opening the data")
    images = as_image_data(data, ALL)
    return _trained(
        loaded, images, variants, limit, Path(output), device=device, half=half, fresh=fresh, progress=told,
        finished=finished, ray=_Ray(address, threads) if engine == "ray" else None,
    )  # fmt: skip


def finetune(
    file: str | Path | Mapping[str, Any],
    *,
    detector: str | Path | Mapping[str, Any] | None = None,
    arch: str | None = None,
    data: str | Path | Mapping[str, Any] | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    name: str | None = None,
    report: bool = True,
    report_images: int | str | None = None,
    device: str = "auto",
    output: str | Path = "results/detectors",
    half: bool = False,
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | bool = False,
    finished: "Callable[[Tuned], None] | None" = None,
    began: float | None = None,
) -> "Tuned":
    """Fine-tune a detector by adversarial training, and report on it before and after; a stopped training is resumed.

    Parameters
    ----------
    file
        A shipped fine-tuning (``finetune_pgd_eps2``), a YAML file, or its content.
    detector, arch
        Instead of the file's: an id, a file of weights with its architecture, or a mapping. Save a module in memory
        first, because the card of the new weights names a file.
    data
        Instead of the file's: ``minigen``, a folder or file, or a mapping as in YAML.
    limit
        Largest number of images of each split.
    epochs, minutes
        The budget, instead of the file's.
    name
        Name of the folder and the weights, instead of the file's.
    report
        Attack the detector before and after, and compare.
    report_images
        Number of test images, or ``all``; by default as many as take no longer than the training.
    device, half, fresh, progress
        As for :func:`train`.
    output
        Folder that contains the detector's folder.
    trust_code
        Allow detectors' files that can run code when they are loaded.
    finished
        Called when the weights are saved, before the report.
    began
        Start of the work in seconds of :func:`time.perf_counter`, for the forecast; by default now.

    Returns
    -------
    Tuned
        ``folder``, ``weights`` (the file), ``metrics``, and ``report``, the Markdown file, or None.

    Raises
    ------
    UserError
        If the file, the detector or the images are wrong, or the training collapsed.
    """
    began = time.perf_counter() if began is None else began
    if report_images is not None and not report:
        raise UserError("--report-images and --no-report exclude each other")
    loaded = _finetuning(file, detector, arch, data, limit, epochs, minutes, name)
    if report_images is not None:
        loaded = _reporting_on(loaded, report_images)
    import_library("lightning", extra="train", what="fine-tuning")
    from robustbench_aigen.training.adversarial.after_report import report_on
    from robustbench_aigen.training.adversarial.tuning import finetune as tune

    told = as_progress(progress) or Silent()
    told.work_on("", "loading the detector and the data")
    tuned = tune(
        loaded, Path(output), device=device, half=half, fresh=fresh, progress=told, trust_code=trust_code,
        report=report, began=began,
    )  # fmt: skip
    if finished is not None:
        finished(tuned)
    collapse = tuned.metrics["collapse"]
    if collapse is not None:
        raise UserError(
            f"the training collapsed ({collapse['kind']}) at step {collapse['step']}: {collapse['evidence']}; "
            f"the weights of epoch {tuned.metrics['epoch_kept']} are kept",
            file=loaded.file,
            hint=collapse["advice"],
        )
    if not report:
        return tuned
    return replace(tuned, report=report_on(tuned, device=device, progress=told, trust_code=trust_code))


def cross_generator(
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    data: str | Path | Mapping[str, Any] | None = None,
    scenario: str | Path | Scenario = "cross_generator",
    generators: Sequence[str] | None = None,
    all_but_one: bool = False,
    settings: Mapping[str, Any] | None = None,
    published: bool = False,
    epochs: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    output: str | Path = "results",
    progress: Progress | bool = False,
) -> GeneratorComparison:
    """Train on each generator and on all, and test on each, clean and under every pipeline of a scenario.

    Parameters
    ----------
    recipe
        As for :func:`train`; None compares the existing detectors of the scenario.
    data
        For training and test, instead of the scenario's: ``minigen``, a folder or file, or a mapping as in YAML.
    scenario
        The scenario whose pipelines are applied: a name, a file or a scenario. ``protocol.training`` of the scenario
        replaces the training sets: all generators but one, or all until each release date.
    generators, all_but_one, settings, published, epochs, limit, device, progress
        As for :func:`train`.
    output
        Results folder; detectors are saved in ``output/detectors``.

    Raises
    ------
    UserError
        If the recipe, the scenario or the images are wrong, or the training data of a detector is unknown.
    """
    from robustbench_aigen.evaluation import run
    from robustbench_aigen.training.drawing import draw_matrix
    from robustbench_aigen.training.generator_matrix import generators_seen, matrix, write_tables

    loaded = scenario if isinstance(scenario, Scenario) else Scenario.from_yaml(scenario)
    spec = loaded.data if data is None else _data_spec(data, loaded.data)
    if limit is not None:
        spec = spec.model_copy(update={"limit": limit})
    if spec != loaded.data:
        loaded = loaded.replace(data=spec)
    told = as_progress(progress) or Silent()
    if recipe is not None:
        trained = _each_generator(
            loaded, recipe, settings, _names(generators), limit, device, Path(output) / "detectors", told,
            published=published, epochs=epochs, all_but_one=all_but_one,
        )  # fmt: skip
        specs = [DetectorSpec(path=str(each.weights.resolve()), name=each.job.name) for each in trained]
        loaded = loaded.replace(detectors=specs)
    elif generators or all_but_one or settings or published or epochs:
        raise UserError(
            "--generators, --all-but-one, --set, --published and --epochs need a training recipe",
            hint="robust-aigen cross-generator lenet5 …",
        )
    elif loaded.protocol is not None and loaded.protocol.training == "all_but_one":
        raise UserError(
            f"the protocol '{loaded.name}' trains its detectors, and needs a training recipe",
            hint=f"robust-aigen cross-generator lenet5 --protocol {loaded.name}",
        )
    seen = generators_seen(loaded)
    result = run(loaded, output=output, device=device, progress=told)
    protocol = loaded.protocol
    is_chronological = protocol is not None and protocol.training == "chronological"
    table = matrix(
        result.summary, seen, released=protocol.released if protocol and is_chronological else None
    )
    found = write_tables(result.path / "tables", table)
    draw_matrix(result.path / "figures", table)
    return GeneratorComparison(result, table, found)


def _each_generator(
    loaded: Scenario,
    recipe: str | Path | Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    generators: tuple[str, ...] | None,
    limit: int | None,
    device: str,
    folder: Path,
    progress: Progress,
    *,
    published: bool,
    epochs: int | None,
    all_but_one: bool,
) -> "list[Trained]":
    import_library("lightning", extra="train", what="training")
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.training.planning import Variants

    read = _recipe(recipe, settings, None, published=published, epochs=epochs)
    protocol = loaded.protocol
    training = None if protocol is None else protocol.training
    variants = Variants(
        {},
        generators=generators,
        each=training is None,
        all_but_one=all_but_one or training == "all_but_one",
        chronological=training == "chronological",
        released={} if protocol is None else protocol.released,
    )
    images = ImageData(open_data(loaded.data, loaded.folder))
    return _trained(
        read, images, variants, limit, folder, device=device, half=False, fresh=False, progress=progress
    )


def _trained(
    loaded: "TrainingRecipe",
    images: ImageData,
    variants: "Variants",
    limit: int | None,
    output: Path,
    *,
    device: str,
    half: bool,
    fresh: bool,
    progress: Progress,
    finished: "Callable[[Trained], None] | None" = None,
    ray: "_Ray | None" = None,
) -> "list[Trained]":
    """Run the trainings of a recipe, one after the other or as tasks of Ray."""
    from robustbench_aigen.training.jobs import train_job
    from robustbench_aigen.training.planning import plan_jobs
    from robustbench_aigen.training.splits import split_source

    source, place = images.source, resolve_device(device)
    for notice in (*describe_briefly(source), *source.notices):
        progress.notice(notice)
    jobs = plan_jobs(loaded, split_source(source, loaded.validation, limit), variants)
    if ray is not None:
        from robustbench_aigen.training.on_ray import train_on_ray

        return train_on_ray(
            list(jobs), output, address=ray.address, threads=ray.threads, device=place, half=half, fresh=fresh,
            progress=progress, finished=finished,
        )  # fmt: skip
    trained = []
    for job in jobs:
        done = train_job(job, output, device=place, half=half, fresh=fresh, progress=progress)
        trained.append(done)
        if finished is not None:
            finished(done)
    return trained


def _recipe(
    recipe: str | Path | Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    weights: str | None,
    *,
    published: bool,
    **changes: object,
) -> "TrainingRecipe":
    """Return a recipe with some keys replaced."""
    from robustbench_aigen.training.recipe import TrainingRecipe, load_recipe

    if isinstance(recipe, Mapping):
        loaded = validated_values(TrainingRecipe, {"version": 1, **recipe}, "a training recipe")
    else:
        loaded = load_recipe(recipe)
    if published:
        loaded = loaded.as_published()
    given = {key: value for key, value in changes.items() if value is not None}
    loaded = loaded.overridden({**(settings or {}), **given})
    if weights is not None:
        options = {**loaded.arch_options, "weights": weights}
        loaded = loaded.overridden({"arch_options": options}, "--weights")
    return loaded


def _names(generators: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(generators, str):
        return (generators,)
    return None if generators is None else tuple(generators)


def _data_spec(data: str | Path | Mapping[str, Any], base: DataSpec | None = None) -> DataSpec:
    """Return the declaration of some images; a missing split or limit is taken from ``base``."""
    if not isinstance(data, str | Path | Mapping):
        raise UserError(
            f"data is {type(data).__name__}, which cannot be opened again",
            hint="give minigen, a path, or a mapping as in YAML",
        )
    content = dict(data) if isinstance(data, Mapping) else {"source": str(data)}
    spec = validated_values(DataSpec, content, "data")
    if base is None:
        return spec
    kept = {"split": base.split, "limit": base.limit}
    spec = spec.model_copy(update={key: kept[key] for key in kept.keys() - spec.model_fields_set})
    return spec.starting_here()


def _finetuning(
    file: str | Path | Mapping[str, Any],
    detector: str | Path | Mapping[str, Any] | None,
    arch: str | None,
    data: str | Path | Mapping[str, Any] | None,
    limit: int | None,
    epochs: int | None,
    minutes: float | None,
    name: str | None,
) -> "FineTuning":
    """Return a fine-tuning file with some keys replaced."""
    from robustbench_aigen.training.adversarial.file import FineTuning, load_finetuning

    if arch is not None and detector is None:
        raise UserError("--arch needs --detector FILE")
    if epochs is not None and minutes is not None:
        raise UserError("--epochs and --minutes exclude each other")
    if isinstance(file, Mapping):
        loaded = validated_values(FineTuning, {"version": 1, **file}, "a fine-tuning")
    else:
        loaded = load_finetuning(file)
    changes: dict[str, object] = {}
    if detector is not None:
        changes["detector"] = _detector_spec(detector, arch).model_dump(exclude_unset=True)
    changes |= _data_changes(loaded, data, limit)
    if epochs is not None:
        changes["budget"] = {"epochs": epochs}
    if minutes is not None:
        changes["budget"] = {"minutes": minutes}
    if name is not None:
        changes["name"] = name
    return loaded.replaced(changes, Path("overrides"))


def _data_changes(
    loaded: "FineTuning", data: str | Path | Mapping[str, Any] | None, limit: int | None
) -> dict[str, object]:
    """Return the data of a fine-tuning, with other data or another limit if given."""
    said = loaded.data.model_dump(exclude_unset=True)
    content = said
    if data is not None:
        kept: dict[str, object] = {key: said[key] for key in ("validation", "limit") if key in said}
        content = {**_data_spec(data).model_dump(exclude_unset=True), **kept}
    if limit is not None:
        content = {**content, "limit": limit}
    return {} if content == said else {"data": content}


def _detector_spec(detector: str | Path | Mapping[str, Any], arch: str | None) -> DetectorSpec:
    # Given paths start at the current folder, paths in the file at the folder of the file.
    if isinstance(detector, Mapping):
        content = {**detector} if arch is None else {"arch": arch, **detector}
        return validated_values(DetectorSpec, content, "a detector")
    if not isinstance(detector, str | Path):
        raise UserError(
            f"the detector is a {type(detector).__name__} in memory, but the card of the new weights has to name a file",
            hint="save the weights, and give {'path': FILE, 'arch': NAME}",
        )
    return DetectorSpec.from_text(str(detector), arch, Path.cwd())


def _reporting_on(loaded: "FineTuning", images: int | str) -> "FineTuning":
    """Return the file with a report on the given number of images, or on all."""
    wanted = str(images).strip().lower()
    if wanted != "all" and not (wanted.isdecimal() and int(wanted)):
        raise UserError(f"--report-images takes a number of images or all, not '{images}'")
    said = loaded.report.model_dump(exclude_unset=True, exclude={"limit"})
    return loaded.replaced({"report": {**said, "images": wanted if wanted == "all" else int(wanted)}})
