"""Perturbations inside the attacked function, their random draws, and attacks crafted on another detector."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_engine import scenario
from test_native_attacks import float_result, held_by, pictures, poised, silent, stage, task, untrained
from test_sweeps import executed

from robustbench_aigen.attacks import adaptive
from robustbench_aigen.attacks.adaptive import stage_streams, through_stage
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.native.active_set import _evaluate, _fresh
from robustbench_aigen.attacks.native.pgd import GradientSteps
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.engine.experiment import make_experiment
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import Stage, make_stage

JPEG = "{perturb: jpeg, quality: 75}"
LIMIT = {"data": "{source: minigen, split: test, limit: 60}"}


def inside(name: str, **given) -> Stage:
    recipe = shipped_recipes()[name]
    return make_stage(recipe, given)


def pillow_jpeg(levels: torch.Tensor, quality: int) -> torch.Tensor:
    images = []
    for image in levels:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=2)
        images.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def smooth(count: int) -> torch.Tensor:
    """Pictures with values in the middle of the range, where a little noise clips nothing."""
    coarse = torch.rand((count, 3, 4, 4), generator=torch.Generator().manual_seed(5))
    grown = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    return (100 + 50 * grown).round().clamp(0, 255).to(torch.uint8)


def test_a_record_is_of_the_real_codec_after_rounding_with_norms_before_it(tmp_path):
    """The attack once more by hand, on the shard's images; then Pillow, the detector, and the distances."""
    block = f"{{p: [{{attack: pgd, eps: 2/255, steps: 4, through: [{JPEG}]}}]}}"
    file = scenario(tmp_path, block, mode="score", precision="fp32", **LIMIT)
    records, _ = executed(tmp_path, block, mode="score", precision="fp32", **LIMIT)
    records = records[records["pipeline"] == "p"]
    plan = make_experiment(load_scenario(file))
    (shard,) = make_shards(plan.selection)
    images, detector, bound = decode_shard(shard), plan.detectors[0], plan.pipelines[1].stages[0]
    clean = torch.stack(images.levels)
    labels = torch.tensor([sample.label for sample in images.samples])
    made = task(detector, bound, levels=clean, labels=labels, batch_size=128)
    names = tuple(sample.id for sample in images.samples)
    outcome = run_attack(bound, replace(made, streams=SampleStreams(42, names, 0)), silent)
    with torch.no_grad():
        score = detector(pillow_jpeg(outcome.levels, 75).float() / 255).softmax(dim=1)[:, 1]
    assert np.allclose(records["score"], score, atol=1e-5)
    moved = (outcome.levels.int() - clean.int()).flatten(1)
    assert np.allclose(records["linf"], moved.abs().amax(dim=1) / 255)
    assert np.allclose(records["l2"], moved.float().norm(dim=1) / 255, atol=1e-5)
    assert records["linf"].max() <= 2 / 255 + 1e-7


def test_an_attack_that_knows_of_the_codec_leaves_less_than_one_that_does_not(tmp_path):
    pgd = "attack: pgd, eps: 3/255"
    pipelines = f"{{after: [{{{pgd}}}, {JPEG}], inside: [{{{pgd}, through: [{JPEG}]}}]}}"
    records, _ = executed(tmp_path, pipelines, **LIMIT)
    accuracy = records.groupby("pipeline")["correct"].mean()
    assert accuracy["inside"] < accuracy["after"] - 0.15


@pytest.mark.parametrize(("objective", "attacked"), [("fake_to_real", 1), ("real_to_fake", 0)])
@pytest.mark.parametrize("mode", ["accuracy", "score"])
def test_images_that_nobody_attacks_are_delivered_the_same_way(tmp_path, mode, objective, attacked):
    """The other class passes through the codec too: its rate is that of the codec alone."""
    pipelines = f"{{codec: [{JPEG}], p: [{{attack: fgsm, eps: 1/255, through: [{JPEG}]}}]}}"
    records, _ = executed(tmp_path, pipelines, mode=mode, objective=objective, **LIMIT)
    codec, through = (
        records[(records["pipeline"] == name) & (records["label"] != attacked)] for name in ("codec", "p")
    )
    assert np.allclose(codec["score"], through["score"], atol=1e-6)
    assert not np.allclose(codec["score"], codec["clean_score"], atol=1e-4)
    assert not through["attacked"].any()
    assert (through["linf"] == 0).all()


@pytest.mark.parametrize(
    ("name", "given"),
    [("jpeg", {"quality": 60}), ("webp", {}), ("resize_to", {"side": 20, "back": False}),
     ("gaussian_noise", {}), ("random_crop", {"share": 0.8}), ("bit_depth", {})],
)  # fmt: skip
def test_the_value_is_the_real_operations_and_the_gradient_the_stand_ins(name, given):
    bound, levels = inside(name, **given), smooth(4)
    streams = SampleStreams(1, ("a", "b", "c", "d"), 7)
    pixels = (to_pixels(levels) + 0.2 / 255).requires_grad_()
    value = through_stage(bound, pixels, streams)
    real = to_pixels(perturb(bound, levels, streams.select(range(4))))
    assert torch.allclose(value, real, atol=1e-6)
    weights = torch.rand(value.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((value * weights).sum(), pixels)
    stand_in = perturb_differentiably(bound, pixels, streams.select(range(4)))
    if name in ("webp", "bit_depth"):
        assert stand_in is None
        assert torch.equal(gradient, weights)
    else:
        (expected,) = torch.autograd.grad((stand_in * weights).sum(), pixels)
        assert torch.allclose(gradient, expected, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(through_stage(bound, pixels, streams), real)


def test_stages_inside_follow_one_another():
    bound = replace(stage("pgd"), through=(inside("gaussian_noise"), inside("jpeg", quality=50)))
    made = task(untrained(), bound, levels=smooth(6), labels=torch.arange(6) % 2)
    rows = torch.arange(6)
    noisy = perturb(bound.through[0], made.levels, stage_streams(made.streams, 0, None))
    assert torch.equal(made.deliver(rows, made.levels), pillow_jpeg(noisy, 50))
    with torch.no_grad():
        logits = untrained()(pillow_jpeg(noisy, 50).float() / 255)
    assert torch.allclose(made.log_odds_of_levels(rows, made.levels), logits[:, 1] - logits[:, 0], atol=1e-4)


class Draws:
    """Which streams the judge and which a search has used."""

    def __init__(self, monkeypatch) -> None:
        self.judged: set[str] = set()
        self.searched: set[str] = set()
        self._patch(monkeypatch, "deliver", self.judged)
        self._patch(monkeypatch, "through_stage", self.searched)

    def _patch(self, monkeypatch, name: str, seen: set[str]) -> None:
        from robustbench_aigen.attacks import libraries
        from robustbench_aigen.attacks import task as task_module

        real = getattr(adaptive, name)

        def noted(first, second, streams):
            seen.update(stage_streams(streams, 0, None).samples)
            return real(first, second, streams)

        for module in (task_module, libraries):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, noted)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "pgd", "restarts": 3}, {"name": "apgd", "steps": 4}, {"name": "fab", "steps": 4, "restarts": 2},
        {"name": "cw", "steps": 3}, {"name": "square", "steps": 10}, {"name": "universal"},
        {"name": "auto", "steps": 3, "queries": 5, "restarts": 2},
        {"name": "pgd", "backend": "torchattacks", "restarts": 2}, {"name": "pgd", "backend": "art", "restarts": 2},
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)  # fmt: skip
def test_no_search_sees_the_draw_that_is_judged(monkeypatch, given):
    name = given.pop("name")
    bound = replace(stage(name, **given), through=(inside("gaussian_noise"),))
    made = task(untrained(), bound, levels=smooth(6), labels=torch.arange(6) % 2)
    draws = Draws(monkeypatch)
    run_attack(bound, made, silent)
    assert draws.judged == set(made.streams.samples)
    assert draws.searched
    assert not draws.judged & draws.searched


def test_restarts_are_ranked_by_what_the_attack_is_crafted_on(monkeypatch):
    """A surrogate's attack never asks the detector that is judged; of its tries the best on the surrogate is kept."""
    target, surrogate = untrained(), untrained("cifake_cnn")
    levels, labels = pictures(12), torch.arange(12) % 2
    one_try = stage("pgd", steps=2)
    tries = [
        float_result(
            one_try, replace(task(surrogate, one_try, levels=levels, labels=labels), first_try=number)
        )
        for number in range(3)
    ]
    margins = []
    for pixels in tries:
        with torch.no_grad():
            difference = surrogate(pixels).diff(dim=1).flatten()
        margins.append(torch.where(labels == 0, difference, -difference))
    best = torch.stack(margins).argmax(dim=0)
    bound = replace(stage("pgd", restarts=3, steps=2), surrogate=DetectorSpec(id="minigen/cifake_cnn"))
    made = task(target, bound, levels=levels, labels=labels, surrogate=surrogate)
    monkeypatch.setattr(type(made), "log_odds_of_levels", lambda *_: pytest.fail("the target was asked"))
    expected = torch.stack(tries)[best, torch.arange(12)]
    assert len(set(best.tolist())) > 1
    assert (float_result(bound, made) - expected).abs().max() < 1e-6


def test_eot_is_the_mean_of_the_gradients_at_as_many_draws():
    noise = inside("gaussian_noise", sigma=0.03)
    bound = replace(stage("pgd"), through=(noise,), eot=4)
    made = task(untrained(), bound, levels=smooth(6), labels=torch.arange(6) % 2)
    rows = torch.arange(6)
    slots = _fresh(made, rows.tolist(), GradientSteps(5, 1, 1 / 255), [])
    for step in range(2):
        found = _evaluate(made, slots, "ce")
        gradients, margins = [], []
        for draw in range(4 * step + 1, 4 * step + 5):
            names = tuple(f"{name}\0{draw}" for name in made.streams.samples)
            noisy = to_pixels(perturb(noise, made.levels, SampleStreams(42, names, 1000)))
            noisy.requires_grad_()
            logits = made.detector(noisy)
            loss = torch.nn.functional.cross_entropy(logits, made.labels)
            gradients.append(torch.autograd.grad(loss, noisy)[0])
            difference = (logits[:, 1] - logits[:, 0]).detach()
            margins.append(torch.where(made.labels == 0, difference, -difference))
        assert torch.allclose(found.gradient, torch.stack(gradients).mean(dim=0), rtol=1e-3, atol=1e-8)
        assert torch.allclose(found.margin, torch.stack(margins).mean(dim=0), atol=1e-5)
        slots["taken"] += 1


def test_queries_of_eot_are_counted():
    for eot in (1, 5):
        bound = replace(stage("pgd", steps=3), through=(inside("gaussian_noise"),), eot=eot)
        made = task(untrained(), bound, levels=smooth(4), labels=torch.arange(4) % 2)
        assert run_attack(bound, made, silent).queries.tolist() == [3 * eot] * 4


@pytest.mark.parametrize("backend", ["torchattacks", "art"])
def test_libraries_attack_what_stands_inside_as_well(backend):
    """The same start and steps as the native engine, through the same codec; another result than without it."""
    jpeg = (inside("jpeg", quality=50),)
    results = {}
    for name, through in (("native", jpeg), (backend, jpeg), ("without", ())):
        bound = stage("pgd", eps=4 / 255, steps=3, backend="native" if name == "without" else name)
        bound = replace(bound, through=through)
        results[name] = float_result(
            bound, task(untrained(), bound, levels=smooth(12), labels=torch.arange(12) % 2)
        )

    def apart(one: str, other: str) -> float:
        return float(((results[one] - results[other]).abs() > 0.1 / 255).float().mean())

    assert apart("native", backend) < 0.02
    assert apart("without", backend) > 0.2


@pytest.mark.parametrize("backend", ["native", "torchattacks", "art"])
def test_noise_inside_is_the_images_own_whatever_the_batch_and_the_order(backend):
    bound = replace(stage("pgd", eps=4 / 255, steps=3, backend=backend), through=(inside("gaussian_noise"),))
    labels = torch.arange(6) % 2
    made = task(untrained(), bound, levels=smooth(6), labels=labels)
    whole = float_result(bound, made)
    for batch_size in (1, 4):
        parts = task(untrained(), bound, levels=smooth(6), labels=labels, batch_size=batch_size)
        assert torch.allclose(float_result(bound, parts), whole, atol=1e-6)
    turned = made.restricted(torch.arange(6).flip(0), made.params, 0)
    assert torch.allclose(float_result(bound, turned).flip(0), whole, atol=1e-6)


def test_transfer_is_mifgsm_on_the_surrogate_scored_by_the_detector(tmp_path):
    keys = {"precision": "fp32", "data": "{source: minigen, split: test, limit: 20}"}
    one = "{t: [{attack: transfer, eps: 4/255, surrogate: minigen/cifake_cnn}]}"
    other = "{t: [{attack: mifgsm, eps: 4/255, surrogate: minigen/cifake_cnn}]}"
    first, _ = executed(tmp_path, one, **keys)
    second, _ = executed(tmp_path, other, **keys)
    pd.testing.assert_frame_equal(first, second)
    cell = first[first["pipeline"] == "t"].reset_index(drop=True)
    # Whatever the verdicts on the way, every step is taken.
    assert (cell.loc[cell["attacked"], "steps"] == 10).all()
    plan = make_experiment(load_scenario(scenario(tmp_path, one, **keys)))
    (shard,) = make_shards(plan.selection)
    images = decode_shard(shard)
    rows = cell["attacked"].to_numpy().nonzero()[0]
    surrogate = load_detector(
        DetectorSpec(id="minigen/cifake_cnn"), folder=tmp_path, device=torch.device("cpu")
    )
    bound = stage("mifgsm", eps=4 / 255)
    made = task(
        surrogate, bound, levels=torch.stack([images.levels[row] for row in rows]),
        labels=torch.tensor([images.samples[row].label for row in rows]), batch_size=64,
    )  # fmt: skip
    levels = to_levels(float_result(bound, made))
    with torch.no_grad():
        score = plan.detectors[0](to_pixels(levels)).softmax(dim=1)[:, 1]
    assert np.allclose(cell.loc[rows, "score"], score, atol=1e-5)


def test_a_threshold_is_the_scored_detectors_own(tmp_path):
    """A surrogate is queried at one half, whatever the threshold of the scored detector."""
    detector, surrogate = untrained(), untrained("cifake_cnn")
    bound = stage("mifgsm")
    labels, threshold = poised(detector)
    made = task(detector, bound, labels=labels, threshold=threshold, surrogate=surrogate)
    pixels = to_pixels(pictures())
    assert torch.equal(made.source_model(pixels), surrogate(pixels))
    outcome = run_attack(bound, made, silent)
    assert torch.equal(
        (outcome.log_odds.sigmoid() >= threshold).long(), held_by(detector, outcome.levels, threshold)
    )
