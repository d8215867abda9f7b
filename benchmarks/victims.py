"""Trains the detectors that the speed benchmark attacks beside the shipped ones.

    python -m benchmarks.victims resnet18 --data FACES --output resnet18_faces.safetensors
    python -m benchmarks.victims cifake_cnn --data CIFAKE --output cifake_cnn.safetensors
    python -m benchmarks.victims cifake_cnn --data CIFAKE --eps 4/255 --output cifake_robust.safetensors

With ``--eps`` the training is adversarial: one signed-gradient step of 1.25 eps from a random start for every batch
(Wong, Rice and Kolter 2020, Fast is better than free, arXiv:2001.03994). Weights and a card are written; the test
split is not touched.
"""

import argparse
import json
import time
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import resize

from robustbench_aigen.data.decoding import decode
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.zoo import build_architecture, default_input_size
from robustbench_aigen.scenario.parameters import read_fraction

BATCH = 64


def main() -> None:
    """Parse the command line, train, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arch")
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--eps", help="of adversarial training, such as 4/255")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, help="training images")
    arguments = parser.parse_args()
    eps = read_fraction(arguments.eps) if arguments.eps else None
    size = default_input_size(arguments.arch)
    levels, labels = _images(arguments.data, arguments.limit, size)
    torch.manual_seed(0)
    network = build_architecture(arguments.arch)
    _train(network, levels, labels, arguments.epochs, eps)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, arguments.output)
    digest = sha256(arguments.output.read_bytes()).hexdigest()
    card = {
        "arch": arguments.arch, "input_size": size, "mean": [0.5] * 3, "std": [0.5] * 3, "fake_index": 1,
        "sha256": digest, "epochs": arguments.epochs, "adversarial_eps": arguments.eps,
        "train_images": len(labels),
    }  # fmt: skip
    arguments.output.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _images(source: str, limit: int | None, size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    selection = select(open_source(source, Path()), "train", limit)
    pictures = [decode(selection.source.encoded(index)) for index in selection.indices]
    if size is not None:
        pictures = [p if p.shape[1:] == size else resize(p, list(size), antialias=True) for p in pictures]
    return torch.stack(pictures), torch.tensor([sample.label for sample in selection.samples])


def _train(network: nn.Module, levels: Tensor, labels: Tensor, epochs: int, eps: float | None) -> None:
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    steps = epochs * (len(levels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    rng = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        clock, right = time.perf_counter(), 0
        network.train()
        for rows in torch.randperm(len(levels), generator=rng).split(BATCH):
            if len(rows) < BATCH:
                continue
            pixels, wanted = levels[rows].float() / 255, labels[rows]
            if torch.rand((), generator=rng) < 0.5:
                pixels = pixels.flip(3)
            if eps is not None:
                pixels = _single_step(network, pixels, wanted, eps, rng)
            logits = _logits(network, pixels)
            loss = functional.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            right += int((logits.argmax(1) == wanted).sum())
        print(f"epoch {epoch + 1}: {100 * right / len(levels):.1f} % right in training, "
              f"{time.perf_counter() - clock:.0f} s", flush=True)  # fmt: skip


def _single_step(
    network: nn.Module, pixels: Tensor, labels: Tensor, eps: float, rng: torch.Generator
) -> Tensor:
    start = torch.rand(pixels.shape, generator=rng) * 2 * eps - eps
    leaf = (pixels + start).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(_logits(network, leaf), labels), leaf)
    delta = (leaf.detach() + 1.25 * eps * gradient.sign() - pixels).clamp(-eps, eps)
    return (pixels + delta).clamp(0, 1)


def _logits(network: nn.Module, pixels: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits: Tensor = network(((pixels - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))
    return logits.float()


if __name__ == "__main__":
    main()
