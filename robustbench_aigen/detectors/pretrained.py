"""Weights that a backbone starts from: ImageNet's, downloaded once by their library, or a local file."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.hub import HASH_REGEX

from robustbench_aigen.detectors.state_dicts import read_weights
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.imports import import_library

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

Download = Callable[[], Mapping[str, Tensor]]


def torchvision_weights(weights: "WeightsEnum") -> Download:
    """Return a function that downloads weights of torchvision into torch's hub cache and checks their hash."""

    def download() -> Mapping[str, Tensor]:
        # torch checks the hash in the file's name when it downloads, and not when it finds the file in its cache.
        named = HASH_REGEX.search(weights.url)
        if named:
            hub_file(weights.url, named[1])
        return weights.get_state_dict(progress=True, check_hash=True)

    return download


def initialise(network: nn.Module, weights: str, imagenet: Download, *, head: str) -> None:
    """Fill a network, in place, with weights trained elsewhere; its head stays as it was drawn.

    Parameters
    ----------
    network
        The network, with the names of the library that the weights come from.
    weights
        ``none``, ``imagenet``, or a state dict in a ``.safetensors``, ``.pt`` or ``.pth`` file.
    imagenet
        Downloads the ImageNet weights.
    head
        Prefix of the names of the head; such weights are left out.

    Raises
    ------
    UserError
        If the weights cannot be had or are of another network.
    """
    if weights == "none":
        return
    state = downloaded(imagenet) if weights == "imagenet" else read_state_dict(Path(weights))
    own = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(head)}
    body = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
    odd = sorted(own.keys() ^ body.keys())
    odd += sorted(name for name in own.keys() & body.keys() if own[name].shape != body[name].shape)
    # Files from before 2018 do not count their batches; no one reads the count.
    odd = [name for name in odd if not name.endswith("num_batches_tracked")]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise UserError(
            f"weights '{weights}' are not of this backbone: {', '.join(odd[:3])}{more} missing, unknown or of another shape"
        )
    network.load_state_dict(body, strict=False)


def timm_backbone(name: str, weights: str, **options: Any) -> nn.Module:
    """Build a backbone of timm without its head.

    Parameters
    ----------
    name
        timm's name of the model.
    weights
        ``none``, ``imagenet``, or a file of the model's weights in timm's layout, for any input size.
    options
        Options of ``timm.create_model``.

    Raises
    ------
    UserError
        If timm is missing, or the weights cannot be had or are of another network.
    """
    timm = import_library("timm", extra="timm", what="this backbone")
    options["num_classes"] = 0
    if weights == "none":
        backbone: nn.Module = timm.create_model(name, **options)
    elif weights == "imagenet":
        backbone = downloaded(partial(timm.create_model, name, pretrained=True, **options))
    else:
        # timm resamples position embeddings; what it does not say is whose file it was.
        source = {"state_dict": read_state_dict(Path(weights))}
        try:
            backbone = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **options)
        except (RuntimeError, KeyError) as error:
            raise UserError(f"weights '{weights}' are not of {name}: {first_line(error)}") from error
    return backbone


def hub_file(url: str, sha256: str | None = None, name: str | None = None) -> Path:
    """Return a file of torch's hub cache (``TORCH_HOME``), downloaded with a progress bar where it is not there yet.

    It is downloaded to a temporary name and renamed when it is whole.

    Parameters
    ----------
    url
        Address of the file.
    sha256
        Its hash, where that is known: what has another is thrown away, in the cache, too.
    name
        Name of the file in the cache; by default the last part of the URL's path.

    Raises
    ------
    OSError, RuntimeError
        If it cannot be downloaded, or has another hash. :func:`downloaded` tells the user.
    """
    file = _cached(name or Path(urlsplit(url).path).name)
    if not file.exists() or (sha256 is not None and not sha256_of_file(file).startswith(sha256)):
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=sha256)
    return file


def _cached(name: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def downloaded(download: Callable[[], Any], what: str = "ImageNet weights") -> Any:
    """Return the result of a library's download.

    Raises
    ------
    UserError
        If there is no network, no such file, or what came has another hash.
    """
    try:
        return download()
    except (OSError, RuntimeError) as error:
        # torch raises RuntimeError for a wrong hash; urllib's and huggingface_hub's errors are OSErrors.
        raise UserError(
            f"{what} cannot be downloaded: {first_line(error)}",
            hint=f"connect once (they are cached in {_cached('')}), or use a local file",
        ) from error


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file.

    Raises
    ------
    UserError
        If it cannot be read or holds anything else.
    """
    if not file.is_file():
        raise UserError(f"no weights file '{file}'", hint="weights is imagenet, none or the path of a file")

    def refuse(what: str, hint: str) -> None:
        raise UserError(f"this is {what}, which can execute code", file=file, hint=hint)

    loaded = read_weights(file, refuse)
    assert not isinstance(loaded, nn.Module)  # Such a file was refused.
    # DataParallel writes "module." before names.
    return {name.removeprefix("module."): value for name, value in loaded.items()}
