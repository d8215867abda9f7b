"""What a plugin file imports; every name is loaded when it is first used."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Registry": "robustbench_aigen.registry",
    "metric": "robustbench_aigen.metrics.metric",
    "check": "robustbench_aigen.trust.check",
    "DetectorCheck": "robustbench_aigen.trust.check",
    "Measurement": "robustbench_aigen.trust.flags",
    "NextAttack": "robustbench_aigen.trust.sequential",
    "ProbeImages": "robustbench_aigen.trust.probe_images",
    "table": "robustbench_aigen.views.table",
    "Table": "robustbench_aigen.views.table",
    "Column": "robustbench_aigen.views.table",
    "TableCell": "robustbench_aigen.views.table",
    "figure": "robustbench_aigen.views.figure",
    "Figure": "robustbench_aigen.views.figure",
    "load_plugin": "robustbench_aigen.registry",
}
"""The module of each name. A decorator is one line here, beside the registry that it fills."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
