"""Detectors that others published, by name: their authors' checkpoints, downloaded once and cached."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.pretrained import downloaded, hub_file, read_state_dict
from robustbench_aigen.detectors.zoo import build_architecture, default_input_size, default_normalisation
from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.files import sha256_of_file

State = dict[str, Tensor]


def openai_archive(file: Path) -> State:
    """Return the tensors of one of OpenAI's CLIP files, which are TorchScript archives in float16."""
    with warnings.catch_warnings():
        # torch.export, which replaces TorchScript, does not read its archives.
        warnings.simplefilter("ignore", FutureWarning)
        archive = torch.jit.load(str(file), map_location="cpu")
    return {name: value.float() for name, value in archive.state_dict().items()}


def _as_it_is(_: nn.Module, state: State) -> State:
    return state


def clip_with_probe(network: nn.Module, clip: State, probe: State) -> State:
    """Name the tensors of OpenAI's image encoder and of UnivFD's linear layer as ``zoo/univfd.py`` does."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    encoder = checkpoint_filter_fn(clip, network.backbone)
    projection = encoder.pop("head.weight")
    encoder.pop("head.bias")
    state = {f"backbone.{name}": value for name, value in encoder.items()}
    return state | {"projection.weight": projection} | {f"fc.{name}": value for name, value in probe.items()}


@dataclass(frozen=True)
class RemoteFile:
    """A file of weights.

    Parameters
    ----------
    url
        Where its authors keep it.
    name
        What it is called in the cache.
    licence
        Of the weights, as far as their authors say.
    sha256
        Its hash; None where nobody publishes one.
    read
        From a file to its tensors.
    """

    url: str
    name: str
    licence: str
    sha256: str | None = None
    read: Callable[[Path], State] = read_state_dict


@dataclass(frozen=True)
class Published:
    """A published detector.

    Parameters
    ----------
    architecture
        Name in the zoo.
    source
        The paper.
    files
        Its weights, in the order in which ``assemble`` takes their tensors.
    assemble
        From the network and the tensors of each file to the network's state dict.
    options
        Of the architecture.
    """

    architecture: str
    source: str
    files: tuple[RemoteFile, ...]
    assemble: Callable[..., State] = _as_it_is
    options: Mapping[str, Any] = field(default_factory=dict)


PUBLISHED: dict[str, Published] = {
    "cnnspot": Published(
        "cnnspot",
        "Wang et al. 2020, CNN-generated images are surprisingly easy to spot… for now (Blur+JPEG 0.5)",
        (
            RemoteFile(
                "https://www.dropbox.com/s/2g2jagq2jn1fd0i/blur_jpg_prob0.5.pth?dl=1",
                "cnnspot_blur_jpg_prob0.5.pth",
                "CC BY-NC-SA 4.0",
            ),
        ),
    ),
    "npr": Published(
        "npr",
        "Tan et al. 2024, Rethinking the Up-Sampling Operations… (ProGAN, 4 classes)",
        (
            RemoteFile(
                "https://raw.githubusercontent.com/chuangchuangtan/NPR-DeepfakeDetection/"
                "68338a07847e891534f3d0b0a0e25bb137b684f7/model_epoch_last_3090.pth",
                "npr_model_epoch_last_3090.pth",
                "none stated",
                "b67a91555ce786a6d0463ff0cb2b0b874d1c3f971b0e3febd2ae5618a80f7e8a",
            ),
        ),
    ),
    "univfd": Published(
        "univfd",
        "Ojha et al. 2023, Towards Universal Fake Image Detectors that Generalize Across Generative Models",
        (
            RemoteFile(
                "https://openaipublic.azureedge.net/clip/models/"
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
                "clip_ViT-L-14.pt",
                "MIT",
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
                openai_archive,
            ),
            RemoteFile(
                "https://raw.githubusercontent.com/WisconsinAIVision/UniversalFakeDetect/"
                "763391eff3284f6950ffb323599c1a7a819f2ecd/pretrained_weights/fc_weights.pth",
                "univfd_fc_weights.pth",
                "MIT",
            ),
        ),
        clip_with_probe,
    ),
}


def load_published(name: str, catalogue: Mapping[str, Published] = PUBLISHED) -> Detector:
    """Load a published detector, in evaluation mode and frozen, on the CPU.

    Parameters
    ----------
    name
        ``cnnspot``, ``npr`` or ``univfd``.
    catalogue
        What the names stand for.

    Raises
    ------
    UserError
        If the name is unknown, a file cannot be downloaded or has another hash than it should, or does not fit.
    """
    if name not in catalogue:
        raise UserError(f"unknown published detector '{name}'", hint=did_you_mean(name, catalogue))
    published = catalogue[name]
    files = [_fetched(name, remote) for remote in published.files]
    network = build_architecture(published.architecture, **published.options)
    try:
        parts = [remote.read(file) for remote, file in zip(published.files, files, strict=True)]
        network.load_state_dict(published.assemble(network, *parts))
    except (RuntimeError, KeyError, ValueError) as error:
        shown = ", ".join(map(str, files))
        raise UserError(
            f"these are not the weights of '{name}': {first_line(error)}", hint=f"delete {shown}"
        ) from error
    normalisation = default_normalisation(published.architecture)
    detector = Detector(
        network,
        Preprocessing(default_input_size(published.architecture), normalisation.mean, normalisation.std),
        name=name,
        architecture=published.architecture,
        weights_sha256=_digest(files),
    )
    detector.assumptions = tuple(
        f"{remote.name} has no published hash; the one here has sha256 {_digest([file])}"
        for remote, file in zip(published.files, files, strict=True)
        if remote.sha256 is None
    )
    detector.check()
    return detector


def _fetched(name: str, remote: RemoteFile) -> Path:
    return downloaded(partial(hub_file, remote.url, remote.sha256, remote.name), f"weights of '{name}'")


def _digest(files: list[Path]) -> str:
    """Return the sha256 of a file, or of several one after the other."""
    if len(files) == 1:
        return sha256_of_file(files[0])
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
