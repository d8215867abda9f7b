"""Autoencoders and diffusion models of the library diffusers, loaded from the folders that the library writes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.imports import import_library
from robustbench_aigen.perturbations.model_files import (
    EXTRA,
    Signature,
    model_folder,
    settings_of,
    signature_of,
)

AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
"""Autoencoders of single images in diffusers whose ``forward`` is the round trip."""
_LONGEST = 200
"""Characters of an error of a library."""
_SILENT = 50
"""Level of a log without errors, which are raised as well."""
_TILE = 512
"""Pixels a side of the tiles of a large picture; diffusers joins them with an overlap of a quarter."""


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder, and the number of pixels that heights and widths are multiples of.

    The lock is held during a call, because its tiles are a state, and two cells of a run may use one model.
    """

    network: Any
    factor: int
    lock: Any = field(default_factory=Lock, compare=False, repr=False)


@dataclass(frozen=True)
class Diffusion:
    """A diffusion model.

    Parameters
    ----------
    factor
        The number of pixels that heights and widths are multiples of.
    pipeline
        The image-to-image pipeline of a model that reads a prompt; None for an unconditional model.
    unet, scheduler, autoencoder
        The parts of an unconditional model; it works on pixels if there is no autoencoder.
    lock
        Held during a call, because tiles and scheduler are states.
    """

    factor: int
    pipeline: Any = None
    unet: Any = None
    scheduler: Any = None
    autoencoder: Any = None
    lock: Any = field(default_factory=Lock, compare=False, repr=False)


def load_autoencoder(model: str, device: str) -> Autoencoder:
    """Return the autoencoder of a folder, on a device; a second call returns the same object until a file changes.

    Raises
    ------
    UserError
        If diffusers or the device is missing, or the folder has no autoencoder of three channels with its weights.
    """
    library, folder = _library(model), model_folder(model)
    _check_device(device)
    return _autoencoder(library, model, folder, signature_of(folder), device)


def load_diffusion(model: str, device: str) -> Diffusion:
    """Return the diffusion model of a folder, on a device; a second call returns the same object until a file changes.

    Raises
    ------
    UserError
        If a library or the device is missing, or the folder has no diffusion model that starts from a picture.
    """
    library, folder = _library(model), model_folder(model)
    _check_device(device)
    return _diffusion(library, model, folder, signature_of(folder), device)


def _library(model: str) -> Any:
    return import_library("diffusers", extra=EXTRA, what=f"model '{model}'")


def _check_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, and torch finds no GPU", hint="write device: cpu")


@lru_cache(maxsize=2)
def _autoencoder(library: Any, model: str, folder: Path, signature: Signature, device: str) -> Autoencoder:
    del signature
    settings = settings_of(folder, "config.json")
    if settings is None:
        inside = next((name for name in ("vae", "vqvae") if (folder / name).is_dir()), None)
        hint = f"give its autoencoder: {model}/{inside}" if inside else "give the folder of an autoencoder"
        raise UserError(f"model '{model}' has no config.json", hint=hint)
    return Autoencoder(
        _checked_autoencoder(library, model, folder, settings).to(device), _vae_factor(settings)
    )


def _checked_autoencoder(library: Any, model: str, folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    name = settings.get("_class_name")
    if name not in AUTOENCODERS:
        raise UserError(
            f"model '{model}' is a {name or 'model without _class_name'}, no autoencoder of images",
            hint=f"give one of {', '.join(AUTOENCODERS)}",
        )
    _check_channels(model, settings, 3)
    return _component(library, name, model, folder)


@lru_cache(maxsize=2)
def _diffusion(library: Any, model: str, folder: Path, signature: Signature, device: str) -> Diffusion:
    del signature
    unet, index = settings_of(folder / "unet", "config.json"), settings_of(folder, "model_index.json")
    if unet is not None and unet.get("_class_name") == "UNet2DModel":
        return _unconditional(library, model, folder, unet, device)
    if index is None:
        raise UserError(
            f"model '{model}' has neither model_index.json nor a UNet2DModel in a folder 'unet'",
            hint="give a folder that save_pretrained of a diffusers pipeline wrote",
        )
    return _image_to_image(library, model, folder, index, device)


def _unconditional(library: Any, model: str, folder: Path, unet: Mapping[str, Any], device: str) -> Diffusion:
    if unet.get("num_class_embeds") or unet.get("class_embed_type"):
        raise UserError(f"model '{model}' needs a class for each picture", hint="give an unconditional model")
    scheduler = settings_of(folder / "scheduler", "scheduler_config.json")
    made = None if scheduler is None else getattr(library, str(scheduler.get("_class_name")), None)
    if made is None:
        raise UserError(f"model '{model}' has no scheduler of diffusers in a folder 'scheduler'")
    if not hasattr(made, "add_noise"):
        raise UserError(
            f"model '{model}': {made.__name__} cannot start from a picture", hint="save a DDIMScheduler"
        )
    vae, channels, factor = None, 3, 2 ** (len(unet["block_out_channels"]) - 1)
    inside = next((name for name in ("vae", "vqvae") if (folder / name).is_dir()), None)
    if inside is not None:
        settings = settings_of(folder / inside, "config.json") or {}
        vae = _checked_autoencoder(library, f"{model}/{inside}", folder / inside, settings).to(device)
        channels, factor = settings["latent_channels"], factor * _vae_factor(settings)
    _check_channels(f"{model}/unet", unet, channels)
    network = _component(library, "UNet2DModel", f"{model}/unet", folder / "unet").to(device)
    return Diffusion(factor, None, network, made.from_config(scheduler), vae)


def _image_to_image(
    library: Any, model: str, folder: Path, index: Mapping[str, Any], device: str
) -> Diffusion:
    encoders = import_library("transformers", extra=EXTRA, what=f"model '{model}', which reads a prompt,")
    parts: dict[str, Any] = {}
    for name, described in index.items():
        settings = settings_of(folder / name, "config.json")
        if isinstance(described, list) and described[0] == "diffusers" and settings is not None:
            # With a check that a pipeline does not make: weights that are missing are drawn at random.
            parts[name] = _component(library, described[1], f"{model}/{name}", folder / name)
    if "safety_checker" in index:
        # It would return black pictures.
        parts |= {"safety_checker": None, "requires_safety_checker": False}
    vae, unet = (settings_of(folder / name, "config.json") or {} for name in ("vae", "unet"))
    if "in_channels" not in vae:
        raise UserError(f"model '{model}' has no autoencoder in a folder 'vae'")
    _check_channels(f"{model}/vae", vae, 3)
    with _loading(model), _quiet(library), _quiet(encoders):
        pipeline = library.AutoPipelineForImage2Image.from_pretrained(
            str(folder), **parts, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        ).to(device, torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    # Denoisers without a UNet read patches of two latents a side.
    inner = 2 ** (len(unet["block_out_channels"]) - 1) if "block_out_channels" in unet else 2
    return Diffusion(_vae_factor(vae) * inner, pipeline, autoencoder=pipeline.vae)


def _component(library: Any, name: str, model: str, folder: Path) -> Any:
    """Load a network in float32 without gradients, and refuse weights of another network."""
    with _loading(model), _quiet(library):
        network, found = getattr(library, name).from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False,
            output_loading_info=True,
        )  # fmt: skip
    for what in ("missing", "unexpected", "mismatched"):
        if names := found[f"{what}_keys"]:
            raise UserError(
                f"the weights of model '{model}' are not those of its config.json: {len(names)} {what}, "
                f"for example {min(map(str, names))}",
                hint="save the model again with save_pretrained",
            )
    return network.float().eval().requires_grad_(False)


@contextmanager
def _loading(model: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Errors of diffusers, safetensors, torch and transformers.
        raise UserError(
            f"model '{model}' cannot be loaded: {shortened(' '.join(str(error).split()), _LONGEST)}",
            hint="save the model again with save_pretrained, which writes safetensors",
        ) from error


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep progress bars and logs of diffusers or transformers out of the terminal inside a block."""
    logging = library.utils.logging
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(_SILENT)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


def _vae_factor(settings: Mapping[str, Any]) -> int:
    widths = settings.get("block_out_channels") or settings.get("encoder_block_out_channels") or (1,)
    return 2 ** (len(widths) - 1)


def _check_channels(model: str, settings: Mapping[str, Any], wanted: int) -> None:
    channels = settings.get("in_channels"), settings.get("out_channels")
    if channels != (wanted, wanted):
        raise UserError(
            f"model '{model}' has {channels[0]} channels in and {channels[1]} out; needed are {wanted} and {wanted}",
            hint="give a model of RGB pictures without a learned variance",
        )


def tiled(network: Any, factor: int, whole: bool) -> None:
    """Let an autoencoder compute a picture whole or in tiles; a VQModel has no tiles."""
    if not hasattr(network, "use_tiling"):
        return
    network.use_tiling = not whole
    network.tile_sample_min_size, network.tile_latent_min_size = _TILE, max(1, _TILE // factor)
