"""Adversarial robustness of detectors of AI-generated images.

``load_detector``, ``load_scenario``, ``run``, ``compare`` and ``gate`` are what a program needs; the command line does the same. They
are imported when first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.evaluation import run
    from robustbench_aigen.scenario.scenario import load_scenario
    from robustbench_aigen.views.compare import compare, compare_detectors
    from robustbench_aigen.views.gating.verdict import gate

__all__ = ["compare", "compare_detectors", "gate", "load_detector", "load_scenario", "run"]

_HOMES = {
    "compare": "robustbench_aigen.views.compare",
    "compare_detectors": "robustbench_aigen.views.compare",
    "gate": "robustbench_aigen.views.gating.verdict",
    "load_detector": "robustbench_aigen.detectors.loading",
    "load_scenario": "robustbench_aigen.scenario.scenario",
    "run": "robustbench_aigen.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
