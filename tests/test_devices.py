"""Every device of the machine: attacks, perturbations, trust checks and records; CPU always, CUDA and MPS where present.

Tolerances against the CPU: log-odds 1e-3 nats relative to the largest; verdicts of unattacked images equal; of attacked
ones 2 %, because another order of sums decides close calls.
"""

import pandas as pd
import pytest
import torch
from pretended_device import PretendedDevice
from test_attack_contract import CASES, STRONG, bound_stage, distance, quick
from test_native_attacks import pictures, silent, untrained

from robustbench_aigen import attacks, evaluate, perturbations
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.numerics.seeding import SampleStreams

NATIVE = [case[:2] for case in CASES if case[2] == "native"]
LOG_ODDS, ATTACKED = 1e-3, 0.02


def on(device: torch.device) -> Detector:
    detector = untrained()
    detector.network.to(device)
    return detector


def task_on(device: torch.device, detector: Detector, bound, count: int, *, early_stop: bool = True):
    levels = pictures(count)
    labels = (predict(detector, levels, count, device) >= 0).long()
    streams = SampleStreams(42, tuple(f"picture{number}" for number in range(count)), 0)
    return make_task(
        bound, detector, levels, labels, streams, threshold=HALF, early_stop=early_stop, batch_size=count,
        device=device, precision="fp32",
    )  # fmt: skip


@pytest.mark.parametrize(("attack", "norm"), NATIVE)
def test_a_native_attack_keeps_its_contract(attack, norm, device):
    detector = on(device)
    bound = bound_stage(attack, norm, "native", STRONG[norm], **quick(attack, norm))
    made = task_on(device, detector, bound, 6)
    outcome = run_attack(bound, made, silent)
    assert outcome.levels.device.type == "cpu"
    assert outcome.levels.dtype == torch.uint8
    if norm != "spatial":
        assert (distance(norm, made.levels, outcome.levels) <= STRONG[norm] * (1 + 1e-6)).all()
    again = predict(detector, outcome.levels, 6, device)
    torch.testing.assert_close(outcome.log_odds, again, rtol=LOG_ODDS, atol=LOG_ODDS)
    here = predict(untrained(), outcome.levels, 6, torch.device("cpu"))
    torch.testing.assert_close(again, here, rtol=LOG_ODDS, atol=LOG_ODDS * float(here.abs().max()))
    assert verdicts(outcome.log_odds, HALF).shape == (6,)


@pytest.fixture(scope="module")
def on_cpu() -> pd.DataFrame:
    return records_on(torch.device("cpu"))


def records_on(device: torch.device) -> pd.DataFrame:
    pipelines = {
        "pgd": attacks.pgd(eps=2 / 255, steps=5),
        "square": attacks.square(eps=4 / 255, steps=30),
        "jpeg": perturbations.jpeg(quality=80),
        "noise": perturbations.gaussian_noise(sigma=0.03),
    }
    run = evaluate("minigen/lenet5", "minigen", pipelines, limit=60, device=device, trust="full")
    return run.records.set_index(["pipeline", "sample"])


def test_records_are_those_of_the_cpu(on_cpu, device):
    found = records_on(device)
    assert found.index.equals(on_cpu.index)
    same = found["correct"] == on_cpu["correct"]
    for pipeline in ("clean", "jpeg", "noise"):
        assert same.loc[pipeline].all(), pipeline
        assert (found.loc[pipeline, "sha256"] == on_cpu.loc[pipeline, "sha256"]).all(), "the same bytes"
    for pipeline in ("pgd", "square"):
        assert (~same.loc[pipeline]).mean() <= ATTACKED
    clean = found.loc["clean", "log_odds"], on_cpu.loc["clean", "log_odds"]
    assert (clean[0] - clean[1]).abs().max() <= LOG_ODDS * clean[1].abs().max()
    if device.type == "cpu":
        pd.testing.assert_frame_equal(found, on_cpu)


WAITS = {"pgd": 4, "mifgsm": 4, "apgd": 4, "square": 2, "simba": 1}
"""Most waits of a step: whether images fell is asked once, and what has to be verified, once more."""


@pytest.mark.parametrize("attack", WAITS)
@pytest.mark.parametrize("count", [4, 24])
def test_a_step_waits_for_the_device_a_few_times_for_any_number_of_images(attack, count):
    device, detector = torch.device("cpu"), untrained()
    waits = []
    for steps in (6, 18):
        bound = bound_stage(attack, "linf", "native", 0.2 / 255, steps=steps)
        made = task_on(device, detector, bound, count)
        with PretendedDevice() as pretended:
            run_attack(bound, made, silent)
        waits.append(pretended.waits.total())
    assert waits[1] - waits[0] <= WAITS[attack] * 12


def test_the_pretended_device_counts_what_waits():
    values = torch.arange(6.0)
    with PretendedDevice() as pretended:
        there = values.to(torch.device("cpu"))
        assert bool((values > 9).any()) is False, "on the CPU nothing waits"
        assert pretended.waits.total() == 0
        doubled = there * 2
        float(doubled.sum())
        doubled.cpu()
        doubled[doubled > 3]
        doubled.nonzero()
        doubled.tolist()
    assert pretended.waits == {"_local_scalar_dense": 1, "cpu": 1, "mask": 1, "nonzero": 1, "tolist": 1}
