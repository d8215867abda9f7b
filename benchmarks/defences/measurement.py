"""One row of the table: a defence under PGD, its reference and ``auto``."""

import random
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.defences.defence import EPS, Defence
from benchmarks.defences.judging import CALLS, balanced_images, rounded, shares_right
from robustbench_aigen import Detector, ImageData, Run, UserError, attacks, evaluate
from robustbench_aigen.numerics.seeding import preserved_global_rng

PIPELINES = {
    "pgd": attacks.pgd(eps=f"{EPS}/255", steps=50),
    "auto": attacks.auto(eps=f"{EPS}/255"),
}
TRUST: dict[str, Literal["off", "full"]] = {"pgd": "off", "auto": "full"}


def measure(defence: Defence, limit: int, *, auto: bool = True) -> dict[str, object]:
    """Return the row of a defence: accuracies in per cent, the trust flags and the seconds."""
    data, pixels, labels = balanced_images("test", limit)
    detector = defence.build()
    clock = perf_counter()
    with preserved_global_rng():
        torch.manual_seed(0)
        random.seed(0)
        found = defence.attack(detector, pixels, labels)
    seconds = perf_counter() - clock
    assert torch.equal(found, rounded(found, pixels)), "the reference left its budget or the 8-bit grid"
    row: dict[str, object] = {
        "defence": defence.name, "source": defence.source, "access": defence.access,
        "random": defence.is_random, "images": len(pixels),
        "clean": accuracy(defence, detector, pixels, labels),
        "reference": accuracy(defence, detector, found, labels), "reference_seconds": round(seconds, 1),
    }  # fmt: skip
    for name in ("pgd", "auto")[: 1 + auto]:
        row |= _by_product(defence, detector, data, name, pixels, labels)
    row["pgd_gap"] = round(float(str(row["pgd"])) - float(str(row["reference"])), 1)
    if auto:
        row["auto_gap"] = round(float(str(row["auto"])) - float(str(row["reference"])), 1)
    return row


def accuracy(defence: Defence, detector: Detector, pixels: Tensor, labels: Tensor) -> float:
    """Return the accuracy in per cent: of a random detector, the mean over fresh answers."""
    with preserved_global_rng():
        torch.manual_seed(1)
        random.seed(1)
        calls = CALLS if defence.is_random else 1
        return round(100 * float(shares_right(detector, pixels, labels, calls=calls).mean()), 1)


def _by_product(
    defence: Defence, detector: Detector, data: ImageData, name: str, pixels: Tensor, labels: Tensor
) -> dict[str, object]:
    clock = perf_counter()
    try:
        run = evaluate(
            detector,
            data,
            {name: PIPELINES[name]},
            device="cpu",
            keep_images="all",
            trust=TRUST[name],
            ssim="off",
        )
    except UserError as error:
        if "needs gradients" not in error.message:
            raise
        # The attack changes no image.
        return {
            name: accuracy(defence, detector, pixels, labels), f"{name}_trust": "refused: no gradients",
            f"{name}_seconds": round(perf_counter() - clock, 1),
        }  # fmt: skip
    seconds = perf_counter() - clock
    summary = run.summary
    whole = summary[(summary["pipeline"] == name) & (summary["generator"] == "all")].iloc[0]
    return {
        name: accuracy(defence, detector, attacked_pixels(run, name, data, pixels), labels),
        f"{name}_reported": round(100 * float(whole["accuracy"]), 1),
        f"{name}_trust": whole["trust"], f"{name}_seconds": round(seconds, 1),
    }  # fmt: skip


def attacked_pixels(run: Run, pipeline: str, data: ImageData, pixels: Tensor) -> Tensor:
    """Return the final images of a run, N×3×H×W; images that were not attacked are the clean images."""
    places = {sample.id: place for place, sample in enumerate(data.samples)}
    result = pixels.clone()
    for record, _, image in run.adversarial_examples:
        if record["pipeline"] == pipeline:
            levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            result[places[str(record["sample"])]] = levels.float() / 255
    return result
