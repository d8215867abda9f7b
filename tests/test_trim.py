"""TRIM: the defence is what it says, from a scenario too, and its flip can be followed by gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.detectors.contract import Detector, scores
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.detectors.trim import TrimmedNetwork, fit_trim, trimmed
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.trim_spec import TrimSpec
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage

DETECTOR = "minigen/lenet5"


def images(count: int = 12) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_the_measures_are_scipys():
    detector = load_detector(DETECTOR)
    spec = TrimSpec(defence="trim", noise=8 / 255, draws=3, seed=5)
    network = TrimmedNetwork(detector, spec)
    pixels = to_pixels(images())
    normalised = (pixels - detector.mean) / detector.std
    with torch.no_grad():
        found, _ = network.measures(normalised)
        p = detector(pixels).double().softmax(dim=1).numpy()
        shifts = []
        for draw in range(3):
            noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(5000 + draw)) * 8 / 255
            q = detector(pixels + noise).double().softmax(dim=1).numpy()
            shifts.append(entropy(p, q, axis=1))
    np.testing.assert_allclose(found.entropy, entropy(p, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.shift, np.mean(shifts, axis=0), atol=1e-5)


@pytest.mark.parametrize(("limits", "turned"), [
    ({"entropy": 1, "shift": 1e9}, False), ({"entropy": 1e-30, "shift": 1e9}, True), ({"entropy": 1, "shift": 1e-30}, True),
])  # fmt: skip
def test_an_image_beyond_either_limit_gets_the_other_answer(limits, turned):
    plain = load_detector(DETECTOR)
    defended = load_detector(DetectorSpec(id=DETECTOR, wrap={"defence": "trim", **limits}))
    with torch.no_grad():
        before, after = (scores(each(to_pixels(images()))) for each in (plain, defended))
    torch.testing.assert_close(after, 1 - before if turned else before)


def test_a_verdict_does_not_depend_on_who_shares_the_batch():
    defended = load_detector(DetectorSpec(id=DETECTOR, wrap="trim"))
    together = predict(defended, images(), 64, torch.device("cpu"))
    alone = torch.cat([predict(defended, image[None], 64, torch.device("cpu")) for image in images()])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_limits_pass_what_they_are_asked_to():
    detector = load_detector(DETECTOR)
    levels = images(200)
    spec = fit_trim(detector, levels, TrimSpec(defence="trim"), rate=0.1)
    network = TrimmedNetwork(detector, spec)
    with torch.no_grad():
        found, _ = network.measures((to_pixels(levels) - detector.mean) / detector.std)
    for values, limit in zip(found, (spec.entropy, spec.shift), strict=True):
        assert abs(float((values > limit).float().mean()) - 0.1) < 0.011 or limit == pytest.approx(
            math.log(2), abs=1e-3
        )


class Slope(nn.Module):
    """The margin is the mean of the image: which way an attack has to go is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(8.0))

    def forward(self, x):
        margin = self.weight * x.flatten(1).mean(dim=1)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def test_an_attack_that_follows_the_smooth_flip_goes_past_the_limit():
    """Just past the boundary TRIM turns the verdict round; the adaptive search goes on to where it does not."""
    preprocessing = Preprocessing((8, 8), (0.5,) * 3, (1.0,) * 3)
    plain = Detector.assembled(Slope(), preprocessing, name="slope", architecture="slope", weights_sha256="0")
    defended = trimmed(plain, TrimSpec(defence="trim", entropy=0.6, shift=10))
    assert defended.weights_sha256 != plain.weights_sha256
    assert not isinstance(plain.network, TrimmedNetwork)
    levels, labels = torch.full((4, 3, 8, 8), 160, dtype=torch.uint8), torch.ones(4, dtype=torch.long)
    recipe = shipped_recipes()["pgd"]

    def attacked(detector: Detector) -> torch.Tensor:
        given = {
            "eps": 72 / 255,
            "steps": 40,
            "step_size": 4 / 255,
            "random_start": False,
            "lookahead": False,
        }
        stage = make_stage(recipe, given)
        task = make_task(
            stage, detector, levels, labels, SampleStreams(0, tuple("abcd"), 0), threshold=HALF, early_stop=True,
            batch_size=4, device=torch.device("cpu"), precision="fp32",
        )  # fmt: skip
        return run_attack(stage, task, lambda _: None).levels

    assert (predict(defended, levels, 4, torch.device("cpu")) >= 0).all()
    static = attacked(plain)
    assert (predict(plain, static, 4, torch.device("cpu")) < 0).all()
    assert (predict(defended, static, 4, torch.device("cpu")) >= 0).all()
    assert (predict(defended, attacked(defended), 4, torch.device("cpu")) < 0).all()


def test_a_scenario_can_wrap_a_detector(tmp_path, cli):
    file = tmp_path / "trim.yaml"
    file.write_text(
        "version: 1\nname: trim\ndata: {source: minigen, limit: 12}\n"
        "detectors: [minigen/lenet5, {id: minigen/lenet5, wrap: {defence: trim, entropy: 0.6, draws: 2}}]\n"
        "pipelines: {pgd: [{attack: pgd, eps: 1/255, steps: 3}]}\n"
    )
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "minigen/lenet5+trim" in outcome.out
    file.write_text(file.read_text().replace("entropy", "entrpy"))
    wrong = cli("validate", file)
    assert wrong.code == 2
    assert "did you mean 'entropy'" in wrong.err
