"""One training loop for every network: a wall-clock budget, checkpoints, resuming, averaged weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LOG_SECONDS = 20.0
SAVE_SECONDS = 120.0


@dataclass
class Recipe:
    """What the loop needs to know about a network in training.

    ``step`` takes images (float32 N×3×32×32 in [-1, 1]) and labels (int64 N), updates the weights and returns
    figures to log. ``lr_factor`` maps the share of the budget that is used up to a factor on the optimizers'
    learning rates. ``averaged`` names the modules of which an exponential moving average is kept.
    """

    name: str
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    step: Callable[[Tensor, Tensor], dict[str, float]]
    batch_size: int
    averaged: tuple[str, ...] = ()
    decay: float = 0.999
    lr_factor: Callable[[float], float] = lambda _: 1.0
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None


@dataclass
class Progress:
    """How long a network has been trained, over all its runs."""

    seconds: float = 0.0
    images: int = 0
    steps: int = 0
    threads: int = 1
    log: list[dict[str, float]] = field(default_factory=list)


def decay_at_end(share: float, start: float = 0.75, floor: float = 0.1) -> float:
    """Constant, then linearly down to ``floor`` over the last part of the budget."""
    return 1.0 if share < start else max(floor, 1.0 - (1.0 - floor) * (share - start) / (1.0 - start))


def to_signed(images: np.ndarray | Tensor) -> Tensor:
    """Uint8 N×32×32×3 to float32 N×3×32×32 in [-1, 1]."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1.0)


def flip(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, rng: torch.Generator, pixels: int = 4) -> Tensor:
    """Random translation of the whole batch with reflected edges, after a random flip per image."""
    padded = nn.functional.pad(flip(images, rng), (pixels,) * 4, mode="reflect")
    corners = torch.randint(0, 2 * pixels + 1, (len(images), 2), generator=rng).tolist()
    return torch.stack(
        [image[:, y : y + 32, x : x + 32] for image, (y, x) in zip(padded, corners, strict=True)]
    )


def batches(
    images: Tensor, labels: Tensor, size: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches from uint8 N×32×32×3 images."""
    while True:
        order = torch.randperm(len(images), generator=rng)
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield to_signed(images[rows]), labels[rows]


@torch.no_grad()
def _average(averages: dict[str, nn.Module], recipe: Recipe, steps: int) -> None:
    decay = min(recipe.decay, (1 + steps) / (10 + steps))
    for name, average in averages.items():
        source = recipe.modules[name]
        torch._foreach_lerp_(list(average.parameters()), list(source.parameters()), 1.0 - decay)
        for kept, new in zip(average.buffers(), source.buffers(), strict=True):
            kept.copy_(new)


def checkpoint_path(work: Path, name: str) -> Path:
    """Where a network's checkpoint lies in the work folder."""
    return work / "checkpoints" / f"{name}.pt"


def read_checkpoint(work: Path, name: str) -> dict[str, Any]:
    """The whole checkpoint: ``modules``, ``averages``, ``optimizers``, ``progress``."""
    path = checkpoint_path(work, name)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, run the train stage first")
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def read_progress(work: Path, name: str) -> Progress:
    """Training time and images of one network."""
    return Progress(**read_checkpoint(work, name)["progress"])


def restore(work: Path, name: str, key: str, module: nn.Module) -> nn.Module:
    """Load a module's weights (averaged where an average was kept) and set it to evaluation."""
    saved = read_checkpoint(work, name)
    module.load_state_dict(saved["averages"].get(key, saved["modules"][key]))
    return module.eval().requires_grad_(False)


class Run:
    """A recipe on its way: progress and averages, kept in and continued from a checkpoint."""

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self.recipe, self.path = recipe, path
        self.progress = Progress(threads=torch.get_num_threads())
        self.averages = {
            name: deepcopy(recipe.modules[name]).requires_grad_(requires_grad=False)
            for name in recipe.averaged
        }
        if path.is_file():
            self._resume(torch.load(path, map_location="cpu", weights_only=True))
        self.rates = [
            (group, group.setdefault("base_lr", group["lr"]))
            for optimizer in recipe.optimizers.values()
            for group in optimizer.param_groups
        ]

    def _resume(self, saved: dict[str, Any]) -> None:
        self.progress = Progress(**saved["progress"])
        for name, module in self.recipe.modules.items():
            module.load_state_dict(saved["modules"][name])
        for name, average in self.averages.items():
            average.load_state_dict(saved["averages"][name])
        for name, optimizer in self.recipe.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        state = {
            "modules": {name: module.state_dict() for name, module in self.recipe.modules.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "optimizers": {
                name: optimizer.state_dict() for name, optimizer in self.recipe.optimizers.items()
            },
            "progress": vars(self.progress),
        }
        torch.save(state, temporary)
        temporary.replace(self.path)

    def log(self, figures: dict[str, float]) -> None:
        """Print a line and keep it with the progress."""
        entry = {"seconds": round(self.progress.seconds, 1), "images": self.progress.images, **figures}
        self.progress.log.append(entry)
        print(self.recipe.name, " ".join(f"{key}={value:.4g}" for key, value in entry.items()), flush=True)

    def step(self, images: Tensor, labels: Tensor, share: float) -> dict[str, float]:
        """One update at the learning rate of this share of the budget."""
        for group, rate in self.rates:
            group["lr"] = rate * self.recipe.lr_factor(share)
        figures = self.recipe.step(images, labels)
        _average(self.averages, self.recipe, self.progress.steps)
        self.progress.steps += 1
        self.progress.images += len(images)
        return figures


def fit(
    recipe: Recipe, images: np.ndarray, labels: np.ndarray, work: Path, *, minutes: float, seed: int
) -> Progress:
    """Train until the network has had ``minutes`` of wall clock in total, continuing from its checkpoint.

    ``images`` are uint8 N×32×32×3, ``labels`` int64 N. A network that had its minutes is left as it is.
    """
    run = Run(recipe, checkpoint_path(work, recipe.name))
    progress, augment = run.progress, recipe.augment or flip
    rng = torch.Generator().manual_seed(seed + progress.steps)
    torch.manual_seed(seed + progress.steps)
    source = batches(torch.as_tensor(images), torch.as_tensor(labels), recipe.batch_size, rng)
    for module in recipe.modules.values():
        module.train()
    budget, began, before = minutes * 60.0, time.monotonic(), progress.seconds
    logged = saved = began
    while progress.seconds < budget:
        batch, classes = next(source)
        figures = run.step(augment(batch, rng), classes, progress.seconds / budget)
        now = time.monotonic()
        progress.seconds = before + now - began
        if now - logged > LOG_SECONDS:
            logged = now
            run.log(figures)
        if now - saved > SAVE_SECONDS:
            saved = now
            run.save()
    if progress.seconds > before:
        run.save()
    return progress
