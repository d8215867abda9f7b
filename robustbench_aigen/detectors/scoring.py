"""Log-odds of images, the basis of every verdict."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.detectors.description import describe_padding
from robustbench_aigen.detectors.remembering import remembered
from robustbench_aigen.detectors.trial import check_finite, failure, size_hint
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import Notice
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import ImagesLike, names_of, to_levels_list
from robustbench_aigen.numerics.memory import batch_in_reused_memory, is_out_of_memory, within_memory
from robustbench_aigen.numerics.seeding import preserved_global_rng


@torch.no_grad()
def predict(
    detector: nn.Module,
    levels: Tensor | Sequence[Tensor],
    batch_size: int,
    device: torch.device,
    sizes: Tensor | None = None,
) -> Tensor:
    """Return the log-odds of *fake* of uint8 images, in float32, on the 8-bit grid.

    Parameters
    ----------
    detector
        Module from pixels to logits.
    levels
        N×3×H×W uint8, or N images 3×H×W of one size.
    batch_size
        Largest number of images per forward pass.
    device
        The device of the detector.
    sizes
        N×2 heights and widths, where the images are padded to H×W.

    Returns
    -------
    Tensor
        N float32 log-odds on the CPU, in nats.
    """
    return predict_as_laid_out(laid_out(detector), levels, batch_size, device, sizes)


@torch.no_grad()
def predict_as_laid_out(
    module: nn.Module,
    levels: Tensor | Sequence[Tensor],
    batch_size: int,
    device: torch.device,
    sizes: Tensor | None = None,
) -> Tensor:
    """Return the result of :func:`predict` for a module from :func:`laid_out`, which a search reuses at every step."""
    size = batch_in_reused_memory(batch_size, levels[0].numel(), device) if len(levels) else batch_size
    if device.type == "cpu" and len(levels):
        # A forward pass alone wants smaller batches than one with gradients: what fits the cache.
        size = min(size, max(16, _CACHED // levels[0].shape[-1] ** 2))
    parts = [torch.empty(0)]
    for first in range(0, len(levels), size):
        some = levels[first : first + size]
        pixels = to_pixels((some if isinstance(some, Tensor) else torch.stack(list(some))).to(device))
        own = () if sizes is None else (sizes[first : first + size],)
        parts.append(log_odds(module(pixels, *own)).cpu())
    return torch.cat(parts)


def log_odds_of_images(detector: Detector, images: ImagesLike) -> Tensor:
    """Return the log-odds of *fake* for images in memory or files, as :meth:`Detector.scores` says.

    Raises
    ------
    UserError
        As :meth:`Detector.scores` does.
    """
    levels, names = to_levels_list(images), names_of(images)
    result = torch.empty(len(levels))
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for row, image in enumerate(levels):
        groups[image.shape].append(row)
    if levels:
        known = detector.assumptions
        detector.see(levels[0].shape[1], levels[0].shape[2])
        for told in detector.assumptions:
            if told not in known and Notice(told).is_warning:
                warnings.warn(f"{detector.name}: {Notice(told).text}", stacklevel=_CALLER)
        for notice in describe_padding(detector, [(image.shape[1], image.shape[2]) for image in levels]):
            warnings.warn(f"{notice.subject}: {notice.text}", stacklevel=_CALLER)
    with borrowed(detector), preserved_global_rng():
        for (_, height, width), rows in groups.items():
            try:
                score = partial(predict, detector, [levels[row] for row in rows], device=detector.device)
                size = default_batch_size(detector, detector.device)
                result[rows], _ = within_memory(score, size, detector.name)
            except UserError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise failure(
                    detector,
                    error,
                    height,
                    width,
                    hint=size_hint(detector, height, width),
                    image=names[rows[0]],
                ) from error
    check_finite(detector, result, names)
    return result


def default_batch_size(detector: Detector, device: torch.device) -> int:
    """Return images per batch, from the input size alone, so that a cell's identity is the same everywhere.

    128 images of 32 pixels a side and down to 16 of 224 on a CPU, where larger batches exceed the cache; eight
    times as many on a GPU.
    """
    height, width = detector.preprocessing.input_size or (224, 224)
    fitting = 2**17 // (height * width)
    size = min(128, max(16, 1 << max(fitting, 1).bit_length() - 1))
    return size * 8 if device.type == "cuda" else size


_CALLER = 4
"""Levels of the call stack up to the user's line that calls :meth:`Detector.scores`."""
_CACHED = 2**16
"""Pixels of a channel in a batch: 64 images of 32 pixels a side."""


def laid_out(detector: nn.Module) -> nn.Module:
    """Return a copy whose convolutions run on channels-last tensors: the same sums, up to 1.5 times as fast.

    Every call checks all weights, and copies again if they have changed. A network that fixes its strides or cannot be
    copied is returned unchanged; so is a module that is not a :class:`Detector`.
    """
    if not isinstance(detector, Detector) or not detector.differentiable:
        return detector
    return remembered(detector, "laid out", lambda: _copied_laid_out(detector))


def _copied_laid_out(detector: Detector) -> Detector:
    kept = {id(p): p for p in (*detector.parameters(), *detector.buffers()) if p.dim() != 4}
    probes = detector.probes()
    try:
        # Copies of some libraries' layers draw random numbers.
        with torch.no_grad(), preserved_global_rng(), borrowed(detector):
            changed = deepcopy(detector, kept).to(memory_format=torch.channels_last)
            changed.borrows = False
            same = torch.allclose(changed(probes), detector(probes), rtol=1e-4, atol=1e-4)
    except Exception:  # noqa: BLE001  Copying and layouts fail in as many ways as there are libraries.
        return detector
    return changed if same else detector
