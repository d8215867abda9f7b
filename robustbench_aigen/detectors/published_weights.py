"""Loads detectors that others published: their checkpoints, downloaded once and cached."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.pretrained import downloaded, hub_file, read_state_dict
from robustbench_aigen.detectors.published import PUBLISHED, Published, RemoteFile
from robustbench_aigen.detectors.zoo import build_architecture, published_preprocessing
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


def as_it_is(_: nn.Module, state: State) -> State:
    """Return the tensors of a file that has the network's own names."""
    return state


def clip_with_probe(network: nn.Module, clip: State, probe: State) -> State:
    """Name the tensors of OpenAI's image encoder and of UnivFD's linear layer as ``zoo/univfd.py`` does."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    encoder = checkpoint_filter_fn(clip, network.backbone)
    projection = encoder.pop("head.weight")
    encoder.pop("head.bias")
    state = {f"backbone.{name}": value for name, value in encoder.items()}
    return state | {"projection.weight": projection} | {f"fc.{name}": value for name, value in probe.items()}


_READERS: Mapping[str, Callable[[Path], State]] = {
    reader.__name__: reader for reader in (read_state_dict, openai_archive)
}
_ASSEMBLERS: Mapping[str, Callable[..., State]] = {
    assembler.__name__: assembler for assembler in (as_it_is, clip_with_probe)
}


def load_published(name: str, catalogue: Mapping[str, Published] = PUBLISHED) -> Detector:
    """Load a published detector, in evaluation mode and frozen, on the CPU.

    Parameters
    ----------
    name
        A name of the catalogue, such as ``ferretnet_s``.
    catalogue
        The published detectors by name.

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
        parts = [_READERS[remote.reader](file) for remote, file in zip(published.files, files, strict=True)]
        network.load_state_dict(_ASSEMBLERS[published.assembler](network, *parts))
    except (RuntimeError, KeyError, ValueError) as error:
        shown = ", ".join(map(str, files))
        raise UserError(
            f"these are not the weights of '{name}': {first_line(error)}", hint=f"delete {shown}"
        ) from error
    detector = Detector.assembled(
        network,
        Preprocessing(**published_preprocessing(published.architecture)),
        name=name,
        architecture=published.architecture,
        weights_sha256=_digest(files),
    )
    detector.assumptions = tuple(
        f"{remote.name} has no published hash; the downloaded file has sha256 {_digest([file])}"
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
