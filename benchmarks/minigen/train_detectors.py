"""The detectors of minigen: two architectures on all generators, LeNet-5 on each alone."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.minigen.sampling import REAL, load_samples
from benchmarks.minigen.splits import Row, decode_png, read_split
from benchmarks.minigen.training import flip
from robustbench_aigen.detectors.zoo import build_architecture

MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
THRESHOLD = 0.5
SEED = 0
BATCH = 128


@dataclass(frozen=True)
class Experiment:
    """One detector: its name, its architecture, the generators it sees, how long it is trained at most."""

    stem: str
    architecture: str
    generators: tuple[str, ...]
    epochs: int
    patience: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4


def plans(generators: list[str]) -> list[Experiment]:
    """What is shipped."""
    everything = tuple(generators)
    return [
        Experiment("lenet5", "lenet5", everything, epochs=24, patience=8),
        Experiment("cifake_cnn", "cifake_cnn", everything, epochs=6, patience=4),
        *(Experiment(f"lenet5@{name}", "lenet5", (name,), epochs=24, patience=8) for name in generators),
    ]


@dataclass(frozen=True)
class LabelledImages:
    """Uint8 N×32×32×3 images, labels (1 = AI-generated) and generator names."""

    images: np.ndarray
    labels: np.ndarray
    generators: np.ndarray

    @staticmethod
    def of(rows: list[Row]) -> LabelledImages:
        """Decode the rows of a split."""
        return LabelledImages(
            np.stack([decode_png(row.png) for row in rows]),
            np.array([row.label for row in rows]),
            np.array([row.generator for row in rows]),
        )

    def only(self, generators: tuple[str, ...]) -> LabelledImages:
        """The reals and the fakes of the named generators."""
        rows = np.isin(self.generators, [REAL, *generators])
        return LabelledImages(self.images[rows], self.labels[rows], self.generators[rows])


def normalise(images: np.ndarray | Tensor) -> Tensor:
    """Uint8 N×32×32×3 to what the architectures take: (pixels - mean) / std, float32 N×3×32×32."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255.0
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@torch.inference_mode()
def fake_scores(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Softmax probability of fake, float32 N."""
    network.eval()
    parts = [network(normalise(images[i : i + 500])).softmax(dim=1)[:, 1] for i in range(0, len(images), 500)]
    return torch.cat(parts).numpy()


def figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Accuracy, TPR and TNR at the threshold; ties are fake."""
    verdict = scores >= THRESHOLD
    tpr, tnr = float(verdict[labels == 1].mean()), float((~verdict[labels == 0]).mean())
    return {
        "accuracy": round(float((verdict == labels).mean()), 4),
        "balanced_accuracy": round((tpr + tnr) / 2, 4),
        "tpr": round(tpr, 4),
        "tnr": round(tnr, 4),
        "n": len(labels),
    }


def _epoch(reals: np.ndarray, fakes: np.ndarray, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Every fake once and as many reals, drawn anew, in shuffled batches with random flips."""
    chosen = torch.randperm(len(reals), generator=rng)[: len(fakes)].numpy()
    images = torch.from_numpy(np.concatenate([reals[chosen], fakes]))
    labels = torch.cat([torch.zeros(len(chosen)), torch.ones(len(fakes))]).long()
    order = torch.randperm(len(images), generator=rng)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[start : start + BATCH]
        yield flip(normalise(images[rows]), rng), labels[rows]


def train(
    plan: Experiment, reals: np.ndarray, fakes: np.ndarray, val: LabelledImages
) -> tuple[nn.Module, dict[str, Any]]:
    """Train with AdamW and a falling learning rate; keep the epoch that is best on validation."""
    torch.manual_seed(SEED)
    rng = torch.Generator().manual_seed(SEED)
    network = build_architecture(plan.architecture)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.epochs, plan.learning_rate / 50)
    wanted = val.only(plan.generators)
    best, best_epoch, kept = -1.0, 0, deepcopy(network.state_dict())
    began = time.monotonic()
    epoch = 0
    while epoch < plan.epochs and epoch - best_epoch < plan.patience:
        epoch += 1
        network.train()
        for images, labels in _epoch(reals, fakes, rng):
            with torch.autocast("cpu", torch.bfloat16, enabled=plan.architecture != "lenet5"):
                logits = network(images)
            loss = functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
        found = figures(fake_scores(network, wanted.images), wanted.labels)
        if found["balanced_accuracy"] > best:
            best, best_epoch, kept = float(found["balanced_accuracy"]), epoch, deepcopy(network.state_dict())
    network.load_state_dict(kept)
    print(
        f"{plan.stem}: epoch {best_epoch}/{epoch}, validation {best:.3f}, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return network.eval(), {
        "optimizer": "AdamW",
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "schedule": f"cosine over {plan.epochs} epochs",
        "batch_size": BATCH,
        "epochs_run": epoch,
        "epoch_kept": best_epoch,
        "selection": f"balanced accuracy on the validation split ({best:.4f})",
        "augmentation": "horizontal flip",
        "balance": "every fake and as many reals per epoch, the reals drawn anew from the pool",
        "seed": SEED,
    }


def save_half(network: nn.Module, path: Path) -> str:
    """Write the weights as float16 safetensors (counters stay integers) and return the file's sha256."""
    halved = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    temporary = path.with_suffix(".tmp")
    save_file(halved, temporary)
    temporary.chmod(0o644)
    temporary.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_half(path: Path, architecture: str) -> nn.Module:
    """The network of a shipped file, in float32."""
    network = build_architecture(architecture)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    )
    return network.eval()


def _clean_test(
    network: nn.Module, plan: Experiment, test: LabelledImages, names: list[str]
) -> dict[str, Any]:
    """Figures on the shipped test split: own generators with the reals, all, and TPR by generator."""
    scores = fake_scores(network, test.images)
    own = np.isin(test.generators, [REAL, *plan.generators])
    rate = {name: round(float((scores[test.generators == name] >= THRESHOLD).mean()), 4) for name in names}
    return {
        **figures(scores[own], test.labels[own]),
        "note": f"shipped test split, all reals and the fakes of {', '.join(plan.generators)}; "
        "the float16 file read as float32",
        "all_generators": figures(scores, test.labels),
        "tpr_by_generator": rate,
    }


def train_detector(
    work: Path, data_folder: Path, weights_folder: Path, plan: Experiment, names: list[str]
) -> None:
    """Train, save and describe one detector; ``names`` are all generators of the test split."""
    val, test = (LabelledImages.of(read_split(data_folder / f"{split}.parquet")) for split in ("val", "test"))
    reals = load_samples(work, REAL)["train"]
    fakes = np.concatenate([load_samples(work, name)["train"] for name in plan.generators])
    network, training = train(plan, reals, fakes, val)
    weights_folder.mkdir(parents=True, exist_ok=True)
    path = weights_folder / f"{plan.stem}.safetensors"
    digest = save_half(network, path)
    card = {
        "id": f"minigen/{plan.stem}",
        "arch": plan.architecture,
        "arch_options": {},
        "input_size": [32, 32],
        "mean": list(MEAN),
        "std": list(STD),
        "fake_index": 1,
        "threshold": THRESHOLD,
        "data": "minigen",
        "generators": list(plan.generators),
        "train_images": len(fakes) + len(reals),
        "training": training,
        "clean_test": _clean_test(load_half(path, plan.architecture), plan, test, names),
        "sha256": digest,
    }
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path.with_suffix(".json"))
