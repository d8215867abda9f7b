"""The Lightning module: one network, its loss, its optimiser, and the figures of each epoch."""

from copy import deepcopy
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.training.augmenting import augment
from robustbench_aigen.training.batches import stream
from robustbench_aigen.training.recipe import Settings


class TrainedNetwork(lightning.LightningModule):
    """A network in training; batches are N×3×H×W uint8 images and N labels.

    Parameters
    ----------
    network
        Takes normalised images, returns N×2 logits.
    settings
        Settings of the training.
    steps
        Optimiser steps of the whole training, for schedules.

    Attributes
    ----------
    history
        A row per finished epoch: losses, accuracies, learning rate.
    best_epoch, best_value, best_weights
        The epoch that is kept, its validation figure (larger is better) and its weights.
    """

    def __init__(self, network: nn.Module, settings: Settings, steps: int) -> None:
        super().__init__()
        self.network, self.settings, self.steps = network, settings, steps
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_value = 0, float("nan")
        self.best_weights: dict[str, Tensor] = {}
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(1, 3, 1, 1), persistent=False)
        self._sums = {part: torch.zeros(2, 3) for part in ("train", "val")}

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits of N×3×H×W pixels in [0, 1]."""
        normalised = (pixels - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return self.network(normalised.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch. Its augmentations and dropout depend on (seed, epoch, batch) alone."""
        levels, labels = batch
        if batch_idx == 0:  # Not if an epoch is resumed.
            self._sums["train"] = torch.zeros(2, 3)
        place = (len(self.history), batch_idx)
        _seed_dropout(stream(self.settings.seed, "dropout", *place), self.device)
        generator = torch.Generator().manual_seed(stream(self.settings.seed, "augmentation", *place))
        pixels = augment(to_pixels(levels), self.settings.augmentation, generator)
        loss, logits = self.objective(pixels, labels, place)
        with torch.no_grad():
            self._count("train", functional.cross_entropy(logits, labels, reduction="none"), logits, labels)
        return loss

    def objective(self, pixels: Tensor, labels: Tensor, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the loss of augmented pixels, and the logits for the figures of the training.

        ``place`` is (epoch, batch), by which everything random is seeded.
        """
        del place
        logits = self(pixels).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)
        return loss, logits

    def _count(self, part: str, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add loss, right verdicts and images of a batch, each class in a row of its own."""
        found = torch.stack([losses, (logits.argmax(1) == labels).to(losses), torch.ones_like(losses)], 1)
        # Not by a product of matrices, which autocast would take in bfloat16, where counts stop at 256.
        rows = torch.zeros(2, 3, device=found.device).index_add_(0, labels, found.float())
        self._sums[part] = self._sums[part].to(rows) + rows

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> None:
        """Count a batch of validation images."""
        levels, labels = batch
        logits = self(to_pixels(levels)).float()
        self._count("val", functional.cross_entropy(logits, labels, reduction="none"), logits, labels)

    def on_validation_epoch_start(self) -> None:
        """Reset the counts."""
        self._sums["val"] = torch.zeros(2, 3)

    def on_validation_epoch_end(self) -> None:
        """Pass the selection criterion to early stopping."""
        loss, accuracy = self._figures("val")
        self.log("val", loss if self.settings.select == "loss" else accuracy)

    def close_epoch(self) -> None:
        """Record the figures of the epoch, and keep its weights if it is the best so far."""
        self.note_epoch()
        row = self.history[-1]
        value = -row["val_loss"] if self.settings.select == "loss" else row["val_accuracy"]
        self._keep_if_best(len(self.history), value)

    def note_epoch(self) -> None:
        """Add a row to the history."""
        train_loss, train_accuracy = self._figures("train")
        val_loss, val_accuracy = self._figures("val")
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            }
        )

    def _keep_if_best(self, epoch: int, value: float) -> None:
        if not self.best_weights or value > self.best_value:
            self.best_epoch, self.best_value = epoch, value
            self.best_weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}

    def told(self) -> str:
        """Return a text on the last epoch."""
        row = self.history[-1]
        return (
            f"loss {row['train_loss']:.4f}, accuracy {100 * row['train_accuracy']:.2f} %; "
            f"validation {row['val_loss']:.4f}, {100 * row['val_accuracy']:.2f} %"
        )

    def _figures(self, part: str) -> tuple[float, float]:
        """Return loss and accuracy; where classes are balanced in training, the mean of those of each class."""
        sums = self._sums[part].double()
        if not self.settings.balance or not sums[:, 2].all():
            sums = sums.sum(dim=0, keepdim=True)
        loss, right = (sums[:, :2] / sums[:, 2:]).mean(dim=0).tolist()
        return loss, right

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the history and the kept weights into the checkpoint."""
        checkpoint["training"] = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
            "sums": self._sums["train"],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history and the kept weights."""
        said = checkpoint["training"]
        self.history = deepcopy(said["history"])
        self.best_epoch, self.best_value = said["best_epoch"], said["best_value"]
        self.best_weights, self._sums["train"] = said["best_weights"], said["sums"]

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, which moves at every step."""
        settings = self.settings
        optimizer = _OPTIMIZERS[settings.optimizer](self.network.parameters(), settings)
        scheduler: torch.optim.lr_scheduler.LRScheduler
        if settings.schedule == "constant":
            return optimizer
        if settings.schedule == "cosine":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        else:
            # Momentum is left alone: the sum of a cycled one and Adam's is seldom better.
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, settings.learning_rate, total_steps=max(self.steps, 2), cycle_momentum=False
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generator of one device; torch.manual_seed formats three stack traces and keeps them, every step."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _sgd(parameters: Any, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _rmsprop(parameters: Any, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _adam(parameters: Any, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


def _adamw(parameters: Any, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


_OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd, "rmsprop": _rmsprop}
