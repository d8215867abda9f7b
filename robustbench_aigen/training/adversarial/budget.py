"""Length of a training: the epochs that fit into the given minutes, measured once and stored for a resume."""

import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.engine.estimate import FALLEN, write_duration
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.precision import gradient_precision, resolve_precision
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.text import counted
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.module import AdversarialNetwork
from robustbench_aigen.training.adversarial.objective import Objective
from robustbench_aigen.training.batches import LabelledRows, Shuffled
from robustbench_aigen.training.saving import read_json, write_json

LENGTH = "epochs.json"
_LEAST_STEPS = 50
"""Minimum number of steps between checks of the collapse watch."""


_BESIDE = 1.1
"""Factor of the time of a step for work outside the loss and its gradients: optimiser, batch, average, checkpoint."""


class Length(NamedTuple):
    """Length of a training: epochs, total seconds, and steps between checks of the collapse watch."""

    epochs: int
    seconds: float
    every: int


def length_of(
    tuning: FineTuning,
    folder: Path,
    identity: str,
    module: AdversarialNetwork,
    train: LabelledRows,
    device: torch.device,
    progress: Progress,
) -> Length:
    """Return the length of a training, from the times of a step and of a validation.

    Parameters
    ----------
    tuning
        Whose budget is epochs, or the minutes that at least one epoch begins in.
    folder, identity
        File with the measurements, for a resumed training.
    module, train
        The module to train, and the training images.
    device, progress
        The device, and the receiver of the number of epochs.
    """
    epoch_of = Shuffled(train, tuning.schedule.batch_size, tuning.seed, balance=tuning.balance)
    batch_size, steps = epoch_of.batch_size, len(epoch_of)
    every = tuning.watch.every or max(_LEAST_STEPS, steps // 5)
    file, minutes = folder / LENGTH, tuning.budget.minutes
    kept = read_json(file, progress, "the time of a step is measured again")
    if minutes is not None and kept is not None and kept.get("identity") == identity:
        return Length(int(kept["epochs"]), float(kept.get("seconds", 60 * minutes)), every)
    batch = train.store.levels(train.rows[:batch_size]), torch.from_numpy(train.labels[:batch_size])
    judging = _seconds_of_judging(module, tuning.selection.steps)
    checks = steps // every * min(1.0, tuning.watch.images / len(module.images.labels))
    step = _BESIDE * _seconds_a_step(tuning, module.detector, batch, device)
    epoch = step * steps + judging * (1 + checks)
    if minutes is None:
        assert tuning.budget.epochs is not None
        return Length(tuning.budget.epochs, tuning.budget.epochs * epoch, every)
    epochs = max(1, int(60 * minutes / epoch))
    # The clock is read between steps; the last epoch's validation comes after that.
    length = Length(epochs, min(epochs * epoch, 60 * minutes + judging), every)
    each = f"of about {write_duration(epoch)}"
    told = f"{counted(epochs, 'epoch')} {each} {'fits' if epochs == 1 else 'fit'}"
    if epoch > 60 * minutes:
        told = f"the training stops inside an epoch, because no epoch {each} fits"
    progress.notice(f"{tuning.name}: {told} into {minutes:g} minutes")
    write_json(file, {"identity": identity, "epochs": length.epochs, "seconds": length.seconds})
    return length


def _seconds_of_judging(module: AdversarialNetwork, steps: int) -> float:
    """Return the seconds of a validation whose images all withstand the attack, from that of the detector before.

    What falls takes a few of the steps; what was wrong already takes none.
    """
    start = module.start
    spent = 1 + steps * (start.robust_balanced + FALLEN * (start.balanced - start.robust_balanced))
    return module.judging * (1 + steps) / spent


def _seconds_a_step(
    tuning: FineTuning, detector: Detector, batch: tuple[Tensor, Tensor], device: torch.device
) -> float:
    """Measure the time of some steps without changing the detector."""
    kept = {name: value.clone() for name, value in detector.network.state_dict().items()}
    precision = resolve_precision(tuning.precision, device)
    threat = ThreatModel(tuning.threat.norm, tuning.threat.eps)
    detector.network.to(memory_format=torch.channels_last)
    objective = Objective(tuning.method, threat, detector, FollowingDetector(detector, precision))
    pixels, labels = to_pixels(batch[0].to(device)), batch[1].to(device)
    times = []
    detector.network.train()
    with preserved_global_rng():
        for _ in range(5):
            clock = time.perf_counter()
            with gradient_precision(precision, device):
                loss, _logits = objective.loss(
                    detector, pixels, labels, threat.eps, torch.Generator().manual_seed(0)
                )
            torch.autograd.grad(
                loss, [p for p in detector.network.parameters() if p.requires_grad], allow_unused=True
            )
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - clock)
    detector.network.load_state_dict(kept)
    detector.eval()
    return statistics.median(times[1:])
