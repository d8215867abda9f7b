"""Keras models (``.keras``, ``.h5``), computed by torch: differentiable."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.formats.hashing import file_hash
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import ChannelsLastInput, PaddedBatch
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library


def load_keras(request: Request) -> Loaded:
    """Load a Keras model with the torch backend.

    A final sigmoid or softmax is taken off: behind a saturated one there are no gradients.

    Raises
    ------
    UserError
        If Keras runs on another backend, the file is damaged, or it has parts that can run code and is not trusted.
    """
    keras = keras_on_torch(f"'{request.place}'")
    culprits = sorted(set(_parts_with_code(_configuration(request.path))))
    if culprits:
        request.need_trust(f"a Keras model with {', '.join(culprits[:3])}", "save it without")
    try:
        with keras.device(_keras_device(request.device)):
            model = keras.saving.load_model(request.path, compile=False, safe_mode=not request.trust_code)
    except Exception as error:  # h5py, zip, JSON and its own errors; each means the same here.
        raise UserError(f"cannot be read by Keras: {first_line(error)}", file=request.path) from error
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UserError(f"takes input of shape {shape}; a detector takes one image tensor", file=request.path)
    is_channels_last = shape[3] == 3
    sides = shape[1:3] if is_channels_last else shape[2:]
    metadata: dict[str, Any] = {} if None in sides else {"input_size": tuple(sides)}
    known = [side or 64 for side in shape[1:]]
    with keras.device(_keras_device(request.device)):
        probe = torch.rand([shape[0] or 2, *known], device=request.device)
        outputs = _without_activation(keras, model, probe)
    if outputs is not None:
        metadata["outputs"] = outputs
    network: nn.Module = _Model(keras, model)
    if is_channels_last:
        network = ChannelsLastInput(network)
    if shape[0] is not None:
        network = PaddedBatch(network, shape[0], shape[0])
    return Loaded(network, f"Keras {model.name}", file_hash(request.path), metadata, libraries=("keras",))


class _Model(nn.Module):
    """A Keras model, in inference, on the device of its input."""

    def __init__(self, keras: Any, model: Any) -> None:
        super().__init__()
        self.keras_device, self.model = keras.device, model

    def forward(self, images: Tensor) -> Any:
        with self.keras_device(_keras_device(images.device)):
            return self.model(images, training=False)


def _keras_device(device: torch.device) -> str:
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


def keras_on_torch(what: str) -> Any:
    """Import Keras with its torch backend, for ``what``.

    Raises
    ------
    UserError
        If it is not installed, or already runs on another backend.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    keras = import_library("keras", extra="keras", what=what)
    if keras.backend.backend() != "torch":
        raise UserError(
            f"Keras is already running on {keras.backend.backend()} in this process",
            hint="set KERAS_BACKEND=torch before it is imported",
        )
    return keras


def _configuration(file: Path) -> object:
    """Return a model's configuration without building anything."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(file) as archive:
            return json.loads(archive.attrs["model_config"])
    except (KeyError, ValueError, OSError) as error:
        hint = "save the whole model with model.save(FILE)"
        raise UserError(f"is no Keras model: {first_line(error)}", file=file, hint=hint) from error


def _parts_with_code(configuration: object) -> Iterator[str]:
    """Yield the parts of a configuration that are code or come from outside Keras."""
    if isinstance(configuration, dict):
        name, module = configuration.get("class_name"), configuration.get("module")
        if name in ("Lambda", "__lambda__", "TorchModuleWrapper"):
            yield f"a {str(name).strip('_').capitalize()} layer"
        elif isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
            yield f"{module}.{name}"
        for value in configuration.values():
            yield from _parts_with_code(value)
    elif isinstance(configuration, list):
        for value in configuration:
            yield from _parts_with_code(value)


def _without_activation(keras: Any, model: Any, probe: Tensor) -> str | None:
    """Take the last layer's sigmoid or softmax off; return what the outputs now are, None where that is unknown.

    That it was the last one is seen by putting it back on the outputs.
    """
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    name = getattr(activation, "__name__", "")
    if (
        activation is None
        or not isinstance(last, keras.layers.Dense)
        or name not in ("sigmoid", "softmax", "linear")
    ):
        return None
    with torch.no_grad():
        before = model(probe, training=False)
        last.activation = keras.activations.linear
        after = activation(model(probe, training=False))
    if torch.allclose(before, after, atol=1e-5):
        return "logits"
    last.activation = activation
    return None
