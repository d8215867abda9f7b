"""Error message for weights of an unknown architecture, with a factory to complete."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.architectures import TIMM, TORCHVISION, torchvision_architectures
from robustbench_aigen.detectors.formats.checkpoint import shape_text
from robustbench_aigen.detectors.formats.request import Request
from robustbench_aigen.detectors.state_dicts import WeightSet
from robustbench_aigen.detectors.zoo import architecture_names, build_architecture
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted

_TIMM = (
    "resnet18", "resnet34", "resnet50", "resnet50d", "resnet101", "vit_tiny_patch16_224", "vit_small_patch16_224",
    "vit_base_patch16_224", "vit_base_patch32_224", "vit_large_patch16_224", "vit_base_patch16_clip_224",
    "vit_large_patch14_clip_224", "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224",
    "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224", "convnext_tiny", "convnext_small", "convnext_base",
    "efficientnet_b0", "tf_efficientnet_b0", "tf_efficientnet_b4", "efficientnet_b4", "xception41", "legacy_xception",
    "mobilenetv3_large_100", "convnextv2_tiny", "eva02_base_patch14_224", "densenet121", "inception_v3", "inception_v4",
)  # fmt: skip
"""Models of timm that detectors are commonly made of; to try all of its thousand takes minutes."""
_NEAR = 0.9
"""Share of an architecture's tensors that weights have under the same name and shape, with any prefix."""


def unknown_architecture(request: Request, sets: Sequence[WeightSet]) -> UserError:
    """Return the refusal of weights without an architecture: with the lines of a factory, ready to be pasted."""
    chosen = next((each for each in sets if each.key == request.weights_key), sets[0])
    weights = chosen.weights
    near = nearest_architectures(weights)
    if near:
        hint = f"their names and shapes are those of {' or '.join(near[:3])}: add arch: NAME, or write a factory:"
    else:
        hint = "add arch: NAME of timm (timm:NAME), torchvision or this package (docs/ZOO.md), or write a factory:"
    others = f" (of {len(sets)} sets of weights: {', '.join(each.key or 'the file' for each in sets[:4])})"
    return UserError(
        f"'{request.place}' has no card that names its architecture; it holds {counted(len(weights), 'tensor')}"
        f"{others if len(sets) > 1 else ''}: {_seen(weights)}",
        hint=hint,
        lines=_factory(request, chosen),
    )


def _seen(weights: Mapping[str, Tensor]) -> str:
    entries = [f"{name} {shape_text(tensor)}" for name, tensor in weights.items()]
    if len(entries) > 5:
        entries = [*entries[:3], "…", *entries[-2:]]
    return ", ".join(entries)


def _factory(request: Request, chosen: WeightSet) -> tuple[str, ...]:
    """Return a factory for these weights; what has to be filled in is in capitals."""
    place = str(request.path.resolve())
    parts = "".join(f"[{int(part) if part.isdigit() else part!r}]" for part in chosen.key.split(".") if part)
    if place.endswith(".safetensors"):
        load, state = "from safetensors.torch import load_file", f"load_file({place!r})"
    else:
        load, state = "import torch", f"torch.load({place!r}, map_location='cpu'){parts}"
    return (
        "# my_detector.py, then: --detector python:my_detector.py:build",
        load,
        "def build():",
        "    network = YOUR_NETWORK()  # the class that these weights were trained in",
        f"    network.load_state_dict({state})",
        "    return network.eval()",
    )


def nearest_architectures(weights: Mapping[str, Tensor]) -> list[str]:
    """Return architectures of the zoo, torchvision and timm most of whose tensors the weights have, the nearest first.

    Names may have a prefix, and the head may have another number of outputs.
    """
    ends: dict[tuple[str, tuple[int, ...]], int] = {}
    for name, tensor in weights.items():
        parts = name.split(".")
        for start in range(len(parts)):
            key = ".".join(parts[start:]), tuple(tensor.shape)
            ends[key] = ends.get(key, 0) + 1
    found = []
    for arch in [*architecture_names(), *torchvision_architectures(), *(TIMM + name for name in _TIMM)]:
        shapes = _shapes(arch)
        hits = sum(key in ends for key in shapes)
        if shapes and hits >= _NEAR * len(shapes) and hits >= _NEAR * len(weights) / 2:
            distance = abs(len(shapes) - hits) + abs(len(weights) - hits)
            found.append((distance, arch))
    best = min((distance for distance, _ in found), default=0)
    return [arch for distance, arch in sorted(found) if distance <= best + 2]


@contextmanager
def _without_initialisation() -> Iterator[None]:
    """Leave weights as they are made: on the meta device, three quarters of the time go into filling them."""
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    own = {name: getattr(nn.init, name) for name in names}
    for name in names:
        setattr(nn.init, name, _unchanged)
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(nn.init, name, function)


def _unchanged(tensor: Tensor, *_: object, **__: object) -> Tensor:
    return tensor


@cache
def _shapes(arch: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return the names and shapes of an architecture's tensors; none where it cannot be built without values."""
    try:
        with torch.device("meta"), _without_initialisation():
            if arch in architecture_names():
                network = build_architecture(arch)
            elif arch.startswith(TIMM):
                import timm

                network = timm.create_model(arch.removeprefix(TIMM), pretrained=False)
            else:
                import torchvision

                name = arch.removeprefix(TORCHVISION)
                extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
                network = torchvision.models.get_model(name, weights=None, **extra)
    except (ImportError, UserError, RuntimeError, NotImplementedError, ValueError, TypeError):
        return []
    return [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
