"""Detectors that others published, by name: where their authors' checkpoints are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RemoteFile:
    """A file of weights.

    Parameters
    ----------
    url
        Address where the authors publish the file.
    name
        Name of the file in the cache.
    licence
        Licence of the weights, if stated by the authors.
    sha256
        Its hash; None if no hash is published.
    reader
        The function of ``published_weights.py`` from a file to its tensors.
    """

    url: str
    name: str
    licence: str
    sha256: str | None = None
    reader: str = "read_state_dict"


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
        Its weights, in the order in which the assembler takes their tensors.
    assembler
        The function of ``published_weights.py`` from the network and the tensors of each file to the network's state
        dict.
    options
        Options of the architecture.
    """

    architecture: str
    source: str
    files: tuple[RemoteFile, ...]
    assembler: str = "as_it_is"
    options: Mapping[str, Any] = field(default_factory=dict)


_LADEDA = (
    "https://raw.githubusercontent.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld/"
    "e734562b/weights/Tiny_LaDeDa/"
)

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
    "ferretnet_s": Published(
        "ferretnet_s",
        "Liang et al. 2025, FerretNet: Efficient Synthetic Image Detection via Local Pixel Dependencies (ProGAN, 4 classes)",
        (
            RemoteFile(
                "https://raw.githubusercontent.com/xigua7105/FerretNet/e92796c1a2fb/"
                "checkpoints/4cls_ckpt/ferretnet-s-median-3.pth",
                "ferretnet-s-median-3.pth",
                "Apache-2.0",
                "5604ab1ade78dc615181b7d014242bf26f7bc5e2bc82351e6e8d42ce5f28f485",
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
    "tiny_ladeda/forensynth": Published(
        "tiny_ladeda",
        "Cavia et al. 2024, Real-Time Deepfake Detection in the Real-World (ForenSynth: ProGAN)",
        (
            RemoteFile(
                f"{_LADEDA}ForenSynth_Tiny_LaDeDa.pth",
                "ForenSynth_Tiny_LaDeDa.pth",
                "research only",
                "4624258c70489cbff2778153ce6fc7f5ed16170b59a541a06dc3d4c759fd68a6",
            ),
        ),
        options={"front": "npr"},
    ),
    "tiny_ladeda/wildrf": Published(
        "tiny_ladeda",
        "Cavia et al. 2024, Real-Time Deepfake Detection in the Real-World (WildRF: images of social networks)",
        (
            RemoteFile(
                f"{_LADEDA}WildRF_Tiny_LaDeDa.pth",
                "WildRF_Tiny_LaDeDa.pth",
                "research only",
                "5e063100564d2ddfe9bf48074e351c8f2b38855552574a18a0738e7f2a764d80",
            ),
        ),
        options={"front": "gradient"},
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
                "openai_archive",
            ),
            RemoteFile(
                "https://raw.githubusercontent.com/WisconsinAIVision/UniversalFakeDetect/"
                "763391eff3284f6950ffb323599c1a7a819f2ecd/pretrained_weights/fc_weights.pth",
                "univfd_fc_weights.pth",
                "MIT",
            ),
        ),
        "clip_with_probe",
    ),
}
