"""What a plugin file imports; every name is loaded when it is first used."""

from importlib import import_module
from typing import Any

_HOMES = {
    "AttackChunk": "robustbench_aigen.attacks.task",
    "AttackTask": "robustbench_aigen.attacks.task",
    "Registry": "robustbench_aigen.registry",
    "perturbation": "robustbench_aigen.stages.own_functions",
    "metric": "robustbench_aigen.metrics.metric",
    "attack": "robustbench_aigen.stages.own_functions",
    "load_plugin": "robustbench_aigen.registry",
}
"""The module of each name. A decorator is one line here, beside the registry that it fills."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
