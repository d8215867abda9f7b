"""Laundering: pictures through an autoencoder and back, and through some steps of a diffusion model.

Each picture is computed alone, so that its result does not depend on the batch. Its height and width are continued by
reflection to multiples of the model's factor, and cut back.
"""

import copy
import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.diffusion_models import (
    Diffusion,
    load_autoencoder,
    load_diffusion,
    tiled,
)

_WHOLE = 1024
"""Longest side of a picture that an autoencoder computes whole; larger pictures go through in tiles."""


def vae_round_trip(levels: Tensor, *, model: str, passes: int, device: str) -> Tensor:
    """Encode pictures by an autoencoder and decode them; the latents are the mean of the posterior.

    Mandelli et al. 2024, When Synthetic Traces Hide Real Content, section II.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    model
        Folder of an autoencoder of diffusers, or its name on the hub.
    passes
        Number of round trips, with rounding to 8 bits after each.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    UserError
        If the model cannot be loaded, or does not return finite pixels.
    """
    autoencoder = load_autoencoder(model, device)
    done = []
    for image in levels:
        changed = image[None]
        for _ in range(passes):
            with torch.no_grad(), torch.autocast(device, enabled=False), autoencoder.lock:
                padded = to_multiple(to_pixels(changed.to(device)), autoencoder.factor)
                tiled(autoencoder.network, autoencoder.factor, max(padded.shape[2:]) <= _WHOLE)
                pixels = (autoencoder.network(2 * padded - 1).sample + 1) / 2
            changed = _levels_of(pixels, image.shape, model)
        done.append(changed)
    return torch.cat(done)


def check_vae(*, model: str, passes: int, device: str) -> None:
    """Raise UserError if :func:`vae_round_trip` cannot run with these parameters."""
    del passes
    load_autoencoder(model, device)


def diffusion_round_trip(
    levels: Tensor, streams: SampleStreams, *, model: str, strength: float, steps: int, device: str
) -> Tensor:
    """Add noise to pictures and denoise them by a diffusion model.

    SDEdit, Meng et al. 2022, section 3.1, with the schedule of diffusers' image-to-image pipelines: the model takes the
    last ``int(steps · strength)`` of ``steps`` steps. A model that reads a prompt gets the empty prompt without guidance.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image; it seeds the generator of all noise of the image.
    model
        Folder of a diffusers pipeline, or its name on the hub.
    strength
        Share of the schedule, in (0, 1].
    steps
        Number of steps of the whole schedule.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    UserError
        If the model cannot be loaded, does not return finite pixels, or no step is within the strength.
    """
    _check_steps(strength, steps)
    diffusion = load_diffusion(model, device)
    done = []
    for row, image in enumerate(levels):
        generator = torch.Generator().manual_seed(int(streams.generator(row).integers(2**63)))
        with torch.no_grad(), torch.autocast(device, enabled=False), diffusion.lock:
            padded = to_multiple(to_pixels(image[None].to(device)), diffusion.factor)
            pixels = _denoised(diffusion, padded, generator, strength, steps)
        done.append(_levels_of(pixels, image.shape, model))
    return torch.cat(done)


def check_diffusion(*, model: str, strength: float, steps: int, device: str) -> None:
    """Raise UserError if :func:`diffusion_round_trip` cannot run with these parameters."""
    _check_steps(strength, steps)
    load_diffusion(model, device)


def _check_steps(strength: float, steps: int) -> None:
    if int(steps * strength) < 1:
        raise UserError(
            f"strength {strength:g} of {steps} steps is less than one step",
            hint=f"write strength: {1 / steps:.3g} or more, or more steps",
        )


def _denoised(
    diffusion: Diffusion, pixels: Tensor, generator: torch.Generator, strength: float, steps: int
) -> Tensor:
    """Return 1×3×H×W pixels for pixels in [0, 1]."""
    if diffusion.autoencoder is not None:
        factor = diffusion.factor
        tiled(diffusion.autoencoder, factor, max(pixels.shape[2:]) <= _WHOLE)
    if diffusion.pipeline is None:
        return (_unconditional(diffusion, 2 * pixels - 1, generator, strength, steps) + 1) / 2
    given = {
        "prompt": "", "image": pixels, "strength": strength, "num_inference_steps": steps,
        "height": pixels.shape[2], "width": pixels.shape[3],
        "guidance_scale": 1.0, "generator": generator, "output_type": "pt",
    }  # fmt: skip
    read = inspect.signature(diffusion.pipeline.__call__).parameters
    made: Tensor = diffusion.pipeline(**{name: value for name, value in given.items() if name in read}).images
    return made


def _unconditional(
    diffusion: Diffusion, pixels: Tensor, generator: torch.Generator, strength: float, steps: int
) -> Tensor:
    """Return 1×3×H×W pixels in [−1, 1] for such pixels, by an unconditional model."""
    vae, scale = diffusion.autoencoder, 1.0
    state = pixels
    if vae is not None:
        scale = float(getattr(vae.config, "scaling_factor", None) or 1)
        encoded = vae.encode(pixels)
        state = scale * (encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents)
    scheduler = copy.deepcopy(diffusion.scheduler)
    scheduler.set_timesteps(steps)
    first = (steps - int(steps * strength)) * scheduler.order
    times = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    noise = torch.randn(state.shape, generator=generator).to(state)
    state = scheduler.add_noise(state, noise, times[:1])
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    drawn: dict[str, Any] = {"generator": generator} if takes_generator else {}
    for time in times:
        predicted = diffusion.unet(scheduler.scale_model_input(state, time), time).sample
        state = scheduler.step(predicted, time, state, **drawn).prev_sample
    return state if vae is None else vae.decode(state / scale).sample


def to_multiple(pixels: Tensor, factor: int) -> Tensor:
    """Continue N×3×H×W pixels at the bottom and on the right, by reflection, to multiples of a factor."""
    for axis in (2, 3):
        side = pixels.shape[axis]
        places = np.pad(np.arange(side), (0, -side % factor), mode="symmetric")
        if len(places) > side:
            pixels = pixels.index_select(axis, torch.from_numpy(places).to(pixels.device))
    return pixels


def _levels_of(pixels: Tensor, shape: torch.Size, model: str) -> Tensor:
    """Return 1×3×H×W uint8 levels on the CPU, of the given 3×H×W, for pixels of at least this size."""
    kept = pixels[..., : shape[-2], : shape[-1]].float().cpu()
    if not kept.isfinite().all():
        raise UserError(f"model '{model}' returned pixels that are not finite", hint="give another model")
    return to_levels(kept)
