"""torchattacks as a backend: any of its attack classes, from a recipe alone."""

from collections.abc import Iterator

from robustbench_aigen.attacks.libraries import CountingDetector, fill_arguments, run_library
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
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
    import torchattacks

    model = CountingDetector(task.detector)
    attack_class = getattr(torchattacks, call.class_name)
    attack = attack_class(model, **fill_arguments(call.args, task.params))
    attack.set_device(task.device)
    return run_library(task, model, attack)
