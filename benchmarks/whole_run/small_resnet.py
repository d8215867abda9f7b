"""An own detector, as a user would bring it: a small ResNet at 128 pixels with its resize inside, and its training."""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms.functional import pil_to_tensor

SIDE = 128
WEIGHTS = Path(__file__).with_name("small_resnet.pt")


class SmallResNet(nn.Module):
    """A ResNet of four blocks: N×3×H×W pixels in [0, 1] to N×2 logits (real, fake)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Resize to 128 pixels a side, normalise, classify."""
        small = functional.interpolate(
            pixels, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
        )
        logits: Tensor = self.network((small - 0.5) / 0.5)
        return logits


def build() -> nn.Module:
    """Return the trained detector."""
    model = SmallResNet()
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()


def train(folder: Path, epochs: int) -> None:
    """Train on the images of ``folder/{ai,real}`` whose number is no multiple of 10, and write the weights."""
    torch.manual_seed(0)
    files = [
        (file, label)
        for label, name in enumerate(("real", "ai"))
        for file in sorted((folder / name).glob("*"))
    ]
    kept = [each for number, each in enumerate(files) if number % 10]
    pictures = [pil_to_tensor(Image.open(file).convert("RGB").resize((SIDE, SIDE))) for file, _ in kept]
    pixels, labels = torch.stack(pictures).float() / 255, torch.tensor([label for _, label in kept])
    model = SmallResNet().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(32):
            flipped = pixels[rows].flip(3) if torch.rand(()) < 0.5 else pixels[rows]
            loss = functional.cross_entropy(model(flipped), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(model.state_dict(), WEIGHTS)


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
