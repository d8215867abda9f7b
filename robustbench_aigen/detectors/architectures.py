"""Untrained networks by the name of their architecture: the zoo's, timm's and torchvision's."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from torch import nn

from robustbench_aigen.detectors.zoo import (
    architecture_names,
    build_architecture,
    default_input_size,
    published_preprocessing,
)
from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.imports import import_library
from robustbench_aigen.scenario.detector_spec import Resample

TIMM, TORCHVISION = "timm:", "torchvision:"


class Untrained(NamedTuple):
    """A network, what its architecture says of its preprocessing, and the packages that compute it.

    ``assumed`` are those of the preprocessing's settings that belong to the library's own weights: other
    may have been trained otherwise.
    """

    network: nn.Module
    metadata: Mapping[str, Any]
    libraries: tuple[str, ...]
    assumed: frozenset[str] = frozenset()


def build_untrained(
    arch: str, outputs: int, options: Mapping[str, Any], input_size: tuple[int, int] | None
) -> Untrained:
    """Build an untrained network with one or two outputs.

    Parameters
    ----------
    arch
        A name of the zoo, ``timm:NAME``, ``torchvision:NAME``, or one of torchvision that the zoo does not have.
    outputs
        Number of outputs; networks of the zoo have two.
    options
        Further arguments of the architecture.
    input_size
        Declared height and width, for architectures that are built for one.

    Raises
    ------
    UserError
        If there is no such architecture or it does not take an option.
    """
    if arch.startswith(TIMM):
        return _timm(arch.removeprefix(TIMM), outputs, options, input_size)
    name = arch.removeprefix(TORCHVISION)
    if name == arch and arch in architecture_names():
        size = default_input_size(arch)
        metadata: dict[str, Any] = {"outputs": "logits"} | ({"input_size": size} if size else {})
        metadata |= published_preprocessing(arch)
        return Untrained(build_architecture(arch, **options), metadata, (), frozenset(metadata) - {"outputs"})
    return _torchvision(arch, name, outputs, options)


def known_architectures() -> list[str]:
    """Return the names that :func:`build_untrained` takes, timm's left out: there are a thousand."""
    return sorted({*architecture_names(), *_torchvision_names()})


def torchvision_architectures() -> list[str]:
    """Return the names of torchvision's classifiers, as ``torchvision:NAME``."""
    return [TORCHVISION + name for name in _torchvision_names()]


def check_architecture(arch: str) -> None:
    """Raise UserError unless there is an architecture of that name. Nothing is built."""
    if arch.startswith(TIMM):
        timm = import_library("timm", extra="timm", what=f"architecture '{arch}'")
        name = arch.removeprefix(TIMM)
        if not timm.is_model(name.partition(".")[0]):
            raise _unknown_timm(name)
    # torchvision comes last, because its import takes as long as the import of torch.
    elif arch not in architecture_names() and arch.removeprefix(TORCHVISION) not in known_architectures():
        raise _unknown(arch)


def _unknown(arch: str) -> UserError:
    near = did_you_mean(arch.removeprefix(TORCHVISION), known_architectures())
    if near.startswith("known"):
        near = f"one of {', '.join(architecture_names())}, a name of torchvision, or timm:NAME"
    return UserError(f"unknown architecture '{arch}'", hint=near)


def _unknown_timm(name: str) -> UserError:
    timm = import_library("timm", extra="timm", what=f"timm:{name}")
    near = did_you_mean(name, timm.list_models())
    hint = near if not near.startswith("known") else "timm.list_models() names them"
    return UserError(f"timm has no model '{name}'", hint=hint)


def _timm(
    name: str, outputs: int, options: Mapping[str, Any], input_size: tuple[int, int] | None
) -> Untrained:
    timm = import_library("timm", extra="timm", what=f"architecture 'timm:{name}'")
    check_architecture(TIMM + name)
    wanted = {"img_size": input_size} if input_size is not None else {}
    try:
        try:
            network = timm.create_model(name, pretrained=False, num_classes=outputs, **wanted, **options)
        except TypeError:
            # Convolutional networks take any size and have no such argument.
            network = timm.create_model(name, pretrained=False, num_classes=outputs, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"timm cannot build '{name}': {first_line(error)}") from error
    metadata = timm_preprocessing(network)
    return Untrained(network, metadata, ("timm",), frozenset(metadata) - {"outputs"})


def timm_preprocessing(network: Any) -> dict[str, Any]:
    """Return the preprocessing that timm's configuration of a network says."""
    data = import_library("timm.data", extra="timm", what="timm")
    config = data.resolve_model_data_config(network)
    _, height, width = config["input_size"]
    said = {
        "input_size": (height, width),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "resample": config["interpolation"] if config["interpolation"] in get_args(Resample) else "bicubic",
        "eight_bit": True,
        "outputs": "logits",
    }  # fmt: skip
    larger = int(height / config["crop_pct"]), int(width / config["crop_pct"])
    if config["crop_mode"] == "squash" or height != width:
        return said | {"resize_to": larger}
    return said | {"resize_to": larger[0]}


def _torchvision_names() -> list[str]:
    import torchvision

    return [str(name) for name in torchvision.models.list_models(module=torchvision.models)]


def _torchvision(arch: str, name: str, outputs: int, options: Mapping[str, Any]) -> Untrained:
    import torchvision

    if name not in _torchvision_names():
        raise _unknown(arch)
    # Two of them have auxiliary outputs, whose weights a checkpoint may lack and a verdict does not need.
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    try:
        network = torchvision.models.get_model(name, weights=None, num_classes=outputs, **extra, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"architecture '{arch}' does not take these options: {first_line(error)}") from error
    metadata = torchvision_preprocessing(name)
    return Untrained(network, {**metadata, "outputs": "logits"}, ("torchvision",), frozenset(metadata))


def torchvision_preprocessing(name: str) -> dict[str, Any]:
    """Return the preprocessing of torchvision's own default weights of an architecture: resize, crop, normalise."""
    import torchvision

    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    (shorter,), (side,) = preset.resize_size, preset.crop_size
    return {
        "input_size": (side, side),
        # Also where both are one number: the shorter side is resized to it, and the rest is cropped.
        "resize_to": shorter,
        "resample": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "eight_bit": True,
    }
