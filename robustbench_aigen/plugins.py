"""Names for plugin files; each name is loaded on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "attack": "robustbench_aigen.stages.own_functions",
    "AttackChunk": "robustbench_aigen.attacks.task",
    "AttackTask": "robustbench_aigen.attacks.task",
    "check": "robustbench_aigen.trust.check",
    "Column": "robustbench_aigen.views.table",
    "detector_format": "robustbench_aigen.detectors.format",
    "DetectorCheck": "robustbench_aigen.trust.check",
    "Figure": "robustbench_aigen.views.figure",
    "figure": "robustbench_aigen.views.figure",
    "layout": "robustbench_aigen.data.layout",
    "load_plugin": "robustbench_aigen.registry",
    "Loaded": "robustbench_aigen.detectors.formats.request",
    "Measurement": "robustbench_aigen.trust.flags",
    "metric": "robustbench_aigen.metrics.metric",
    "NextAttack": "robustbench_aigen.trust.sequential",
    "perturbation": "robustbench_aigen.stages.own_functions",
    "ProbeImages": "robustbench_aigen.trust.probe_images",
    "Registry": "robustbench_aigen.registry",
    "Sample": "robustbench_aigen.data.samples",
    "table": "robustbench_aigen.views.table",
    "Table": "robustbench_aigen.views.table",
    "TableCell": "robustbench_aigen.views.table",
}
"""The module of each name. A decorator is one line here, beside the registry that it fills."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
