"""Scenario files: what they become, and what a mistake in one says."""

import json
from pathlib import Path

import pytest

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.parameters import Parameter, read_fraction, write_pixels
from robustbench_aigen.stages.recipe import ParameterError
from robustbench_aigen.stages.recipe_files import read_recipe, shipped_recipes

GOOD = """\
version: 1
name: example
data: {source: images, split: all}
detectors:
  - {path: untrained.safetensors, arch: lenet5, input_size: 32}
pipelines:
  pgd: [{attack: pgd, eps: [1/255, 4/255], steps: 3}]
  both: [{attack: fgsm, eps: 2/255}, {perturb: jpeg, quality: [95, 50]}]
seed: 1
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    return file


def pipelines_of(tmp_path: Path, block: str):
    head = "version: 1\nname: x\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\npipelines:\n"
    return expand_pipelines(load_scenario(written(tmp_path, head + block)))


def test_a_list_sweeps_and_the_value_stands_in_the_name(tmp_path):
    pipelines = expand_pipelines(load_scenario(written(tmp_path, GOOD)))
    assert [p.name for p in pipelines] == [
        "clean",
        "pgd[eps=1/255]",
        "pgd[eps=4/255]",
        "both[quality=95]",
        "both[quality=50]",
    ]
    first = pipelines[1].stages[0].to_dict()
    assert first["attack"] == "pgd"
    assert first["eps"] == pytest.approx(1 / 255)
    assert first["step_size"] == pytest.approx(2.5 / 255 / 3)
    assert first["backend"] == "native"


def test_two_sweeps_are_crossed_and_equal_names_are_told_apart_by_stage(tmp_path):
    block = "  two: [{attack: fgsm, eps: [1/255, 2/255]}, {attack: fgsm, eps: [0.25, 3/255], norm: l2}]\n"
    names = [p.name for p in pipelines_of(tmp_path, block)[1:]]
    assert names == [
        "two[0.eps=1/255,1.eps=0.25]",
        "two[0.eps=1/255,1.eps=3/255]",
        "two[0.eps=2/255,1.eps=0.25]",
        "two[0.eps=2/255,1.eps=3/255]",
    ]


def test_a_sweep_inside_the_attacked_function_is_named_so(tmp_path):
    block = "  p: [{attack: pgd, eps: [1/255, 2/255], through: [{perturb: jpeg, quality: [75, 50]}]}]\n"
    pipelines = pipelines_of(tmp_path, block)[1:]
    assert [p.name for p in pipelines] == [
        f"p[eps={eps},through.quality={quality}]" for eps in ("1/255", "2/255") for quality in (75, 50)
    ]
    (inside,) = pipelines[1].stages[0].to_dict()["through"]
    assert (inside["perturb"], inside["quality"]) == ("jpeg", 50)


def test_every_shipped_scenario_and_recipe_is_valid():
    for file in shipped_files("scenarios").values():
        loaded = load_scenario(file)
        assert loaded.name == file.stem
        assert loaded.summary
        assert len(expand_pipelines(loaded)) > 1
    for name, recipe in shipped_recipes().items():
        assert recipe.name == name
        assert recipe.source


@pytest.mark.parametrize("name", ["auto", "through_jpeg", "transfer", "platforms", "black_box"])
def test_the_scenarios_of_the_attack_engine_run(name, tmp_path, cli):
    outcome = cli("run", name, "--limit", 6, "--output", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["summary"]
    assert {row["detector"] for row in rows} == {"minigen/lenet5", "minigen/cifake_cnn"}


MISTAKES = [
    # (what stands in the good file, what is typed instead, line, what the message must name)
    ("seed: 1", "sed: 1", 9, ["unknown key 'sed'", "did you mean 'seed'?"]),
    ("split: all", "spilt: all", 3, ["unknown key 'spilt'", "did you mean 'split'?"]),
    ("arch: lenet5", "arhc: lenet5", 5, ["unknown key 'arhc'", "did you mean 'arch'?"]),
    ("attack: pgd", "attack: pdg", 7, ["unknown attack 'pdg'", "did you mean 'pgd'?"]),
    ("perturb: jpeg", "perturb: jpg", 8, ["unknown perturbation 'jpg'", "did you mean 'jpeg'?"]),
    ("attack: pgd", "attack: jpeg", 7, ["'jpeg' is not an attack", "perturb: jpeg"]),
    ("[1/255, 4/255]", "4", 7, ["not in pixel units", "4/255"]),
    ("[1/255, 4/255]", "[1/255, 4]", 7, ["pipelines.pgd[0].eps[1]", "not in pixel units"]),
    ("[1/255, 4/255]", "-1/255", 7, ["eps must be greater than 0"]),
    ("[1/255, 4/255]", "four", 7, ["eps must be a distance in pixel units such as 4/255", "'four'"]),
    ("[1/255, 4/255]", "1/0", 7, ["eps must be a distance"]),
    ("[1/255, 4/255]", "[[1/255]]", 7, ["eps must be a distance", "[0]"]),
    ("[1/255, 4/255]", "[]", 7, ["list of values is empty"]),
    ("[1/255, 4/255]", "[1/255, 1/255]", 7, ["same value twice"]),
    ("steps: 3", "steps: 3.5", 7, ["steps must be a whole number", "3.5"]),
    ("steps: 3", "steps: 0", 7, ["steps must be at least 1"]),
    ("steps: 3", "stepz: 3", 7, ["has no parameter 'stepz'", "did you mean 'steps'?"]),
    ("steps: 3", "norm: l1", 7, ["norm must be one of linf, l2"]),
    ("steps: 3", "random_start: 1", 7, ["random_start must be true or false"]),
    ("[95, 50]", "101", 8, ["quality must be at most 100"]),
    ("seed: 1", "seed: [1, 2]", 9, ["must be a whole number, not [1, 2]", "swept"]),
    ("seed: 1", "seed: true", 9, ["must be a number"]),
    ("seed: 1", "threshold: 2", 9, ["threshold", "between 0 and 1"]),
    ("seed: 1", "threshold: [0.5]", 9, ["threshold", "between 0 and 1"]),
    ("seed: 1", "threshold: fpr@x", 9, ["fpr@0.01"]),
    ("seed: 1", "objective: all", 9, ["'both', 'fake_to_real' or 'real_to_fake'", "'all'"]),
    ("seed: 1", "batch_size: 0", 9, ["batch_size", "greater than 0"]),
    ("version: 1", "version: 2", 1, ["version", "must be 1"]),
    ("name: example", "name: ../x", 2, ["names a folder"]),
    ("name: example\n", "", None, ["'name' is missing"]),
    ("seed: 1", "seed: 1\nseed: 2", 10, ["the key is repeated"]),
    ("  pgd: [{", "  clean: [{", 7, ["'clean' is always run"]),
    ("  pgd: [{", '  "": [{', 6, ["a pipeline needs a name"]),
    ("input_size: 32}", 'input_size: 32, name: ""}', 5, ["name"]),
    ("[{attack: pgd, eps: [1/255, 4/255], steps: 3}]", "[]", 7, ["at least one stage"]),
    ("[{attack: pgd, eps: [1/255, 4/255], steps: 3}]", "[{eps: 1/255}]", 7, ["a stage is either"]),
    ("[{attack: pgd, eps: [1/255, 4/255], steps: 3}]", "[{atack: pgd}]", 7, ["a stage is either", "did you mean 'attack'?"]),
    ("[{attack: pgd, eps: [1/255, 4/255], steps: 3}]", "pgd", 7, ["must be a list"]),
    ("attack: pgd, eps", "attack: [pgd, fgsm], eps", 7, ["one recipe"]),
    ("path: untrained.safetensors", "path: gone.safetensors", 5, ["no file 'gone.safetensors'"]),
    ("arch: lenet5", "arch: lenet", 5, ["unknown architecture 'lenet'", "did you mean 'lenet5'?"]),
    ("arch: lenet5, input_size: 32", "name: x", 5, ["no card that names its architecture", "arch:"]),
    ("arch: lenet5", "arch: cifake_cnn", 5, ["do not fit architecture 'cifake_cnn'", "missing features.2.weight"]),
    ("input_size: 32", "input_size: 48", 5, ["fails on 48×48 input", "input_size"]),
    ("  - {path: untrained.safetensors, arch: lenet5, input_size: 32}", "  - minigen/lenet", 5,
     ["unknown detector 'minigen/lenet'", "did you mean"]),
    ("  - {path: untrained.safetensors, arch: lenet5, input_size: 32}", "  - {ensemble: [minigen/lenet5]}", 5,
     ["detectors[0].ensemble: needs at least 2 values"]),
    ("source: images", "source: imagez", 3, ["no data at 'imagez'"]),
    ("source: images", "source: empty", 3, ["no images in"]),
    ("source: images", "source: unlabelled", 3, ["cannot tell real from fake"]),
    ("split: all", "split: dev", 3, ["has no split 'dev'", "known splits:"]),
    ("split: all", "limit: 0", 3, ["limit", "greater than 0"]),
    ("pipelines:", "pipelines: {a: [", None, ["not valid YAML"]),
    ("[1/255, 4/255]", "1", 7, ["eps 1 is not in pixel units", "1/255"]),
    ("[1/255, 4/255]", "20240" * 100, 7, ["eps must be a distance"]),
    ("[1/255, 4/255]", "2024-02-31", 7, ["eps must be a distance", "'2024-02-31'"]),
    ("[1/255, 4/255]", "!!int abc", 7, ["not a value"]),
    ("seed: 1", "seed: " + "9" * 5000, 9, ["not a value"]),
    ("steps: 3", "step_size: 2", 7, ["step_size 2 is not in pixel units"]),
    ("seed: 1", "seed: &a [*a]", 9, ["nested too deeply"]),
    ("seed: 1", "seed: \0", 9, ["not valid YAML"]),
    ("seed: 1", "? [a]\n: 1", 9, ["a key must be text"]),
    ("pgd: [{attack: pgd, eps: [1/255, 4/255]", "pgd: [{attack: pgd.yaml, eps: [1/255, 4/255]", 7, ["pgd.yaml: no such file"]),
    ("  both:", "  pgd[eps=1/255]:", 8, ["cannot contain brackets"]),
    ("input_size: 32", "input_size: [32]", 5, ["input_size", "too few values"]),
    ("input_size: 32", "mean: [0.5]", 5, ["three numbers"]),
    ("input_size: 32", "std: [1, 1, 0]", 5, ["greater than 0"]),
    ("path: untrained.safetensors", "pth: untrained.safetensors", 5, ["unknown key 'pth'", "did you mean 'path'?"]),
    ("arch: lenet5", "id: minigen/lenet5", 5, ["only 'name', 'wrap' and what it sees", "go with 'id'"]),
    ("path: untrained.safetensors", "path: " + "x" * 300, 5, ["cannot be opened"]),
    ("source: images", "source: " + "x" * 300, 3, ["cannot be opened"]),
    ("name: example", "name: " + "x" * 300, 2, ["at most 100"]),
    ("steps: 3", "through: {perturb: jpeg}", 7, ["pgd[0].through", "must be a list of perturbations"]),
    ("steps: 3", "through: jpeg", 7, ["pgd[0].through", "must be a list of perturbations"]),
    ("steps: 3", "through: []", 7, ["pgd[0].through", "must be a list of perturbations"]),
    ("steps: 3", "through: [jpeg]", 7, ["pgd[0].through", "must be a list of perturbations"]),
    ("steps: 3", "through: [{attack: fgsm}]", 7, ["pgd[0].through[0].attack", "'through' takes only perturbations"]),
    ("steps: 3", "through: [{perturb: jpg}]", 7, ["pgd[0].through[0].perturb", "did you mean 'jpeg'?"]),
    ("steps: 3", "through: [{perturb: jpeg, quality: 101}]", 7, ["through[0].quality", "must be at most 100"]),
    ("steps: 3", "through: [{perturb: jpeg, quality: [50, 101]}]", 7, ["through[0].quality[1]", "must be at most 100"]),
    ("steps: 3", "through: [{perturb: jpeg, qality: 50}]", 7, ["has no parameter 'qality'", "did you mean 'quality'?"]),
    ("steps: 3", "through: [{perturb: jpeg, through: [{perturb: jpeg}]}]", 7, ["through[0].through", "only an attack has"]),
    ("steps: 3", "thruogh: [{perturb: jpeg}]", 7, ["has no parameter 'thruogh'", "did you mean 'through'?"]),
    ("steps: 3", "eot: 4", 7, ["pgd[0].eot", "eot averages over random perturbations"]),
    ("steps: 3", "eot: 4, through: [{perturb: jpeg}]", 7, ["pgd[0].eot", "eot averages over random perturbations"]),
    ("steps: 3", "eot: 0, through: [{perturb: gaussian_noise}]", 7, ["pgd[0].eot", "at least 1"]),
    ("steps: 3", "eot: [2, 4], through: [{perturb: gaussian_noise}]", 7, ["pgd[0].eot", "whole number"]),
    ("steps: 3", "eot: 4, backend: art, through: [{perturb: gaussian_noise}]", 7, ["pgd[0].eot", "needs the native backend"]),
    ("steps: 3", "surrogate: minigen/lenet", 7, ["pgd[0].surrogate", "unknown detector 'minigen/lenet'", "did you mean"]),
    ("steps: 3", "surrogate: {pth: a.safetensors}", 7, ["unknown key 'pth'", "did you mean 'path'?"]),
    ("steps: 3", "surrogate: 3", 7, ["pgd[0].surrogate"]),
    ("attack: pgd", "attack: transfer", 7, ["transfer needs a surrogate", "add a detector: surrogate: minigen/lenet5"]),
    ("perturb: jpeg, quality", "perturb: jpeg, through: [{perturb: jpeg}], quality", 8, ["both[1].through", "only an attack has 'through'"]),
    ("perturb: jpeg, quality", "perturb: jpeg, eot: 2, quality", 8, ["both[1].eot", "only an attack has 'eot'"]),
    ("perturb: jpeg, quality", "perturb: jpeg, surrogate: minigen/lenet5, quality", 8, ["both[1].surrogate", "only an attack has"]),
    ("seed: 1", "share_sweeps: maybe", 9, ["share_sweeps"]),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "line", "parts"), MISTAKES)
def test_a_mistake_is_named_with_file_and_line_and_leaves_nothing_behind(
    tmp_path, image_folder, weights, cli, no_similar, good, bad, line, parts
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unlabelled" / "cats").mkdir(parents=True)
    (tmp_path / "unlabelled" / "cats" / "a.png").write_bytes((image_folder / "real" / "00.png").read_bytes())
    assert good in GOOD
    file = written(tmp_path, GOOD.replace(good, bad, 1))
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    # Code to paste is indented.
    assert len([line for line in outcome.err.strip().splitlines() if line[:4].strip()]) <= 2
    assert f"scenario.yaml:{line}" in outcome.err if line else "scenario.yaml" in outcome.err
    for part in parts:
        assert part in outcome.err
    assert not list((tmp_path / "out").rglob("*.*")) if (tmp_path / "out").exists() else True


def test_the_good_file_runs(tmp_path, image_folder, weights, cli):
    outcome = cli("run", written(tmp_path, GOOD), "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "pgd[eps=4/255]" in outcome.out


def test_a_scenario_that_is_not_there_suggests_one(cli):
    outcome = cli("run", "scenarios/pgd_esp4.yaml")
    assert outcome.code == 2
    assert "did you mean 'pgd_eps4'?" in outcome.err


TWO_NORMS = (
    "kind: attack\nname: a\nsummary: b\nnorms: [linf, l2]\nparams: {{eps: {{kind: pixels, default: {}}}}}\n"
    "backends: {{native: {{implementation: m:f}}}}\n"
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kind: attak\nname: a\nsummary: b\n", "must be 'attack' or 'perturb'"),
        ("kind: attack\nname: a\nsummary: b\n", "needs 'norms'"),
        ("kind: perturb\nname: a\nsummary: b\n", "needs 'implementation"),
        ("kind: perturb\nname: a\nsumary: b\n", "did you mean 'summary'?"),
        ("kind: attack\nname: a\nsummary: b\nnorms: [linf]\nbackends: {torchatacks: {}}\n", "did you mean 'torchattacks'?"),
        ("kind: perturb\nname: a\nsummary: b\nimplementation: m:f\nparams: {q: {kind: count, default: x}}\n", "params.q"),
        ("kind: perturb\nname: a\nsummary: b\nimplementation: m:f\nnorms: [linf]\n", "mine.yaml:5: norms: unknown key 'norms'"),
        (TWO_NORMS.format("4/255"), "is one length for several norms"),
        (TWO_NORMS.format("{linf: 4/255}"), "must name every norm of the recipe: linf, l2"),
        (TWO_NORMS.format("{linf: 4/255, l2: x}"), "must be a distance in pixel units"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_recipe_is_named(tmp_path, text, part):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="mine.yaml") as raised:
        read_recipe(file)
    assert part in str(raised.value)


def test_a_default_is_of_the_norm_that_is_asked_for():
    recipes = shipped_recipes()
    assert recipes["auto"].bind({})["eps"] == 4 / 255
    assert recipes["auto"].bind({"norm": "l2"})["eps"] == 0.5
    assert recipes["deepfool"].bind({"norm": "linf"})["eps"] == 4 / 255
    assert recipes["simba"].bind({"norm": "linf"})["eps"] == 4 / 255
    assert recipes["pgd"].bind({"norm": "l2", "steps": 10})["step_size"] == 2.5 * 0.5 / 10


@pytest.mark.parametrize(
    ("attack", "given", "unread"),
    [
        ("apgd", {"loss": "margin"}, "loss"),
        ("cw", {"searches": 8}, "searches"),
        ("apgd", {"loss": "ce", "restarts": 3}, None),
    ],
)
def test_a_library_is_given_no_parameter_that_it_does_not_read(attack, given, unread):
    recipe, asked = shipped_recipes()[attack], {"backend": "torchattacks", **given}
    if unread is None:
        assert recipe.bind(asked)["backend"] == "torchattacks"
        return
    with pytest.raises(ParameterError, match=f"{attack} through torchattacks does not read {unread}"):
        recipe.bind(asked)


def test_a_users_own_recipe_adds_a_torchattacks_class_without_code(tmp_path, image_folder, weights, cli):
    (tmp_path / "mifgsm.yaml").write_text(
        "kind: attack\nname: mifgsm\nsummary: Momentum\nnorms: [linf]\n"
        "params: {eps: {kind: pixels, default: 4/255}, steps: {kind: count, default: 3}}\n"
        "backends: {torchattacks: {linf: {class: MIFGSM, args: {eps: $eps, alpha: 0.01, steps: $steps}}}}\n"
    )
    text = GOOD.replace("attack: pgd, eps: [1/255, 4/255], steps: 3", "attack: mifgsm.yaml, eps: 8/255")
    outcome = cli("run", written(tmp_path, text), "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4/255", 4 / 255),
        ("0.25", 0.25),
        (1, 1.0),
        ("1e-3", 1e-3),
        ("x", None),
        (True, None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_fractions_are_read(text, value):
    assert read_fraction(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(4 / 255, "4/255"), (0.5 / 255, "0.5/255"), (0.25, "0.25"), (1.0, "1"), (0.125, "0.125")],
)
def test_distances_are_written_as_people_write_them(value, text):
    assert write_pixels(value) == text
    assert Parameter(kind="pixels").read(text) == pytest.approx(value)


def test_a_parameter_without_a_default_must_be_given(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "kind: perturb\nname: own\nsummary: mine\nimplementation: a:b\nparams: {size: {kind: count}}\n"
    )
    with pytest.raises(UserError, match=r"scenario.yaml:6: pipelines.p\[0\].size: size has no default"):
        pipelines_of(tmp_path, "  p: [{perturb: own.yaml}]\n")
    assert pipelines_of(tmp_path, "  p: [{perturb: own.yaml, size: 3}]\n")[1].stages[0].params == {"size": 3}


def test_a_merge_may_be_overridden(tmp_path):
    block = "  a: [&base {attack: pgd, eps: 4/255, steps: 7}]\n  b: [{<<: *base, eps: 2/255}]\n  c: [{<<: *base}]\n"
    a, b, c = [pipeline.stages[0].params for pipeline in pipelines_of(tmp_path, block)[1:]]
    assert (b["eps"], b["steps"]) == (pytest.approx(2 / 255), 7)
    assert a == c


def test_a_chain_of_aliases_is_refused_before_it_explodes(tmp_path):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UserError, match="too large"):
        load_scenario(written(tmp_path, "\n".join(levels)))
