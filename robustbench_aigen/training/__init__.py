"""Trains the detectors of the zoo, fine-tunes detectors, and compares detectors of different generators.

``training.train``, ``training.finetune`` and ``training.cross_generator`` are what the commands of these names call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_aigen.training.interface import cross_generator, finetune, train

__all__ = ["cross_generator", "finetune", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from robustbench_aigen.training import interface

    return getattr(interface, name)


def __dir__() -> list[str]:
    return [*__all__]
