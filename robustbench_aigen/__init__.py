"""Adversarial robustness of detectors of AI-generated images.

``evaluate(detector, data, pipelines)`` measures a detector, ``attacks.pgd(eps=4/255)(detector, images, labels)``
attacks a batch, ``Scenario.from_yaml("pgd_eps4").run()`` runs a scenario file, ``benchmark(detector)`` runs a fixed
one. The command line does the same. The names in ``__all__`` are public; everything else may change in any release.
Modules are imported at first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen import attacks, explain, interop, perturbations, plugins, training
    from robustbench_aigen.data.image_data import ImageData
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.engine.calling import AttackResult
    from robustbench_aigen.engine.experiment import Experiment
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.evaluation import benchmark, evaluate
    from robustbench_aigen.listing import list_attacks, list_detectors, list_perturbations, list_scenarios
    from robustbench_aigen.runs.run import Run, list_runs
    from robustbench_aigen.scenario.scenario import Scenario
    from robustbench_aigen.views.report import report

    __version__: str

__all__ = [
    "AttackResult", "Detector", "Experiment", "ImageData", "Run", "Scenario", "UserError", "__version__", "attacks", "benchmark",
    "evaluate", "explain", "interop", "list_attacks", "list_detectors", "list_perturbations", "list_runs", "list_scenarios",
    "load_detector", "perturbations", "plugins", "report", "training",
]  # fmt: skip

_HOMES = {
    "AttackResult": "engine.calling",
    "Detector": "detectors.contract",
    "Experiment": "engine.experiment",
    "ImageData": "data.image_data",
    "Run": "runs.run",
    "Scenario": "scenario.scenario",
    "UserError": "errors",
    "benchmark": "evaluation",
    "evaluate": "evaluation",
    "list_attacks": "listing",
    "list_detectors": "listing",
    "list_perturbations": "listing",
    "list_runs": "runs.run",
    "list_scenarios": "listing",
    "load_detector": "detectors.loading",
    "report": "views.report",
}
_MODULES = ("attacks", "explain", "interop", "perturbations", "plugins", "training")
_OLD = {
    "compare": ("views.compare", "run.compare(other)"),
    "compare_detectors": ("views.compare", "run.compare_detectors()"),
    "gate": ("views.gating.verdict", "run.gate(baseline)"),
    "load_scenario": ("scenario.scenario", "Scenario.from_yaml(file)"),
    "run": ("evaluation", "Scenario.from_yaml(file).run()"),
}
"""Deprecated names, each with its module and its replacement. They are removed in the next release."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _OLD:
        from warnings import warn

        home, new = _OLD[name]
        warn(
            f"robustbench_aigen.{name} is removed in the next release: write {new}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(f"{__name__}.{home}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("robustbench-aigen")
    from robustbench_aigen.errors import did_you_mean

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return [*__all__]
