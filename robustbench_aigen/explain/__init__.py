"""Explanations of detectors: maps of pixels, what an attack changed, traces of generators.

``explain.maps(detector, images)`` returns arrays; the command ``robust-aigen explain`` draws them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen.explain.fallen import first_fallen, image_properties
    from robustbench_aigen.explain.fingerprinting import fingerprints
    from robustbench_aigen.explain.input_gradient import gradient_distribution
    from robustbench_aigen.explain.mapping import maps
    from robustbench_aigen.explain.mistakes import worst_mistakes
    from robustbench_aigen.explain.perturbations import change_of
    from robustbench_aigen.explain.sanity_checks import sanity
    from robustbench_aigen.explain.weights import activations, filters

__all__ = [
    "activations", "change_of", "filters", "fingerprints", "first_fallen", "gradient_distribution", "image_properties", "maps",
    "sanity", "worst_mistakes",
]  # fmt: skip

_HOMES = {
    "activations": "weights",
    "change_of": "perturbations",
    "filters": "weights",
    "fingerprints": "fingerprinting",
    "first_fallen": "fallen",
    "image_properties": "fallen",
    "gradient_distribution": "input_gradient",
    "maps": "mapping",
    "sanity": "sanity_checks",
    "worst_mistakes": "mistakes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]
