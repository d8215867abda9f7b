"""Adversarial robustness of detectors of AI-generated images.

``load_detector``, ``load_scenario``, ``run``, ``compare`` and ``gate`` are what a program needs; the command line does the same. They
are imported when first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.engine.runner import run
    from robustbench_aigen.gating.comparison import compare, compare_detectors
    from robustbench_aigen.gating.verdict import gate
    from robustbench_aigen.scenario.schema import load_scenario

__all__ = ["compare", "compare_detectors", "gate", "load_detector", "load_scenario", "run"]

_HOMES = {
    "compare": "robustbench_aigen.gating.comparison",
    "compare_detectors": "robustbench_aigen.gating.comparison",
    "gate": "robustbench_aigen.gating.verdict",
    "load_detector": "robustbench_aigen.detectors.loading",
    "load_scenario": "robustbench_aigen.scenario.schema",
    "run": "robustbench_aigen.engine.runner",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
