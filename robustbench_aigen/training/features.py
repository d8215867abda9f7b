"""Features of images by a frozen network, computed once and stored by the content of the images."""

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from robustbench_aigen.detectors.identity import network_hash
from robustbench_aigen.detectors.svm import FittedNetwork
from robustbench_aigen.digests import DamagedFileError, with_digest, without_digest
from robustbench_aigen.engine.identity import feature_code
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.files import require_regular, write_atomically, writing
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.training.batches import InOrder, LabelledRows
from robustbench_aigen.training.recipe import Settings

_SAVE_SECONDS = 60.0
"""Seconds between two writes: the largest loss of a killed computation."""


@torch.no_grad()
def features_of(
    network: nn.Module,
    settings: Settings,
    images: LabelledRows,
    cache: Path,
    *,
    name: str,
    device: torch.device,
    progress: Progress,
) -> NDArray[np.float64]:
    """Return N×F features of images, those already stored without a pass of the network.

    Parameters
    ----------
    network
        A network before its fit, on ``device``, in evaluation mode.
    settings
        Normalisation, options of the network and batch size.
    images
        The images at the network's input size.
    cache
        Folder of the stored features. A file belongs to one network, one normalisation, one kind of device and one
        version of the code; in it, features are found by the sha256 of the image's levels.
    name
        Name for the progress.
    device
        The device that computes.
    progress
        Receives the progress of every batch.
    """
    stored = _FeatureFile(cache / f"{_key(network, settings, device)}.features", progress)
    mean, std = (torch.tensor(t, device=device).view(1, 3, 1, 1) for t in (settings.mean, settings.std))
    progress.start(len(images))
    progress.work_on(name, "features")
    rows = []
    for levels, _ in InOrder(images, settings.batch_size):
        digests = [sha256(image.numpy().tobytes()).hexdigest() for image in levels]
        new = [row for row, digest in enumerate(digests) if digest not in stored.features]
        if new:
            pixels = (to_pixels(levels[new].to(device)) - mean) / std
            found = cast(FittedNetwork, network).features(pixels).float().cpu()
            stored.add([digests[row] for row in new], found)
        rows += [stored.features[digest] for digest in digests]
        progress.advance(len(levels))
    stored.write()
    return torch.stack(rows).double().numpy()


def _key(network: nn.Module, settings: Settings, device: torch.device) -> str:
    """Return the hash of everything but the images that decides features."""
    said = [settings.arch, settings.network_options, settings.mean, settings.std, device.type]
    return network_hash(network, json.dumps(said), *feature_code(network))[:32]


class _FeatureFile:
    """Features by the sha256 of the image's levels, in a file that is written every minute."""

    def __init__(self, file: Path, progress: Progress) -> None:
        self.file = file
        self.features: dict[str, Tensor] = {}
        self._saved, self._is_new = time.monotonic(), False
        if not file.exists():
            return
        try:
            require_regular(file)
            self.features = load(without_digest(file.read_bytes()))
        except (DamagedFileError, SafetensorError, OSError) as error:
            progress.notice(f"the stored features in {file} are damaged and computed again: {error}")

    def add(self, digests: list[str], features: Tensor) -> None:
        """Add N×F features."""
        self.features |= zip(digests, features.unbind(), strict=True)
        self._is_new = True
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is new."""
        if not self._is_new:
            return
        with writing("the features of the training"):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            content = save({digest: row.clone() for digest, row in self.features.items()})
            write_atomically(self.file, with_digest(content), own=True)
        self._saved, self._is_new = time.monotonic(), False
