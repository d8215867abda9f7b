"""Keras models (``.keras``, ``.h5``), computed by torch: differentiable."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.archives import LARGEST_TEXT, check_size, check_unpacked_size, is_zip
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import ChannelsLastInput, PaddedBatch
from robustbench_aigen.detectors.identity import file_hash
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
    configuration = keras_configuration(request.path)
    culprits = sorted(set(_parts_with_code(configuration)))
    if culprits:
        request.need_trust(f"a Keras model with {', '.join(culprits[:3])}", "save the model without them")
    try:
        with keras.device(_keras_device(request.device)), _under_its_suffix(request.path) as file:
            model = keras.saving.load_model(file, compile=False, safe_mode=not request.trust_code)
            model, notes = _in_float32(keras, model)
    except Exception as error:  # h5py, zip, JSON and its own errors; each means the same here.
        raise UserError(f"cannot be read by Keras: {first_line(error)}", file=request.path) from error
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UserError(f"takes input of shape {shape}; a detector takes one image tensor", file=request.path)
    is_channels_last = shape[3] == 3
    sides = shape[1:3] if is_channels_last else shape[2:]
    metadata: dict[str, Any] = {} if None in sides else {"input_size": tuple(sides)}
    if _rescales_levels(configuration):
        metadata |= {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
        text = "the network receives levels from 0 to 255, because its Rescaling layer divides the levels (set mean and std to change)"
        notes = (*notes, text)
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
    return Loaded(
        network, f"Keras {model.name}", file_hash(request.path), metadata, notes, libraries=("keras",)
    )


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
            hint="set KERAS_BACKEND=torch before Keras is imported",
        )
    return keras


@contextmanager
def _under_its_suffix(file: Path) -> Iterator[Path]:
    """Return a file with the suffix of its Keras format, through a link if necessary."""
    suffix = ".keras" if is_zip(file) else ".h5"
    if file.suffix == suffix:
        yield file
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(file.resolve())
        yield link


def _in_float32(keras: Any, model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a model that computes in float32, with the weights of one that may do otherwise."""
    text = model.to_json()
    kinds = ("float16", "bfloat16", "float64")
    other = [name for name in kinds if f'"{name}"' in text or f'"mixed_{name}"' in text]
    if not other:
        return model, ()
    for name in ("mixed_float16", "mixed_bfloat16", *other):
        text = text.replace(f'"{name}"', '"float32"')
    same = keras.models.model_from_json(text)
    same.set_weights(model.get_weights())
    return same, (f"made for {' and '.join(other)}, computed in float32",)


def keras_configuration(file: Path) -> object:
    """Return a model's configuration, of the file as Keras will read it, without building anything.

    Raises
    ------
    UserError
        If it is damaged, is two kinds of file at once, or unpacks to far more than its size.
    """
    hint = "save the whole model with model.save(FILE)"
    try:
        if is_zip(file):
            return json.loads(_text_in_archive(file))
        if zipfile.is_zipfile(file):
            # Keras goes by the name and by the end of the file, and would read another model than this.
            raise UserError("is both an HDF5 file and a zip archive, and is refused", file=file)  # noqa: TRY301
        import h5py

        with h5py.File(file) as archive:
            check_size(file, _bytes_of(archive, file))
            return json.loads(archive.attrs["model_config"])
    except RecursionError as error:
        raise UserError("is not a Keras model: the configuration is nested too deep", file=file) from error
    except UserError:
        raise
    except Exception as error:  # Errors of h5py, zip and JSON; each means the same here.
        raise UserError(f"is not a Keras model: {first_line(error)}", file=file, hint=hint) from error


def _text_in_archive(file: Path) -> bytes:
    names = check_unpacked_size(file)
    if len(set(names)) < len(names):
        raise UserError("has two entries with the same name, and is refused", file=file)
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo("config.json").file_size > LARGEST_TEXT:
            raise UserError("has a configuration above the size limit, and is refused", file=file)
        weights = "model.weights.h5"
        if weights in names:
            import h5py

            with archive.open(weights) as stream, h5py.File(stream) as inner:
                check_size(file, _bytes_of(inner, file))
        return archive.read("config.json")


def _bytes_of(archive: Any, file: Path) -> int:
    """Return the memory of the arrays in an HDF5 file in bytes; refuse arrays that are in other files."""
    import h5py

    count = 0

    def add(_: str, entry: Any) -> None:
        nonlocal count
        if isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise UserError("has arrays in other files, and is refused", file=file)
            count += entry.nbytes
        elif any(isinstance(entry.get(name, getlink=True), h5py.ExternalLink) for name in entry):
            raise UserError("has links to other files, and is refused", file=file)

    add("/", archive)
    archive.visititems(add)
    return count


_ENOUGH = 0.05
"""Scale up to which a layer is one that divides levels: 1/255 or 1/127.5."""


def _rescales_levels(configuration: object) -> bool:
    """Whether the first layer of a configuration that multiplies its input expects levels from 0 to 255."""
    first = next(_scales(configuration), None)
    return first is not None and 0 < first <= _ENOUGH


def _scales(configuration: object) -> Iterator[float]:
    if isinstance(configuration, dict):
        inner = configuration.get("config")
        if configuration.get("class_name") == "Rescaling" and isinstance(inner, dict):
            scale = inner.get("scale")
            scale = scale[0] if isinstance(scale, list) and scale else scale
            if isinstance(scale, int | float):
                yield float(scale)
        for value in configuration.values():
            yield from _scales(value)
    elif isinstance(configuration, list):
        for value in configuration:
            yield from _scales(value)


_WITH_CODE = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")


def _parts_with_code(configuration: object) -> Iterator[str]:
    """Yield the parts of a configuration that are code or come from outside Keras."""
    if isinstance(configuration, dict):
        name, module = configuration.get("class_name"), configuration.get("module")
        if name in _WITH_CODE:
            yield f"a {str(name).strip('_').capitalize()} layer"
        elif isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
            yield f"{module}.{name}"
        for value in configuration.values():
            yield from _parts_with_code(value)
    elif isinstance(configuration, list):
        for value in configuration:
            yield from _parts_with_code(value)


def _without_activation(keras: Any, model: Any, probe: Tensor) -> str | None:
    """Remove the sigmoid or softmax of the last layer; return the kind of the outputs then, or None if unknown.

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
