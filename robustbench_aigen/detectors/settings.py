"""The arguments of a detector that is made of a module in memory: checked, in the words of a scenario."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from robustbench_aigen.detectors.preprocessing_settings import (
    WHOLE,
    PreprocessingSettings,
    check_geometry,
    check_whole,
)
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import PreprocessingSpec


def checked_module(module: object) -> str:
    """Return the name of a module's class.

    Raises
    ------
    UserError
        If it is not a module of torch.
    """
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise UserError(
            f"{module.__name__} is a class, not a module", hint=f"write Detector({module.__name__}())"
        )
    if not isinstance(module, nn.Module):
        raise UserError(
            f"a detector is made of a torch.nn.Module, not of {type(module).__name__}",
            hint="load_detector opens ids and files; a function goes into the forward method of a module",
        )
    return type(module).__name__


def checked_settings(given: Mapping[str, object]) -> dict[str, Any]:
    """Return settings of a preprocessing as a scenario would read them.

    Raises
    ------
    UserError
        For the first that has no such value.
    """
    plain = {key: _plain(value) for key, value in given.items()}
    for key, value in plain.items():
        if value is None and key not in ("input_size", "resize_to", "crop", "stride", "pad"):
            raise UserError(f"{key}=None is not a value; leave {key} out for the default")
    read = validated_values(PreprocessingSpec, plain, "a preprocessing")
    settings = {key: getattr(read, key) for key in given}
    if settings["crop"] == "none":
        check_whole(settings)
        settings |= WHOLE
    check_geometry(PreprocessingSettings(**settings))
    if settings["resize_to"] is not None and settings["input_size"] is None:
        raise UserError(
            "resize_to needs input_size, the size of the centre crop after the resize",
            hint="add input_size=(height, width), or give only input_size",
        )
    return settings


def checked_word(value: object, what: str) -> str:
    """Return a name, empty where None is given.

    Raises
    ------
    UserError
        If it is not a text with something in it.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} must be a text that is not empty, not {value!r}")
    return value


def _plain(value: object) -> object:
    """Return numbers and lists for arrays and tensors, torch.Size among them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
