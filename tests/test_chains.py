"""Chains of perturbations: what they do, what a mistake in one says, and a user's own in a scenario."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_perturbations import RECIPES, smooth

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations import codecs, noise
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.perturbations.resizing import fit_within
from robustbench_aigen.stages.recipe_files import read_recipe
from robustbench_aigen.stages.stage import Stage, make_stage

HEAD = "kind: perturb\nname: own\nsummary: mine\n"
SCENARIO = """\
version: 1
name: example
data: {source: images, split: all}
detectors:
  - {path: untrained.safetensors, arch: lenet5, input_size: 32}
pipelines:
  upload: [{perturb: own.yaml, level: [90, 40]}]
seed: 1
"""
OWN = (
    HEAD + "params: {level: {kind: count, default: 80}}\n"
    "chain:\n  - {perturb: gaussian_noise, sigma: 4/255}\n  - {perturb: jpeg, quality: $level}\n"
)


def written(folder: Path, text: str, name: str = "own.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def bound(recipe, **given) -> Stage:
    return make_stage(recipe, given)


def streams(count: int = 6) -> SampleStreams:
    return SampleStreams(3, tuple(f"image{number}" for number in range(count)), 2)


def test_a_platform_is_its_stages_one_after_another():
    images = smooth(6, 3000, 8)
    by_hand = codecs.jpeg(
        fit_within(images, side=2048, filter="lanczos"), quality=83, subsampling="4:2:0", repeats=1
    )
    assert by_hand.shape == (6, 3, 2048, 5)
    assert torch.equal(perturb(bound(RECIPES["facebook"], quality=83), images, streams()), by_hand)
    assert torch.equal(perturb(bound(RECIPES["facebook"], severity=3), images, streams()), by_hand)


def test_a_chain_in_a_chain_is_both():
    images = smooth(6, 40, 1700)
    there = perturb(bound(RECIPES["twitter"]), images, streams())
    assert torch.equal(
        perturb(bound(RECIPES["reshared"]), images, streams()),
        perturb(bound(RECIPES["whatsapp"]), there, streams()),
    )


def test_a_chain_is_random_if_a_stage_is_and_each_stage_has_noise_of_its_own(tmp_path):
    twice = read_recipe(
        written(tmp_path, HEAD + "chain:\n" + "  - {perturb: gaussian_noise, sigma: 0.1}\n" * 2)
    )
    assert twice.random
    assert not RECIPES["reshared"].random
    grey = torch.full((6, 3, 16, 16), 128, dtype=torch.uint8)
    once = noise.gaussian_noise(grey, streams(), sigma=0.1).double()
    both = perturb(bound(twice), grey, streams())
    assert torch.equal(both, perturb(bound(twice), grey, streams()))
    added = both.double() - once
    assert np.corrcoef(added.flatten(), (once - 128).flatten())[0, 1] == pytest.approx(0, abs=0.05)
    assert added.std() == pytest.approx(25.5, rel=0.05)
    alone = perturb(bound(twice), grey[[4]], streams().select([4]))
    assert torch.equal(alone, both[[4]])


def test_a_stage_without_a_stand_in_is_applied_for_real_with_a_gradient_of_1(tmp_path):
    recipe = read_recipe(
        written(
            tmp_path,
            HEAD + "chain:\n  - {perturb: contrast, factor: 0.5}\n  - {perturb: bit_depth, bits: 3}\n",
        )
    )
    images = smooth()
    pixels = to_pixels(images).requires_grad_()
    done = perturb_differentiably(bound(recipe), pixels, streams())
    assert torch.allclose(done, to_pixels(perturb(bound(recipe), images, streams())), atol=1e-6)
    (gradient,) = torch.autograd.grad(done.sum(), pixels)
    assert torch.allclose(gradient, torch.ones_like(gradient), atol=1e-4)  # contrast keeps the mean
    alone = read_recipe(written(tmp_path, HEAD + "chain: [{perturb: bit_depth}]\n"))
    assert perturb_differentiably(bound(alone), pixels, streams()) is None


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("chain:\n  - {perturb: jpeg}\n  - {perturb: jpg}\n", 6, ["chain[1].perturb", "unknown perturbation 'jpg'", "'jpeg'"]),
        ("chain:\n  - {perturb: jpeg, qualty: 3}\n", 5, ["chain[0].qualty", "jpeg has no parameter 'qualty'", "'quality'"]),
        ("chain:\n  - {perturb: jpeg, quality: 300}\n", 5, ["chain[0].quality", "at most 100"]),
        ("chain:\n  - {perturb: jpeg, quality: [3, 4]}\n", 5, ["chain[0].quality", "a whole number"]),
        ("chain:\n  - {perturb: jpeg, quality: $level}\n", 5, ["chain[0].quality", "no parameter 'level'"]),
        ("params: {level: {kind: count, default: 300}}\nchain:\n  - {perturb: jpeg, quality: $level}\n", 6, ["at most 100"]),
        ("params: {level: {kind: count, default: 3}}\nchain: [{perturb: jpeg}]\n", 4, ["params.level", "no stage"]),
        ("chain:\n  - {perturb: pgd}\n", 5, ["'pgd' is an attack"]),
        ("chain:\n  - {quality: 3}\n", 5, ["{perturb: NAME, …}"]),
        ("chain: []\n", 4, ["at least one stage"]),
        ("chian: [{perturb: jpeg}]\n", 4, ["chian", "did you mean 'chain'?"]),
        ("chain: jpeg\n", 4, ["must be a list"]),
        ("chain: [jpeg]\n", 4, ["must be a mapping"]),
        ("chain: [{perturb: gone.yaml}]\n", None, ["gone.yaml: no such file"]),
        ("implementation: a:b\nchain: [{perturb: jpeg}]\n", 4, ["'implementation' does not go with 'chain'"]),
        ("random: true\nchain: [{perturb: jpeg}]\n", 4, ["'random' does not go with 'chain'"]),
        ("chain:\n  - {perturb: jpeg}\n  - {perturb: own.yaml}\n", 6, ["contains itself: own → own"]),
        ("chain: [{perturb: other.yaml}]\n", 4, ["contains itself: own → other → own", "other.yaml"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_chain_is_named(tmp_path, text, line, parts):
    written(tmp_path, HEAD + "chain: [{perturb: own.yaml}]\n", "other.yaml")
    with pytest.raises(UserError) as raised:
        read_recipe(written(tmp_path, HEAD + text))
    said = str(raised.value)
    assert len(said.splitlines()) <= 2
    assert f".yaml:{line}:" in said or line is None
    for part in parts:
        assert part in said


def test_a_value_that_a_stage_does_not_take_is_named_in_the_scenario(tmp_path, image_folder, weights, cli):
    written(tmp_path, OWN)
    file = written(tmp_path, SCENARIO.replace("[90, 40]", "[90, 400]"), "scenario.yaml")
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert (
        "scenario.yaml:7: pipelines.upload[0].level[1]: level: jpeg's quality must be at most 100"
        in outcome.err
    )


def test_a_parameter_without_a_default_is_asked_for(tmp_path):
    recipe = read_recipe(written(tmp_path, OWN.replace(", default: 80", "")))
    assert bound(recipe, level=50).recipe.operations({"level": 50})[1].params["quality"] == 50
    with pytest.raises(Exception, match="level has no default"):
        recipe.bind({})


def test_a_users_chain_runs_and_is_another_when_a_stage_of_it_changes(tmp_path, image_folder, weights, cli):
    written(tmp_path, OWN)
    file = written(tmp_path, SCENARIO, "scenario.yaml")

    def scores() -> np.ndarray:
        outcome = cli("run", file, "--output", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        table = pd.read_parquet(tmp_path / "out" / "example" / "latest" / "records.parquet")
        chosen = table[table["pipeline"] == "upload[level=90]"]
        assert len(chosen) == 24
        assert "upload[level=40]" in set(table["pipeline"])
        return chosen["score"].to_numpy()

    first = scores()
    # The scenario names the same recipe and the same values: only what is inside the chain tells the two apart.
    written(tmp_path, OWN.replace("4/255", "8/255"))
    assert not np.array_equal(scores(), first)
    written(tmp_path, OWN)
    assert np.array_equal(scores(), first)


def test_chains_are_listed(cli):
    outcome = cli("list", "perturbations", "--json")
    assert outcome.code == 0
    for name in ("facebook", "reshared", "signal", "telegram", "twitter", "whatsapp", "fit_within"):
        assert f'"{name}"' in outcome.out
