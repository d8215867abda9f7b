"""ResNet50V2 with Keras' structure, which holds Keras' ImageNet weights (He et al. 2016, arXiv:1603.05027).

timm's pre-activation ResNet-50 is another network: there each stage strides in its first block, here in its last, where
a 1×1 max pooling thins the shortcut.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.pretrained import hub_file
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library

_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
_STAGES = ((64, 3, 2), (128, 4, 2), (256, 6, 2), (512, 3, 1))
"""Filters, blocks, and the stride of the last block."""
_EPSILON = 1.001e-5


class _Block(nn.Module):
    """Batch norm and ReLU before each of the convolutions 1×1, 3×3 and 1×1."""

    def __init__(self, inputs: int, filters: int, stride: int, *, widens: bool) -> None:
        super().__init__()
        self.preact_bn = nn.BatchNorm2d(inputs, eps=_EPSILON)
        self.shortcut = nn.Conv2d(inputs, 4 * filters, 1, stride=stride) if widens else None
        self.thinning = nn.MaxPool2d(1, stride) if stride > 1 and not widens else nn.Identity()
        self.conv1 = nn.Conv2d(inputs, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters, eps=_EPSILON)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters, eps=_EPSILON)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1)

    def forward(self, images: Tensor) -> Tensor:
        active = functional.relu(self.preact_bn(images))
        shortcut = self.thinning(images) if self.shortcut is None else self.shortcut(active)
        inner = functional.relu(self.bn1(self.conv1(active)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        result: Tensor = shortcut + self.conv3(inner)
        return result


class ResNet50V2(nn.Module):
    """The network of ``keras.applications.ResNet50V2``, with dropout before its dense layer.

    Parameters
    ----------
    outputs
        Outputs of the dense layer. With 1000, Keras counts 25,613,800 parameters, running statistics included.
    dropout
        Share of the pooled features that is dropped in training.
    """

    def __init__(self, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3),
            # Padded with zeros, which max pooling's own padding would not be.
            nn.ZeroPad2d(1),
            nn.MaxPool2d(3, stride=2),
        )
        blocks: list[nn.Module] = []
        channels = 64
        for filters, count, last_stride in _STAGES:
            for number in range(count):
                stride = last_stride if number == count - 1 else 1
                blocks.append(_Block(channels, filters, stride, widens=number == 0))
                channels = 4 * filters
        self.blocks = nn.Sequential(*blocks)
        self.post_bn = nn.BatchNorm2d(channels, eps=_EPSILON)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map N×3×H×W images in [-1, 1] to N×outputs logits."""
        features = functional.relu(self.post_bn(self.blocks(self.stem(images))))
        logits: Tensor = self.head(features)
        return logits


def keras_weights(network: ResNet50V2, file: str | None = None) -> dict[str, Tensor]:
    """Return the weights of Keras' network under the names of ours, its head left out.

    Parameters
    ----------
    network
        The network whose names and shapes the weights need.
    file
        An ``.h5`` file of Keras' legacy layout, as its applications download it; None downloads that into torch's
        hub cache.

    Raises
    ------
    UserError
        If h5py is missing, or the file is not of this network.
    """
    h5py = import_library("h5py", extra="keras", what="a file of Keras' weights")
    path = Path(file) if file is not None else hub_file(_URL)
    state: dict[str, Tensor] = {}
    try:
        with h5py.File(path) as stored:
            for ours, keras_name in _layers():
                state |= {f"{ours}.{key}": value for key, value in _layer(stored, keras_name, path)}
    except OSError as error:
        raise UserError(f"cannot be read as HDF5: {first_line(error)}", file=path) from error
    counts = {name: count for name, count in network.state_dict().items() if name.endswith("batches_tracked")}
    return state | counts


def _layers() -> Iterator[tuple[str, str]]:
    """Pair the names of our layers with Keras'."""
    yield "stem.0", "conv1_conv"
    yield "post_bn", "post_bn"
    number = 0
    for stage, (_, count, _) in enumerate(_STAGES, start=2):
        for block in range(1, count + 1):
            ours, keras_name = f"blocks.{number}", f"conv{stage}_block{block}"
            yield f"{ours}.preact_bn", f"{keras_name}_preact_bn"
            if block == 1:
                yield f"{ours}.shortcut", f"{keras_name}_0_conv"
            for place in (1, 2, 3):
                yield f"{ours}.conv{place}", f"{keras_name}_{place}_conv"
            for place in (1, 2):
                yield f"{ours}.bn{place}", f"{keras_name}_{place}_bn"
            number += 1


_OURS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
         "bias": "bias"}  # fmt: skip


def _layer(stored: Any, name: str, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield a layer's tensors under torch's names, kernels turned from H×W×in×out to out×in×H×W."""
    if name not in stored or name not in stored[name]:
        raise UserError(f"holds no layer '{name}': not weights of Keras' ResNet50V2", file=path)
    for key, values in stored[name][name].items():
        tensor, kind = torch.from_numpy(values[()]), key.removesuffix(":0")
        if kind == "kernel":
            yield "weight", tensor.permute(3, 2, 0, 1).contiguous()
        elif kind in _OURS:
            yield _OURS[kind], tensor
