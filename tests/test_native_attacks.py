"""The native engine against torchattacks, closed forms, and itself at other batch sizes."""

import inspect
from dataclasses import replace

import pytest
import torch
import torchattacks
from torch import nn

from robustbench_aigen.attacks import execution
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.native.active_set import iterate
from robustbench_aigen.attacks.native.pgd import GradientSteps
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.detectors.contract import DeployedDetector, Detector, Preprocessing
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams, library_randomness
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import Stage, make_stage

COUNT = 40


def untrained(architecture: str = "lenet5") -> Detector:
    torch.manual_seed(7)
    network = build_architecture(architecture)
    half = Preprocessing((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Detector.assembled(network, half, name="untrained", architecture=architecture, weights_sha256="0")


def pictures(count: int = COUNT, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )


def stage(name: str, **given) -> Stage:
    recipe = shipped_recipes()[name]
    return make_stage(recipe, given)


def task(
    detector,
    bound,
    *,
    levels=None,
    labels=None,
    early_stop=False,
    batch_size=COUNT,
    threshold=0.5,
    precision="fp32",
    **others,
) -> AttackTask:
    levels = pictures() if levels is None else levels
    labels = torch.arange(len(levels)) % 2 if labels is None else labels
    names = tuple(f"picture{number}" for number in range(len(levels)))
    return make_task(
        bound, detector, levels, labels, SampleStreams(42, names, 0), threshold=Threshold.at(threshold), early_stop=early_stop,
        batch_size=batch_size, device=torch.device("cpu"), precision=precision, **others,
    )  # fmt: skip


def float_result(bound, made: AttackTask) -> torch.Tensor:
    """The float pixels of an attack, before rounding, in the order of the task."""
    result = torch.empty(made.levels.shape)
    for chunk in execution._chunks(bound, made):
        result[chunk.rows] = chunk.pixels
    return result


def silent(images: int) -> None:
    del images


class PlainGradient(nn.Module):
    """A module whose gradient comes back in the plain layout, which torchattacks takes for granted."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        x = x.clone()
        x.register_hook(torch.Tensor.contiguous)
        return self.module(x)


@pytest.mark.parametrize("architecture", ["lenet5", "cifake_cnn"])
@pytest.mark.parametrize(
    ("norm", "eps", "step"), [("linf", 4 / 255, 1 / 255), ("linf", 1 / 255, 0.25 / 255), ("l2", 0.5, 0.125)]
)
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_is_torchattacks_pgd_given_its_start_and_step(architecture, norm, eps, step, random_start):
    detector = untrained(architecture)
    bound = stage("pgd", norm=norm, eps=eps, step_size=step, random_start=random_start)
    made = task(detector, bound, levels=pictures(12))
    ours = float_result(bound, made)
    # Its L2 step is shorter than alpha where the gradient is not much longer than a constant; not so here.
    whole = {"eps_for_division": 1e-30} if norm == "l2" else {}
    # Both differentiate the prepared detector: its round-off decides the sign of a gradient that is all but zero.
    reference = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[norm](
        PlainGradient(made.prepared), eps=eps, alpha=step, steps=10, random_start=random_start, **whole
    )
    with library_randomness(SampleStreams(42, made.streams.samples, 0)):
        theirs = reference(to_pixels(made.levels), made.labels)
    assert (ours - theirs).abs().max() <= 1e-6
    assert (ours - to_pixels(made.levels)).abs().max() > 0.2 * step


class Louder(nn.Module):
    """The same verdicts and gradient directions with logits so many times as large."""

    def __init__(self, network: nn.Module, times: float) -> None:
        super().__init__()
        self.network, self.times = network, times

    def forward(self, x):
        return self.network(x) * self.times


def louder(times: float) -> Detector:
    plain = untrained()
    # Centred, so that a threshold of one half lies between the images at every loudness.
    middle = plain(to_pixels(pictures())).mean(dim=0)
    plain.network.head[-1].bias.data -= middle
    return Detector.assembled(
        Louder(plain.network, times),
        plain.preprocessing,
        name="loud",
        architecture="lenet5",
        weights_sha256="0",
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("times", [1e4, 1e5, 1e7])
def test_confidence_does_not_protect(norm, times):
    """Logits in the thousands: the cross-entropy has no gradient left in float32, and the attack works as before."""
    quiet, loud = louder(1), louder(times)
    labels = quiet(to_pixels(pictures())).argmax(dim=1)
    margins = loud(to_pixels(pictures())).diff(dim=1).abs()
    assert (margins > 100).any()
    bound = stage("pgd", norm=norm, eps={"linf": 2 / 255, "l2": 0.3}[norm])
    held = [
        (
            d(to_pixels(run_attack(bound, task(d, bound, labels=labels), silent).levels)).argmax(dim=1)
            == labels
        ).sum()
        for d in (quiet, loud)
    ]
    assert held[1] <= held[0] < COUNT


def test_l2_steps_are_whole_for_confident_images_in_every_backend():
    """torchattacks divides by the gradient's norm plus 1e-10, which is longer than these gradients."""
    detector = louder(300)
    labels = detector(to_pixels(pictures())).argmax(dim=1)
    outcomes, floats = {}, {}
    for backend in ("native", "torchattacks", "art"):
        bound = stage("pgd", norm="l2", eps=0.3, backend=backend)
        made = task(detector, bound, labels=labels)
        floats[backend] = float_result(bound, made)
        outcomes[backend] = run_attack(bound, made, silent).levels
    # A quarter of a level: these logits have four digits left of float32's seven.
    assert (floats["native"] - floats["torchattacks"]).abs().max() <= 0.25 / 255
    held = {name: int((detector(to_pixels(o)).argmax(dim=1) == labels).sum()) for name, o in outcomes.items()}
    assert abs(held["native"] - held["art"]) <= 1


def test_fgsm_on_a_linear_detector_is_the_closed_form():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(0)))

        def forward(self, x):
            z = x.flatten(1) @ self.weight
            return torch.stack([-z, z], dim=1)

    network = Linear()
    detector = Detector.assembled(
        network, Preprocessing(), name="linear", architecture="none", weights_sha256="0"
    )
    levels = pictures(6, side=8)
    for norm, eps in (("linf", 3 / 255), ("l2", 0.3)):
        bound = stage("fgsm", norm=norm, eps=eps)
        made = task(detector, bound, levels=levels)
        direction = network.weight.detach().view(1, 3, 8, 8)
        step = eps * (direction.sign() if norm == "linf" else direction / direction.norm())
        # Away from the label: fakes (label 1) lose, reals gain.
        sign = (1 - 2 * made.labels).view(-1, 1, 1, 1)
        expected = (to_pixels(levels) + sign * step).clamp(0, 1)
        assert torch.allclose(float_result(bound, made), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_random_starts_do_not_depend_on_the_batch(batch_size):
    bound = stage("pgd", steps=1, step_size=1e-9, eps=8 / 255)
    detector = untrained()
    reference = float_result(bound, task(detector, bound, batch_size=COUNT))
    assert torch.allclose(
        float_result(bound, task(detector, bound, batch_size=batch_size)), reference, atol=2e-9
    )


def poised(detector: Detector) -> tuple[torch.Tensor, float]:
    """Labels that are all right at the returned threshold, with scores on both sides of it."""
    score = detector(to_pixels(pictures())).softmax(dim=1)[:, 1].sort().values
    threshold = float((score[COUNT // 2 - 1] + score[COUNT // 2]) / 2)
    return held_by(detector, pictures(), threshold), threshold


def held_by(detector: Detector, levels: torch.Tensor, threshold: float) -> torch.Tensor:
    return (detector(to_pixels(levels)).softmax(dim=1)[:, 1] >= threshold).long()


@pytest.mark.parametrize("batch_size", [3, 16, COUNT])
def test_early_stop_finds_what_every_step_finds_and_takes_fewer(batch_size):
    detector, bound = untrained(), stage("pgd", eps=1 / 255)
    labels, threshold = poised(detector)
    given = {"labels": labels, "threshold": threshold}
    every = run_attack(bound, task(detector, bound, **given), silent)
    early = run_attack(bound, task(detector, bound, early_stop=True, batch_size=batch_size, **given), silent)
    assert (every.steps == 10).all()
    assert (early.steps <= 10).all()
    assert 0 < early.steps.sum() < 0.6 * every.steps.sum()
    survivors = [int((held_by(detector, o.levels, threshold) == labels).sum()) for o in (early, every)]
    assert survivors[0] <= survivors[1] < COUNT


class Plane(nn.Module):
    """A linear network whose boundary is so far from a grey image that two random starts in five cross it."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(0)))
        self.far = float(0.25 * eps * self.weight.detach().norm() / 3**0.5)

    def forward(self, x):
        z = (x.flatten(1) - 128 / 255) @ self.weight - self.far
        return torch.stack([-z, z], dim=1)


@pytest.mark.parametrize("early_stop", [True, False])
def test_restarts_fool_what_any_of_their_starts_fools(early_stop):
    """Steps too short to matter: a try is its start. The one that is kept is fooled on 8 bits, if one is."""
    eps = 8 / 255
    detector = Detector.assembled(
        Plane(eps), Preprocessing(), name="plane", architecture="none", weights_sha256="0"
    )
    levels, labels = torch.full((COUNT, 3, 8, 8), 128, dtype=torch.uint8), torch.zeros(COUNT).long()
    given = {"eps": eps, "steps": 1, "step_size": 1e-9}

    def fooled(restarts: int, first_try: int = 0) -> torch.Tensor:
        bound = stage("pgd", restarts=restarts, **given)
        made = task(detector, bound, levels=levels, labels=labels, early_stop=early_stop)
        outcome = run_attack(bound, replace(made, first_try=first_try), silent)
        return held_by(detector, outcome.levels, 0.5) != labels

    alone = torch.stack([fooled(1, first_try=number) for number in range(8)])
    assert all(0 < one.sum() < COUNT for one in alone)
    for restarts in (1, 2, 4, 8):
        assert torch.equal(fooled(restarts), alone[:restarts].any(dim=0))
    assert alone.any(dim=0).sum() > alone[0].sum()


def test_without_early_stop_restarts_keep_the_highest_loss():
    detector = untrained()
    losses = []
    for restarts in (1, 4):
        bound = stage("pgd", eps=4 / 255, steps=1, step_size=0.5 / 255, restarts=restarts)
        made = task(detector, bound)
        logits = detector(float_result(bound, made))
        losses.append(nn.functional.cross_entropy(logits, made.labels, reduction="none"))
    assert (losses[1] >= losses[0] - 1e-5).all()
    assert (losses[1] > losses[0] + 1e-5).any()


def test_every_image_is_finished_once_in_any_refill_order():
    detector, bound = untrained(), stage("pgd", eps=1 / 255)
    made = task(detector, bound, early_stop=True, batch_size=3)
    chunks = list(iterate(made, GradientSteps(3, 2, 1 / 255)))
    assert sorted(torch.cat([chunk.rows for chunk in chunks]).tolist()) == list(range(COUNT))


def test_attacks_see_the_deployed_threshold():
    """At threshold t the deployed logits' argmax is score ≥ t."""
    detector = untrained()
    pixels = to_pixels(pictures())
    score = detector(pixels).softmax(dim=1)[:, 1]
    threshold = float(score.median()) + 1e-6
    assert torch.equal(
        DeployedDetector(detector, Threshold.at(threshold))(pixels).argmax(dim=1), (score >= threshold).long()
    )


def test_reduced_precision_attacks_as_well_as_float32():
    detector, bound = untrained(), stage("pgd", eps=1 / 255)
    labels, threshold = poised(detector)
    survivors = {}
    for precision in ("fp32", "bf16"):
        made = task(detector, bound, labels=labels, threshold=threshold, precision=precision)
        outcome = run_attack(bound, made, silent)
        survivors[precision] = int((held_by(detector, outcome.levels, threshold) == labels).sum())
    assert abs(survivors["bf16"] - survivors["fp32"]) <= 1


def native_recipes():
    return [
        recipe for recipe in shipped_recipes().values() if recipe.kind == "attack" and recipe.backends.native
    ]


@pytest.mark.parametrize("recipe", native_recipes(), ids=lambda recipe: recipe.name)
def test_the_function_of_a_recipe_takes_its_parameters_by_keyword(recipe):
    """All of them, by these names, and no others but with a default."""
    signature = inspect.signature(import_function(recipe.backends.native.implementation))
    _task, *others = signature.parameters.values()
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in others)
    declared = recipe.parameters.keys() - {"backend", "norm", "eps", "mask"}
    assert {each.name for each in others if each.default is inspect.Parameter.empty} <= declared
    assert declared <= {each.name for each in others}
