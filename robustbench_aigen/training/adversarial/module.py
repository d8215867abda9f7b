"""The Lightning module of adversarial fine-tuning: its differences from ordinary training."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.training.adversarial.averaging import RunningAverage
from robustbench_aigen.training.adversarial.collapse import Collapse, CollapseWatch
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.objective import Objective
from robustbench_aigen.training.adversarial.rates import Judge, Rates, ValidationImages
from robustbench_aigen.training.augmenting import augment
from robustbench_aigen.training.batches import stream
from robustbench_aigen.training.module import TrainedNetwork
from robustbench_aigen.training.recipe import Settings


class AdversarialNetwork(TrainedNetwork):
    """A detector in adversarial training.

    Parameters
    ----------
    detector
        The detector on its device; its network is trained.
    tuning
        The fine-tuning file.
    settings
        The settings shared with ordinary training.
    steps
        Optimiser steps of the whole training.
    precision
        Precision of the search.
    images
        Validation images.
    batch_size
        Batch size of checks.

    Attributes
    ----------
    tuning, images
        The file, and the validation images.
    start
        The rates before the first step.
    judging
        Seconds that it took to judge the validation images for them.
    checks
        A row per check of the collapse watch.
    collapse
        The collapse that stopped the training, if any.
    """

    def __init__(
        self,
        detector: Detector,
        tuning: FineTuning,
        settings: Settings,
        steps: int,
        precision: Literal["fp32", "bf16"],
        images: ValidationImages,
        batch_size: int,
    ) -> None:
        detector.network.to(memory_format=torch.channels_last)
        super().__init__(detector.network, settings, steps)
        following = FollowingDetector(detector, precision)
        threat = tuning.threat
        judge = Judge(
            detector,
            following,
            norm=threat.norm,
            eps=threat.eps,
            steps=tuning.selection.steps,
            seed=tuning.seed,
        )
        # In a tuple, which Lightning ignores: the weights are registered once, as the network's.
        self._held = (detector, judge)
        self.tuning, self.images, self._batch_size = tuning, images, batch_size
        self._watched = images.first(tuning.watch.images)
        self._objective = Objective(
            tuning.method,
            ThreatModel(threat.norm, threat.eps),
            detector,
            following,
            tuning.schedule.label_smoothing,
        )
        self.average = RunningAverage(detector.network, tuning.average) if tuning.average else None
        self.checks: list[dict[str, float]] = []
        self.collapse: Collapse | None = None
        clock = time.monotonic()
        self.rates = self.start = self._rates(images)
        self.judging = time.monotonic() - clock
        self._keep_if_best(0, self.value())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits of N×3×H×W pixels in [0, 1]."""
        logits: Tensor = self._held[0](pixels.contiguous(memory_format=torch.channels_last))
        return logits

    @property
    def detector(self) -> Detector:
        """The trained detector."""
        return self._held[0]

    @property
    def eps(self) -> float:
        """The budget at this step."""
        warmup = self.tuning.schedule.eps_warmup * self.steps
        rise = min(1.0, (self.global_step + 1) / warmup) if warmup > 0 else 1.0
        return rise * self.tuning.threat.eps

    def objective(self, pixels: Tensor, labels: Tensor, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the method's loss; its random start depends on (seed, epoch, batch) alone."""
        generator = torch.Generator().manual_seed(stream(self.settings.seed, "start", *place))
        loss, logits = self._objective.loss(self, pixels, labels, self.eps, generator)
        # With mixed and adversarial batches alike, the logits are of the images in the labels' order.
        return loss, logits

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take a step, and add the new weights to the average before a checkpoint of this step can be written."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update(self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Judge the averaged weights where there are some."""
        super().on_validation_epoch_start()
        if self.average is not None:
            self.average.swap()

    def on_validation_epoch_end(self) -> None:
        """Attack the validation images, and log the rate that decides for early stopping."""
        self.rates = self._rates(self.images)
        if self.average is not None:
            self.average.swap()
        self.log("val", self.value())

    def value(self) -> float:
        """Return the value that decides which epoch is kept: :attr:`Rates.value`."""
        return self.rates.value

    def check(self) -> Rates:
        """Return the rates on the few images of the collapse watch, of the weights as they are, and note them."""
        rates = self._rates(self._watched)
        # Before the whole budget has been trained against, a single step leaves more than PGD of any detector.
        if self.tuning.method.name != "standard" and self.eps >= self.tuning.threat.eps:
            rates = replace(rates, searched=self._searched_accuracy())
        self.checks.append({"step": self.global_step, "eps": self.eps, **rates.as_row()})
        return rates

    def _searched_accuracy(self) -> float:
        """Return the balanced accuracy on what the training's own search finds: what it believes to withstand."""
        generator = torch.Generator().manual_seed(stream(self.settings.seed, "searched"))
        return self._balanced_on(
            self._watched, lambda pixels, labels: self._objective.found(pixels, labels, generator)
        )

    def _degraded_accuracy(self, images: ValidationImages) -> float:
        """Return the balanced accuracy on images changed as in training, by the same draws at every check."""
        generator = torch.Generator().manual_seed(stream(self.settings.seed, "degraded"))
        steps = self.settings.augmentation
        return self._balanced_on(
            images, lambda pixels, _: to_pixels(to_levels(augment(pixels, steps, generator)))
        )

    def _balanced_on(self, images: ValidationImages, change: Callable[[Tensor, Tensor], Tensor]) -> float:
        detector, judge = self._held
        device = cast(Tensor, detector.mean).device
        right = []
        for rows in torch.arange(len(images.labels)).split(self._batch_size):
            labels = images.labels[rows].to(device)
            changed = change(to_pixels(images.levels[rows].to(device)), labels)
            right.append(((judge.scores(changed) >= 0.5).long() == labels).cpu())
        correct = torch.cat(right)
        return sum(float(correct[images.labels == label].double().mean()) for label in (0, 1)) / 2

    def _rates(self, images: ValidationImages) -> Rates:
        detector, judge = self._held
        rates = judge.rates(images, self._batch_size, cast(Tensor, detector.mean).device)
        if self.tuning.method.name != "standard":
            return rates
        return replace(rates, degraded=self._degraded_accuracy(images))

    def close_epoch(self) -> None:
        """Record the figures of the epoch, and keep its weights if it is the best so far."""
        self.note_epoch()
        self.history[-1] |= {**self.rates.as_row(), "eps": self.eps}
        with self._judged_weights():
            self._keep_if_best(len(self.history), self.value())

    @contextmanager
    def _judged_weights(self) -> Iterator[None]:
        if self.average is None:
            yield
            return
        self.average.swap()
        yield
        self.average.swap()

    def told(self) -> str:
        """Return a text on the last epoch."""
        return f"loss {self.history[-1]['train_loss']:.3f}; validation: {self.rates}"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the average and the checks into the checkpoint too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["training"]["checks"] = self.checks
        checkpoint["training"]["collapse"] = None if self.collapse is None else self.collapse.as_dict()
        checkpoint["training"]["average"] = None if self.average is None else self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state."""
        super().on_load_checkpoint(checkpoint)
        self.checks = list(checkpoint["training"]["checks"])
        collapse = checkpoint["training"]["collapse"]
        self.collapse = None if collapse is None else Collapse.from_dict(collapse)
        if self.average is not None:
            self.average.load_state_dict(checkpoint["training"]["average"])


class Watching(Callback):
    """Checks for a collapse at fixed intervals, and stops at the end of the time.

    Parameters
    ----------
    every
        Steps between checks.
    deadline
        Seconds of training, over all that a resumed one has had; None is no limit.
    """

    def __init__(self, every: int, deadline: float | None) -> None:
        self.every, self.deadline = every, deadline
        self.watch: CollapseWatch | None = None
        self._seconds, self._since = 0.0, time.monotonic()
        self._state: dict[str, Any] | None = None

    def on_train_start(self, _: Trainer, pl_module: LightningModule) -> None:
        """Start or resume."""
        assert isinstance(pl_module, AdversarialNetwork)
        self._since = time.monotonic()
        self.watch = CollapseWatch(pl_module.start.balanced)
        if self._state is not None:
            self.watch.load_state_dict(self._state)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Check at fixed intervals of steps."""
        assert isinstance(pl_module, AdversarialNetwork)
        assert self.watch is not None
        if trainer.global_step % self.every == 0:
            pl_module.collapse = self.watch.see(trainer.global_step, pl_module.check())
            trainer.should_stop |= pl_module.collapse is not None
        if self.deadline is not None and self._elapsed() > self.deadline:
            trainer.should_stop = True

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._since

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed training."""
        watch = None if self.watch is None else self.watch.state_dict()
        return {"watch": watch, "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._state, self._seconds = state_dict["watch"], state_dict["seconds"]
