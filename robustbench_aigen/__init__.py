"""Adversarial robustness of detectors of AI-generated images.

``evaluate(detector, data, pipelines)`` measures a detector, ``attacks.pgd(eps=4/255)(detector, images, labels)`` attacks a
batch, ``Scenario.from_yaml("pgd_eps4").run()`` runs a scenario file. The command line does the same. Everything is imported
when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen import attacks, interop, perturbations, plugins
    from robustbench_aigen.data.image_data import ImageData
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.engine.calling import AttackResult
    from robustbench_aigen.engine.experiment import Experiment
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.evaluation import evaluate, run
    from robustbench_aigen.listing import list_attacks, list_detectors, list_perturbations, list_scenarios
    from robustbench_aigen.runs.run import Run, list_runs
    from robustbench_aigen.scenario.scenario import Scenario, load_scenario
    from robustbench_aigen.views.compare import compare, compare_detectors
    from robustbench_aigen.views.gating.verdict import gate
    from robustbench_aigen.views.report import report

__all__ = [
    "AttackResult", "Detector", "Experiment", "ImageData", "Run", "Scenario", "UserError", "attacks", "compare",
    "compare_detectors", "evaluate", "gate", "interop", "list_attacks", "list_detectors", "list_perturbations", "list_runs",
    "list_scenarios", "load_detector", "load_scenario", "perturbations", "plugins", "report", "run",
]  # fmt: skip

_HOMES = {
    "AttackResult": "engine.calling",
    "Detector": "detectors.contract",
    "Experiment": "engine.experiment",
    "ImageData": "data.image_data",
    "Run": "runs.run",
    "Scenario": "scenario.scenario",
    "UserError": "errors",
    "compare": "views.compare",
    "compare_detectors": "views.compare",
    "evaluate": "evaluation",
    "gate": "views.gating.verdict",
    "list_attacks": "listing",
    "list_detectors": "listing",
    "list_perturbations": "listing",
    "list_runs": "runs.run",
    "list_scenarios": "listing",
    "load_detector": "detectors.loading",
    "load_scenario": "scenario.scenario",
    "report": "views.report",
    "run": "evaluation",
}
_MODULES = ("attacks", "interop", "perturbations", "plugins")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("robustbench-aigen")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
