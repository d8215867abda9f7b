"""The post-processing attack: floors, pasted chains, queries, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage.metrics import structural_similarity
from torch import nn

from robustbench_aigen import Detector, ImageData, Run, attacks, evaluate, perturbations
from robustbench_aigen.attacks.native import operation_space, postprocess
from robustbench_aigen.attacks.native.operation_space import OPERATIONS, changed_chain, drawn_chain, stages_of
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.views.tables.winning_chains import winning_chains

SIDE = 24


class Roughness(nn.Module):
    """Calls an image fake where neighbours differ: blur, compression and noise change the verdict."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images):
        differences = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
        return 60 * torch.stack([self.limit - differences, differences - self.limit], dim=1)


def pictures(count: int, *, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Smooth images with a little grain."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.2, 0.8, (count, 3, 5, 5))).float()
    smooth = nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)
    grain = torch.from_numpy(rng.normal(0, 0.02, (count, 3, side, side))).float()
    return ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    images = pictures(40) / 255
    limit = float((images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3)).quantile(0.3))
    return Detector(Roughness(limit), name="roughness")


def similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    arrays = [each.permute(1, 2, 0).numpy() for each in (one, other)]
    return structural_similarity(
        *arrays, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


@pytest.fixture(scope="module")
def run(detector) -> Run:
    attack = attacks.postprocess(steps=40, floor=0.93)
    data = (pictures(40), [1] * 20 + [0] * 20)
    return evaluate(detector, data, {"post": attack}, keep_images="all", trust="off", ssim="all")


def test_what_passes_keeps_the_floor_by_another_implementation(run):
    passed = [
        each for each in run.adversarial_examples if not each.record["correct"] and each.record["chain"]
    ]
    assert len(passed) >= 5, "the case of the test"
    for each in passed:
        one, other = (
            torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in (each.original, each.image)
        )
        assert similarity(one, other) >= 0.93 - 1e-4
        assert each.record["ssim"] == pytest.approx(similarity(one, other), abs=1e-4)


def test_a_pasted_chain_gives_the_same_image(run, detector):
    """Also chains that draw noise: in a pipeline, each operation has the stream of its place."""
    records = run.records[(run.records["pipeline"] == "post") & (run.records["chain"] != "")]
    images, labels = pictures(40), [1] * 20 + [0] * 20
    names = run.records.loc[run.records["pipeline"] == "clean", "sample"].tolist()
    tried = set()
    for row in records.itertuples():
        chain = yaml.safe_load(row.chain)
        place = names.index(row.sample)
        data = ImageData.from_tensors(images[place : place + 1], [labels[place]], ids=[row.sample])
        stages = [getattr(perturbations, each.pop("perturb"))(**each) for each in chain]
        again = evaluate(detector, data, {"pasted": stages}, trust="off").records
        pasted = again[again["pipeline"] == "pasted"].iloc[0]
        assert pasted["log_odds"] == row.log_odds
        assert pasted["l2"] == row.l2
        tried |= {stage.recipe.name for stage in stages}
    assert {"gaussian_noise", "film_grain"} & tried, "the case of the test"


def test_results_depend_on_neither_batch_nor_threads(run, detector):
    data = (pictures(40), [1] * 20 + [0] * 20)
    attack = attacks.postprocess(steps=40, floor=0.93)
    other = evaluate(detector, data, {"post": attack}, batch_size=7, threads=1, trust="off", ssim="all")
    columns = ["sample", "chain", "log_odds", "queries", "steps"]
    for one, same in zip(run.records[columns].to_numpy(), other.records[columns].to_numpy(), strict=True):
        assert tuple(one) == tuple(same)


def test_queries_are_those_of_the_detector(detector):
    asked: list[int] = []
    network = detector.network
    forward = network.forward

    class Counted(nn.Module):
        def forward(self, images):
            asked.append(len(images))
            return forward(images)

    counted, images = Detector(Counted(), name="counted"), pictures(6)
    result = attacks.postprocess(steps=15, floor=0.93)(counted, images, [1] * 6, early_stop=False)
    assert result.queries.tolist() == [15] * 6
    assert result.steps.tolist() == [15] * 6
    few = attacks.postprocess(steps=15, floor=0.93)(detector, images, [1] * 6, early_stop=True)
    assert (few.queries <= 15).all()
    assert (few.success <= result.success).all(), "fifteen queries see at least what a first success saw"


def test_every_operation_is_tried_alone_before_any_chain(detector, monkeypatch):
    tried: list[tuple[str, ...]] = []
    weakened = postprocess._Maker.weakened

    def noted(self, chain):
        tried.append(tuple(each.operation for each in chain))
        return weakened(self, chain)

    monkeypatch.setattr(postprocess._Maker, "weakened", noted)
    attacks.postprocess(steps=len(OPERATIONS) + 5, floor=0.5)(
        detector, pictures(1), ["fake"], early_stop=False
    )
    assert {(name,) for name in OPERATIONS} == set(tried[: len(OPERATIONS)])


def test_with_verdicts_alone_the_search_sees_no_score(detector, monkeypatch):
    told: list[float] = []
    monkeypatch.setattr(postprocess._LocalSearch, "tell", lambda self, value: told.append(value))
    attacks.postprocess(steps=8, floor=0.9, feedback="verdicts")(
        detector, pictures(4), [1] * 4, early_stop=False
    )
    assert set(told) <= {0.0, 1.0}
    assert len(told) == 32


def test_random_search_weakens_nothing_and_keeps_the_floor(detector, monkeypatch):
    monkeypatch.setattr(postprocess._Maker, "weakened", None)
    images = pictures(4)
    result = attacks.postprocess(steps=10, floor=30, quality="psnr", search="random")(
        detector, images, [1] * 4, early_stop=False
    )
    for one, other in zip(images, result.images, strict=True):
        error = ((one.float() - other * 255) ** 2).mean()
        assert 10 * torch.log10(255**2 / error) >= 30 - 1e-3


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_size_and_does_more_with_more_strength(name):
    images = pictures(1, side=40)
    rng = np.random.default_rng(1)
    changes = []
    for strength in (0.1, 0.5, 1.0):
        choice = operation_space.drawn_choice(rng, name, strength)._replace(sign=1)
        (stage,) = stages_of((choice,))
        changed = stage(images, ids=["one"])
        assert changed.shape == images.shape
        changes.append(float((changed.float() - images).abs().mean()))
    assert changes[0] < changes[2]


def test_a_change_of_a_chain_is_one_step():
    rng = np.random.default_rng(0)
    lengths = set()
    for _ in range(300):
        chain = drawn_chain(rng, 3)
        other = changed_chain(rng, chain, 3)
        lengths.add((len(chain), len(other)))
        assert 1 <= len(other) <= 3
        assert abs(len(other) - len(chain)) <= 1
        assert len({each.operation for each in other} - {each.operation for each in chain}) <= 1
    assert {(1, 2), (2, 1), (3, 2), (2, 3)} <= lengths


def test_images_of_several_sizes_are_attacked_as_they_are_one_by_one(detector):
    images = [pictures(1, side=20)[0], pictures(1, side=32, seed=1)[0], pictures(1, side=26, seed=2)[0]]
    attack = attacks.postprocess(steps=6, floor=0.9)
    together = attack(detector, images, [1] * 3, ids=["a", "b", "c"])
    for place, name in enumerate("abc"):
        alone = attack(detector, [images[place]], [1], ids=[name])
        assert torch.equal(together.images[place], alone.images[0])
        assert together.score[place] == pytest.approx(float(alone.score[0]), abs=1e-6)


def test_the_table_counts_what_passed(run):
    table = winning_chains(join_runs([run])).frame()
    (row,) = table.to_dict(orient="records")
    cell = run.records[(run.records["pipeline"] == "post") & run.records["attacked"]]
    passed = cell[~cell["correct"]]
    assert row["attacked"] == str(len(cell))
    assert float(row["passed"]) == pytest.approx(100 * len(passed) / len(cell), abs=0.05)
    assert float(row["queries"]) == pytest.approx(passed["queries"].median(), abs=0.5)
    assert row["least visible chain"] == passed.loc[passed["psnr"].idxmax(), "chain"]
    other = evaluate("minigen/lenet5", "minigen", {"jpeg": perturbations.jpeg()}, limit=4)
    assert winning_chains(join_runs([other])) is None


def test_wrong_input_is_refused(detector, tmp_path: Path):
    images = pictures(2)
    with pytest.raises(UserError, match="leaves no operation"):
        attacks.postprocess(floor=1)(detector, images, [1, 1])
    with pytest.raises(UserError, match="cannot be restricted to a mask"):
        attacks.postprocess(mask="border@0.1")
    with pytest.raises(UserError, match=r"8×8 pixels, and SSIM needs 11×11"):
        attacks.postprocess(steps=1)(detector, images[..., :8, :8], [1, 1])
    with pytest.raises(UserError, match="must be one of local, random"):
        attacks.postprocess(search="tpe")
