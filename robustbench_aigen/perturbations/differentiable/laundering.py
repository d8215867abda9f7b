"""Laundering: the round trip through an autoencoder itself, which is a network."""

from torch import Tensor

from robustbench_aigen.perturbations.differentiable.rounding import on_8_bits
from robustbench_aigen.perturbations.diffusion_models import load_autoencoder, tiled
from robustbench_aigen.perturbations.laundering import to_multiple


def vae_round_trip(pixels: Tensor, *, model: str, passes: int, device: str) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.laundering.vae_round_trip`: N×3×H×W pixels.

    The autoencoder computes on the device of the pixels, whole pictures of any size. AutoencoderTiny computes without
    the rounding of its latents, which has no gradient.
    """
    del device
    autoencoder = load_autoencoder(model, pixels.device.type)
    network, (height, width) = autoencoder.network, pixels.shape[2:]
    with autoencoder.lock:
        tiled(network, autoencoder.factor, whole=True)
        for number in range(passes):
            pixels = on_8_bits(pixels) if number else pixels
            encoded = network.encode(2 * to_multiple(pixels, autoencoder.factor) - 1)
            latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
            decoded: Tensor = network.decode(latents).sample
            pixels = ((decoded + 1) / 2)[..., :height, :width].clamp(0, 1)
    return pixels
