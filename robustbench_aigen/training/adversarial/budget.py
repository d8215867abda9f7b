"""How many epochs a budget is: those that fit into minutes are measured once, and kept for a resume."""

import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.counted_nouns import counted
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.precision import gradient_precision, resolve_precision
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.objective import Objective
from robustbench_aigen.training.batches import LabelledRows
from robustbench_aigen.training.saving import read_json, write_json

LENGTH = "epochs.json"


def epochs_of(
    tuning: FineTuning,
    folder: Path,
    identity: str,
    detector: Detector,
    train: LabelledRows,
    device: torch.device,
    progress: Progress,
) -> int:
    """Return the epochs of a budget, at least one; ``folder`` keeps what was measured."""
    if tuning.budget.epochs is not None:
        return tuning.budget.epochs
    assert tuning.budget.minutes is not None
    file = folder / LENGTH
    kept = read_json(file, progress, "the time of a step is measured again")
    if kept is not None and kept.get("identity") == identity:
        return int(kept["epochs"])
    batch_size = min(tuning.schedule.batch_size, len(train))
    rows = train.rows[:batch_size]
    batch = train.store.levels(rows), torch.from_numpy(train.labels[:batch_size])
    seconds = _seconds_a_step(tuning, detector, batch, device) * (len(train) // batch_size)
    epochs = max(1, int(60 * tuning.budget.minutes / (1.1 * seconds)))
    progress.notice(
        f"{tuning.name}: {counted(epochs, 'epoch')} of about {seconds:.0f} s {'fits' if epochs == 1 else 'fit'} into {tuning.budget.minutes:g} minutes"
    )
    write_json(file, {"identity": identity, "epochs": epochs})
    return epochs


def _seconds_a_step(
    tuning: FineTuning, detector: Detector, batch: tuple[Tensor, Tensor], device: torch.device
) -> float:
    """Measure some steps that leave the detector as it was."""
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
