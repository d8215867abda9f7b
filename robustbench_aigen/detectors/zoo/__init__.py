"""Architectures, one per module.

The module's name is the architecture's; ``build`` makes the network, ``INPUT_SIZE`` is the height and width it wants
(None: any), and ``NORMALISATION`` what it is trained with unless a card declares another normalisation. An option ``weights`` of
``build`` says what a backbone starts from: ``none`` (the default), ``imagenet``, or a file. An architecture that others
published also has ``PREPROCESSING``: the settings, besides size and normalisation, that its authors' weights need.
``options_of_weights`` is there if weights decide an option of ``build`` that their names and shapes leave open.

Every network takes **normalised** N×3×H×W float32 input and returns N×2 logits (real, fake). Resize and
normalisation belong to :class:`robustbench_aigen.detectors.contract.Detector`, which wraps it.
"""

from importlib import import_module
from inspect import Parameter, signature
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

from robustbench_aigen.detectors.normalisation import Normalisation
from robustbench_aigen.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def architecture_names() -> list[str]:
    """Return the names that :func:`build_architecture` takes, sorted."""
    return sorted(module.name for module in iter_modules(__path__))


def default_input_size(name: str) -> tuple[int, int] | None:
    """Return the default height and width of an architecture; None if any size works."""
    size: tuple[int, int] | None = _module(name).INPUT_SIZE
    return size


def default_normalisation(name: str) -> Normalisation:
    """Return the mean and standard deviation per channel that an architecture is trained with."""
    normalisation: Normalisation = _module(name).NORMALISATION
    return normalisation


def published_preprocessing(name: str) -> dict[str, Any]:
    """Return the preprocessing that the authors' weights of a published architecture need; empty for all others."""
    module = _module(name)
    if not hasattr(module, "PREPROCESSING"):
        return {}
    size = {} if module.INPUT_SIZE is None else {"input_size": module.INPUT_SIZE}
    return {**size, **module.NORMALISATION._asdict(), **module.PREPROCESSING}


def architecture_options(name: str) -> dict[str, Parameter]:
    """Return the options that an architecture's ``build`` takes, with their defaults."""
    return dict(signature(_module(name).build).parameters)


def options_of_weights(name: str, weights: "Mapping[str, Tensor]") -> dict[str, Any]:
    """Return the options of ``build`` that the values of an architecture's weights decide; empty for most."""
    found = getattr(_module(name), "options_of_weights", None)
    return {} if found is None else dict(found(weights))


def build_architecture(name: str, **options: object) -> "nn.Module":
    """Build an untrained network.

    Parameters
    ----------
    name
        One of :func:`architecture_names`.
    options
        Keyword arguments of that architecture's ``build``, for example ``input_size``.

    Raises
    ------
    UserError
        If the name is unknown or the architecture does not take an option.
    """
    module = _module(name)
    try:
        network: nn.Module = module.build(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"architecture '{name}' does not take these options: {error}") from error
    return network


def _module(name: str) -> ModuleType:
    known = architecture_names()
    if name not in known:
        raise UserError(f"unknown architecture '{name}'", hint=did_you_mean(name, known))
    return import_module(f"{__name__}.{name}")
