"""The plain script: PGD-10 at 1 and 4/255 by a library, and JPEG 75, on a folder of real and generated images.

python benchmarks/whole_run/script.py FOLDER torchattacks|foolbox
"""

import io
import sys
from pathlib import Path

import torch
from PIL import Image
from small_resnet import build
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

BATCH = 16


def accuracy(model: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of N×3×H×W images in [0, 1] judged right."""
    with torch.no_grad():
        verdicts = torch.cat([model(part).argmax(1) for part in images.split(BATCH)])
    return float((verdicts == labels).float().mean())


def attacked(model: torch.nn.Module, images: Tensor, labels: Tensor, eps: float, library: str) -> Tensor:
    """Return the images after PGD-10, rounded to 8 bits."""
    parts = []
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        if library == "torchattacks":
            import torchattacks

            adversarial = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=10)(x, y)
        else:
            import foolbox

            fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
            attack = foolbox.attacks.LinfPGD(abs_stepsize=eps / 4, steps=10)
            adversarial = attack(fmodel, x, y, epsilons=eps)[1]
        parts.append((adversarial * 255).round() / 255)
    return torch.cat(parts)


def through_jpeg(image: Tensor) -> Tensor:
    """Return a 3×H×W image in [0, 1] after JPEG 75."""
    stream = io.BytesIO()
    to_pil_image(image).save(stream, "JPEG", quality=75)
    return pil_to_tensor(Image.open(stream)).float() / 255


def main() -> None:
    """Read, attack, compress, print."""
    folder, library = Path(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    files = [
        (file, label)
        for label, name in enumerate(("real", "ai"))
        for file in sorted((folder / name).glob("*"))
    ]
    images = torch.stack([pil_to_tensor(Image.open(file).convert("RGB")) for file, _ in files]).float() / 255
    labels = torch.tensor([label for _, label in files])
    model = build()
    print("clean", accuracy(model, images, labels))
    for eps in (1 / 255, 4 / 255):
        print(
            f"pgd[eps={round(eps * 255)}/255]",
            accuracy(model, attacked(model, images, labels, eps, library), labels),
        )
    print("jpeg", accuracy(model, torch.stack([through_jpeg(image) for image in images]), labels))


if __name__ == "__main__":
    main()
