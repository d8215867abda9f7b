"""An attack and a perturbation in one plugin file each: in lists, in a run, as functions, in the key of a shard."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from robustbench_aigen import attacks, list_attacks, list_perturbations, perturbations, registry
from robustbench_aigen.engine import identity
from robustbench_aigen.errors import UserError
from robustbench_aigen.registry import load_plugin
from robustbench_aigen.stages.recipe_files import RECIPES

ATTACK = '''
import torch
from robustbench_aigen.plugins import AttackChunk, attack

@attack(
    norms=["linf"],
    params={"eps": {"kind": "pixels", "default": "8/255"}, "steps": {"kind": "count", "default": 2, "min": 1}},
    access="scores",
    cost={"queries": "3 * steps"},
)
def brighten(task, *, steps):
    """The same step up for every pixel."""
    for rows in task.batches():
        count = torch.full((len(rows),), steps)
        yield AttackChunk(rows, (task.pixels(rows) + task.threat.eps).clamp(0, 1), count, count)
'''
PERTURBATION = '''
import torch
from robustbench_aigen.plugins import perturbation

def softly(pixels, *, bits):
    return pixels

@perturbation(
    params={"bits": {"kind": "count", "default": 4, "min": 1, "max": 8}},
    severities={"bits": [6, 5, 4, 3, 2]},
    differentiable=softly,
)
def coarse(levels, *, bits):
    """Fewer levels a channel."""
    step = 2 ** (8 - bits)
    return levels // step * step

@perturbation(params={}, random=True)
def flicker(levels, streams):
    return levels
'''
SCENARIO = """
version: 1
name: own
plugins: [one.py, two.py]
data: {source: minigen, split: test, limit: 12}
detectors: [minigen/lenet5]
trust: off
pipelines:
  up: [{attack: brighten, eps: [4/255, 8/255]}]
  both: [{attack: brighten}, {perturb: coarse, severity: 5}, {perturb: flicker}]
  inside: [{attack: pgd, steps: 2, through: [{perturb: coarse, bits: 3}]}]
  chain: [{perturb: chain.yaml}]
"""
CHAIN = "kind: perturb\nname: chain\nsummary: mine\nchain: [{perturb: coarse, bits: 2}, {perturb: jpeg}]\n"


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, text in {"one.py": ATTACK, "two.py": PERTURBATION, "chain.yaml": CHAIN}.items():
        (tmp_path / name).write_text(text)
    file = tmp_path / "own.yaml"
    file.write_text(SCENARIO)
    return file


def test_one_file_each_is_in_lists_run_and_result(file, tmp_path, cli):
    outcome = cli("list", "attacks", "--json", "--plugin", tmp_path / "one.py")
    (row,) = [row for row in json.loads(outcome.out) if row["name"] == "brighten"]
    assert row["summary"] == "The same step up for every pixel."
    assert (row["norms"], row["access"], row["parameters"]) == ("linf", "scores", "eps=8/255, steps=2")
    assert '"coarse"' in cli("list", "perturbations", "--json", "--plugin", tmp_path / "two.py").out
    assert cli("validate", file).code == 0
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "out" / "own" / "latest"
    records = pd.read_parquet(folder / "records.parquet").set_index("pipeline")
    tried = records.loc["up[eps=4/255]"]
    tried = tried[tried["attacked"]]
    assert tried["linf"].max() == pytest.approx(4 / 255)
    assert (tried["queries"] == 2).all()
    assert set(records.index) >= {"both", "inside", "chain", "up[eps=8/255]"}
    assert "brighten" in (folder / "run.json").read_text()
    assert len(pd.read_csv(folder / "summary.csv")) > 4


def test_both_are_functions_of_the_package(file, tmp_path):
    load_plugin(tmp_path / "one.py")
    load_plugin(tmp_path / "two.py")
    assert "brighten" in list_attacks(access="scores")
    assert "brighten" in dir(attacks)
    assert {"coarse", "flicker"} <= {*list_perturbations()} & {*dir(perturbations)}
    assert "steps" in attacks.brighten.__doc__
    assert attacks.create("brighten", steps=5) == attacks.brighten(steps=5)
    assert attacks.brighten.recipe.work(attacks.brighten(steps=5).params) == (0, 15)
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    assert perturbations.coarse(bits=1)(levels).unique().tolist() == [0, 128]
    assert perturbations.coarse(severity=5).params["bits"] == 2
    pixels = torch.rand(1, 3, 4, 4)
    assert torch.equal(perturbations.coarse().differentiable(pixels), pixels)
    assert torch.equal(perturbations.flicker()(levels), levels)
    with pytest.raises(UserError, match="brighten has no parameter 'step'"):
        attacks.brighten(step=5)
    with pytest.raises(AttributeError, match="unknown perturbation 'brighten'"):
        perturbations.brighten  # noqa: B018


@pytest.mark.parametrize(
    ("name", "old", "new"), [("one.py", "+ task", "- task"), ("two.py", "// step", "// 32")]
)
def test_other_code_is_another_shard(file, tmp_path, cli, name, old, new):
    def found() -> list[float]:
        outcome = cli("run", file, "--output", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        table = pd.read_parquet(tmp_path / "out" / "own" / "latest" / "records.parquet")
        return table[table["pipeline"] == "both"]["score"].tolist()

    first = found()
    source = tmp_path / name
    assert old in source.read_text()
    # Another process would read the file anew.
    forget(tmp_path)
    source.write_text(source.read_text().replace(old, new))
    assert found() != first


def forget(folder: Path) -> None:
    for file in [each for each in registry._PLUGINS if each.parent == folder.resolve()]:
        sys.modules.pop(registry._PLUGINS.pop(file).__name__)
    registry._restore({RECIPES: frozenset()})
    identity._implementation_code.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def brighten", "def pgd", "the attack 'pgd' is registered twice: attacks/pgd.yaml"),
        ("def brighten", "def jpeg", "perturbations/jpeg.yaml"),
        ("def brighten", "def task", "'task' is a reserved name for attacks"),
        ("def brighten", "def create", "'create' is a reserved name for attacks"),
        ("task, *, steps", "task, *, step", "does not take the declared parameters"),
        ('"linf"', '"lnf"', "'brighten': norms[0]: must be 'linf', 'l2'"),
        ('"scores"', '"score"', "access: must be 'gradients', 'scores' or 'decisions'"),
        ('"count", "default": 2', '"cout", "default": 2', "params.steps.kind: must be"),
        ('"8/255"', '"x"', "params.eps: default must be a distance"),
        ("3 * steps", "3 * step", "did you mean 'steps'?"),
        ('"eps": {"kind": "pixels", "default": "8/255"}, ', "", "needs the parameter 'eps'"),
    ],
)
def test_a_wrong_declaration_is_one_line_with_its_place(tmp_path, old, new, said):
    assert old in ATTACK
    (tmp_path / "wrong.py").write_text(ATTACK.replace(old, new))
    with pytest.raises(UserError) as refused:
        load_plugin(tmp_path / "wrong.py")
    assert said in str(refused.value)
    assert "wrong.py:" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def coarse(levels, *, bits)", "def coarse(levels, *, bit)", "write def coarse(levels, *, bits)"),
        (
            "def softly(pixels, *, bits)",
            "def softly(pixels)",
            "'softly' does not take the declared parameters",
        ),
        ("flicker(levels, streams)", "flicker(levels)", "write def flicker(levels, streams)"),
        ("[6, 5, 4, 3, 2]", "[6, 5, 4, 3]", "severities.bits"),
        ("[6, 5, 4, 3, 2]", "[6, 5, 4, 3, 9]", "severities.bits: must be at most 8"),
        ("def flicker", "def coarse", "registered twice"),
        ("differentiable=softly", "differentiable=torch.relu", "is not a function"),
    ],
)
def test_a_wrong_perturbation_is_one_line_with_its_place(tmp_path, old, new, said):
    assert old in PERTURBATION
    (tmp_path / "wrong.py").write_text(PERTURBATION.replace(old, new))
    with pytest.raises(UserError) as refused:
        load_plugin(tmp_path / "wrong.py")
    assert said in str(refused.value)
    assert "wrong.py:" in str(refused.value)
    assert "softly" not in list_perturbations()
    assert "coarse" not in list_perturbations()


def test_a_function_in_a_function_is_refused(tmp_path):
    text = "def make():\n" + "\n".join(f"    {line}" for line in ATTACK.splitlines()) + "\nmake()\n"
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(UserError, match="top level of its file"):
        load_plugin(tmp_path / "wrong.py")
