"""Training of the zoo's detectors, fine-tuning, and comparison of detectors trained on different generators.

``training.train``, ``training.finetune`` and ``training.cross_generator`` are the functions behind the commands of the
same names.
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
