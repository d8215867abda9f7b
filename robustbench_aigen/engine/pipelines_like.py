"""Pipelines as Python gives them: stages, lists of stages, or names of these."""

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_aigen.errors import UserError
from robustbench_aigen.stages.catalogue import Factory
from robustbench_aigen.stages.pipeline import Pipeline, expand
from robustbench_aigen.stages.stage import Stage, stage_from_dict

Stages = Stage | Mapping[str, Any] | Sequence[Stage | Mapping[str, Any]]
PipelinesLike = Mapping[str, Stages] | Sequence[Stages] | Stage
"""A mapping from names to a stage or a list of stages, or a sequence of stages, each named after its recipe."""


def read_pipelines(pipelines: PipelinesLike, *, share: bool) -> list[Pipeline]:
    """Return the pipelines, one for each combination of swept values; ``share`` as of :func:`expand`.

    Raises
    ------
    UserError
        If a value is not a stage, or a pipeline cannot be expanded.
    """
    return [pipeline for name, stages in _named(pipelines) for pipeline in expand(name, stages, share=share)]


def _named(pipelines: Any) -> list[tuple[str, list[Stage]]]:
    """Return pipelines by name; unnamed stages get the names of their recipes."""
    if isinstance(pipelines, Mapping) and not {"attack", "perturb"} & pipelines.keys():
        return [(str(name), _stages(name, stages)) for name, stages in pipelines.items()]
    named: list[tuple[str, list[Stage]]] = []
    for place, stages in enumerate(pipelines if isinstance(pipelines, list | tuple) else [pipelines]):
        listed = _stages(place, stages)
        called = " + ".join(stage.recipe.name for stage in listed)
        taken = sum(name.partition(" #")[0] == called for name, _ in named)
        named.append((called if not taken else f"{called} #{taken + 1}", listed))
    return named


def _stages(name: object, stages: Any) -> list[Stage]:
    made = []
    for stage in stages if isinstance(stages, list | tuple) else [stages]:
        if not isinstance(stage, Stage | Mapping):
            raise UserError(f"pipeline '{name}' holds {_shown(stage)}", hint=_what_to_give(stage))
        made.append(stage if isinstance(stage, Stage) else stage_from_dict(stage))
    return made


def _shown(stage: Any) -> str:
    return (
        f"the recipe '{stage.recipe.name}' without ()"
        if isinstance(stage, Factory)
        else f"a {type(stage).__name__}"
    )


def _what_to_give(stage: Any) -> str:
    """Return the code to write instead of an object that is not a stage."""
    library = type(stage).__module__.partition(".")[0]
    if isinstance(stage, Factory):
        return f"{'attacks' if stage.recipe.kind == 'attack' else 'perturbations'}.{stage.recipe.name}()"
    if library == "foolbox":
        return "interop.from_foolbox(attack, eps=4/255)"
    if library in ("torchattacks", "art"):
        return f"interop.from_{library}({type(stage).__name__!r}, eps=4/255)"
    if callable(stage) and not isinstance(stage, type):
        return "interop.from_function(f, eps=4/255)"
    return "give attacks.pgd(eps=4/255) or perturbations.jpeg()"
