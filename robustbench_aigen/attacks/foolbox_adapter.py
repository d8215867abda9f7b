"""foolbox as a backend: any of its attacks with a distance, from a recipe alone."""

from collections.abc import Iterator

from robustbench_aigen.attacks.in_memory import FoolboxAttack
from robustbench_aigen.attacks.libraries import (
    CountingDetector,
    construct,
    fill_arguments,
    library_class,
    library_module,
    run_library,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.stages.recipe import AttackRecipe, LibraryCall


def run_foolbox(task: AttackTask, call: LibraryCall, *, recipe: AttackRecipe) -> Iterator[AttackChunk]:
    """Run a class of ``foolbox.attacks``; one that fills a budget gets the task's, without an argument.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The class and its arguments for the task's norm.
    recipe
        The recipe that the call is from.
    """
    model = CountingDetector(task)
    attack_class = library_class(library_module("foolbox"), call)
    attack = construct(model, attack_class, **fill_arguments(call.args, task.params))
    craft = FoolboxAttack.of(attack).crafting(task, model)
    repeats = "restarts" in call.parameters
    return run_library(task, model, craft, recipe, name=f"foolbox {call.class_name}", repeats=repeats)
