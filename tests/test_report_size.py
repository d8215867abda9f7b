"""How large the report of a fine-tuning is made: images first, then the depth of its scenario, by given paces."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from test_attack_contract import bound_stage, stage, untrained

from robustbench_aigen.attacks.execution import AttackOutcome, run_attack
from robustbench_aigen.data import splitting
from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import nested_limit, select, stratified
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.engine import pace as pace_module
from robustbench_aigen.engine.estimate import FALLEN, Standing, cell_seconds, stages_of, write_duration
from robustbench_aigen.engine.identity import ComputeSettings
from robustbench_aigen.engine.pace import Pace, measured_pace
from robustbench_aigen.engine.shards import ShardImages
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.training.adversarial.report_scenario import DEPTHS, Depth
from robustbench_aigen.training.adversarial.report_size import FEWEST, ReportSize, fewest_images, fitted


def samples_of(*strata: tuple[str, int, int]) -> list[Sample]:
    """So many samples of each generator and label."""
    return [
        Sample(f"{generator}/{label}/{number}", label, generator, "test")
        for generator, label, count in strata
        for number in range(count)
    ]


PARADOX = samples_of(("real", 0, 15), ("a", 1, 15), ("b", 1, 9), ("c", 1, 5), ("d", 1, 5), ("e", 1, 2))
"""Strata whose largest remainders are not monotone: Huntington's example of the Alabama paradox."""


@pytest.mark.parametrize(
    "samples", [PARADOX, samples_of(("real", 0, 40), ("a", 1, 7)), samples_of(("real", 0, 9))]
)
def test_a_nested_sample_is_part_of_every_larger_one(samples):
    everything = range(len(samples))
    chosen = {count: {*stratified(samples, everything, count)} for count in range(1, len(samples) + 1)}
    nested = [count for count in chosen if all(chosen[count] <= chosen[c] for c in chosen if c > count)]
    for limit in range(1, len(samples) + 1):
        assert nested_limit(samples, everything, limit) == max(count for count in nested if count <= limit)
    assert nested_limit(samples, everything, 1000) == len(samples)
    if samples is PARADOX:
        assert len(nested) < len(samples)  # Otherwise the example shows nothing.


def size(samples, training, *, most=None, depths=DEPTHS, fixed=20.0, image=10.0) -> ReportSize:
    """A report whose whole scenario takes ``image`` seconds for one, each shorter one half of that before."""
    return fitted(
        samples,
        range(len(samples)),
        len(samples) if most is None else most,
        depths,
        lambda depth: image / 2 ** depths.index(depth),
        lambda _: fixed,
        training,
    )


BALANCED = samples_of(("real", 0, 200), ("fake", 1, 200))


def test_all_images_are_taken_where_they_take_no_longer_than_the_training():
    found = size(BALANCED, 4020.0)
    assert (found.images, found.depth, found.seconds, found.excess) == (400, Depth(), 4020.0, 0.0)
    assert not found.is_reduced
    assert found.sentence(1000) == "report on 400 of 400 test images"
    assert size(BALANCED, 4020.0, most=100).images == 100


@pytest.mark.parametrize(("training", "images"), [(4019.0, 399), (1000.0, 98), (20 + 10.0 * FEWEST, FEWEST)])
def test_images_come_first(training, images):
    found = size(BALANCED, training)
    assert (found.images, found.depth) == (images, Depth())
    assert found.seconds == 20 + 10 * images <= training
    assert found.sentence(1000) == (
        f"report on {images} of 400 test images to stay within the training's {write_duration(training)}; "
        "set report: {images: 400} or --report-images all for all of them"
    )


@pytest.mark.parametrize(
    ("training", "depth", "images"), [(339.0, 1, 63), (180.0, 1, 32), (179.0, 2, 63), (100.0, 2, 32)]
)
def test_the_scenario_is_shortened_as_little_as_will_do(training, depth, images):
    found = size(BALANCED, training)
    assert (found.images, found.depth) == (images, DEPTHS[depth])
    assert found.seconds <= training
    left_out = ", ".join(found.depth.reductions(1000))
    assert left_out
    assert f"({left_out})" in found.sentence(1000)


def test_what_exceeds_the_training_at_the_least_is_said():
    found = size(BALANCED, 5.0)
    assert (found.images, found.depth) == (FEWEST, DEPTHS[-1])
    assert found.excess == pytest.approx(20 + 10 * FEWEST / 2 ** (len(DEPTHS) - 1) - 5)
    assert f"about {write_duration(found.excess)} longer than the training's 5 s" in found.sentence(1000)
    own = size(BALANCED, 5.0, depths=(Depth(),))
    assert (own.images, own.depth) == (FEWEST, Depth())
    few = size(samples_of(("real", 0, 5), ("fake", 1, 5)), 5.0, depths=(Depth(),))
    assert few.images == 10
    assert few.sentence(1000).startswith("report on 10 of 10 test images, about 1.9 min longer")
    assert "set report" not in few.sentence(1000)


def test_the_smallest_sample_has_a_few_of_both_classes():
    assert fewest_images(BALANCED, range(400), 400) == FEWEST
    lopsided = samples_of(("real", 0, 390), ("fake", 1, 10))
    least = fewest_images(lopsided, range(400), 400)
    labels = Counter(lopsided[index].label for index in stratified(lopsided, range(400), least))
    assert labels[1] == 4
    assert fewest_images(samples_of(("real", 0, 60)), range(60), 60) == FEWEST
    assert fewest_images(BALANCED, range(400), 12) == 12


def test_each_depth_is_part_of_the_one_before():
    for whole, part in pairwise(DEPTHS):
        assert part != whole
        assert part.auto <= whole.auto
        assert part.pgd <= whole.pgd
        assert (part.queries or 0) <= (1000 if whole.queries is None else whole.queries)
        assert {*part.severities} <= {*whole.severities}
        assert part.sweep <= whole.sweep
        assert part.transfer <= whole.transfer
    assert Depth(queries=250).reductions(100) == []  # The file asks for less already.
    assert ReportSize.from_dict(size(BALANCED, 100.0).as_dict()) == size(BALANCED, 100.0)


PACE = Pace(verdict=1.0, single=2.0, gradient=3.0, query=4.0, beside=5.0, perturbed={"jpeg": 6.0})


def pipeline(*stages) -> Pipeline:
    return Pipeline("", stages)


def test_what_falls_takes_a_part_of_the_steps_and_what_is_wrong_takes_none():
    pgd = pipeline(bound_stage("pgd", "linf", "native", 0.01, steps=10))

    def seconds(right: float, held: float) -> float:
        return cell_seconds(pgd, PACE, {}, Standing(right, held))

    assert seconds(1, 1) == 1 + 5 + 3 * 10
    assert seconds(0, 1) == 1
    assert seconds(0.5, 0) == pytest.approx(1 + 0.5 * (5 + 3 * 10 * FALLEN))
    assert Standing.of(0.8, 0.2) == Standing(0.8, 0.25)
    assert Standing.of(0.0, 0.0) == Standing(0.0, 0.0)
    square = pipeline(bound_stage("square", "linf", "native", 0.01, steps=10))
    assert cell_seconds(square, PACE, {}, Standing()) == 1 + 5 + 4 * 10
    # Of what gradients find at once, a black box is taken to find half.
    assert cell_seconds(square, PACE, {}, Standing(1, 0)) == 1 + 5 + 4 * 10 * (0.5 + 0.5 * FALLEN)
    auto = pipeline(stage("auto"))
    first = stages_of([auto])[0]
    assert cell_seconds(auto, PACE, {}, Standing(1, 0)) == pytest.approx(
        1 + 5 + 3 * int(first.params["steps"]) * FALLEN
    )


def test_a_pace_is_that_of_one_more_step_on_the_images_themselves(monkeypatch):
    """On a clock that attacks move by three seconds at the start and two an image and step, queries a quarter."""
    now = 0.0
    detector = untrained()

    def attack(bound, task, advance) -> AttackOutcome:
        nonlocal now
        a_step = {"pgd": 2.0, "square": 0.25}[bound.recipe.name]
        assert not task.early_stop
        now += 3 + a_step * int(bound.params["steps"]) * len(task.levels)
        return run_attack(bound, task, advance)

    def seen(*_) -> None:
        nonlocal now
        now += 0.5

    monkeypatch.setattr("robustbench_aigen.engine.batch.run_attack", attack)
    monkeypatch.setattr(pace_module.time, "perf_counter", lambda: now)
    detector.network.register_forward_pre_hook(seen)
    # Two of a much larger size, which no attack takes together with the others, and two that are more than a batch.
    sizes = [(32, 32)] * 3 + [(80, 80)] * 2 + [(33, 31)] + [(32, 32)] * 2
    levels = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    samples = samples_of(("real", 0, 4), ("fake", 1, 4))
    images = ShardImages(samples, levels, [""] * 8, [])
    settings = ComputeSettings(1, "both", "score", "fp32", "cpu", 6, HALF)
    stages = [bound_stage(name, "linf", "native", 0.01) for name in ("pgd", "square")]
    found = measured_pace(detector, stages, images, settings, torch.device("cpu"))
    assert found.verdict == pytest.approx(0.5 / 6)
    assert found.single == 0.5
    assert found.gradient == pytest.approx(2.0, rel=0.02)  # The judgement of the end takes verdicts, too.
    assert found.query == pytest.approx(0.25, rel=0.02)
    assert found.perturbed == {}
    jpeg = measured_pace(detector, [stage("jpeg")], images, settings, torch.device("cpu"))
    assert {*jpeg.perturbed} == {"jpeg"}
    assert jpeg.query == jpeg.verdict


def test_splits_of_an_opened_source_are_made_once(image_folder, monkeypatch):
    looked: list[bytes] = []
    fingerprint = splitting.fingerprint
    monkeypatch.setattr(splitting, "fingerprint", lambda image: looked.append(image) or fingerprint(image))
    source = FolderSource(image_folder)
    parts = [select(source, name, None).indices for name in ("train", "val", "test")]
    assert len(looked) == 24
    assert sorted(index for part in parts for index in part) == [*range(24)]
    again = FolderSource(image_folder)
    assert select(again, "test", None).indices == parts[2]
    assert len(looked) == 48


def test_durations_are_as_rough_as_they_are_known():
    said = [write_duration(seconds) for seconds in (0.4, 89, 93, 120, 599, 3600, 5400, 36000, 100_000)]
    assert said == ["0 s", "89 s", "1.6 min", "2 min", "10 min", "60 min", "1.5 h", "10 h", "28 h"]
