"""torchattacks as a backend: any of its attack classes, from a recipe alone."""

from collections.abc import Iterator

from robustbench_aigen.attacks.libraries import (
    CountingDetector,
    construct,
    fill_arguments,
    library_class,
    run_library,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.scenario.recipes import LibraryCall


def run_torchattacks(task: AttackTask, call: LibraryCall) -> Iterator[AttackChunk]:
    """Run a torchattacks class.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    call
        The class and its arguments for the task's norm.
    """
    model = CountingDetector(task.detector)
    # Neither the import nor the constructor is trusted with the global generators.
    with preserved_global_rng():
        import torchattacks

        attack = construct(library_class(torchattacks, call), model, **fill_arguments(call.args, task.params))
        attack.set_device(task.device)
    return run_library(task, model, attack)
