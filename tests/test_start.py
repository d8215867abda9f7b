"""What commands import: each waits for no more than it uses, as the modules of its process tell when it ends."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gated_runs import made_up, write

from robustbench_aigen import load_detector
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.cli.collector import paused_collector, resume_collector
from robustbench_aigen.detectors.checking import known_detector
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.engine import examination
from robustbench_aigen.engine.scenario_checks import bound_pipelines
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.recipe_files import find_recipe, is_shipped, shipped_recipes

SLOW = [
    "torch", "torch._dynamo", "torchvision", "sklearn", "scipy.stats", "matplotlib", "seaborn", "art", "torchattacks", "lightning",
    "timm", "transformers", "onnx", "keras",
]  # fmt: skip
"""Modules whose import takes longer than most commands work."""
ONE_AFTER_THE_OTHER = """
import json, sys
from robustbench_aigen.cli.app import main
slow, codes, *commands = map(json.loads, sys.argv[1:])
for command in commands:
    sys.argv = ["robust-aigen", *command]
    try:
        main()
    except SystemExit as end:
        assert end.code in codes, (command, end.code)
    found = sorted({*slow} & {*sys.modules})
    assert not found, (command, found)
"""


def imports_none(slow: list[str], *commands: list[str], codes: tuple[int, ...] = (0,)) -> None:
    """Give commands to one new process and see that none of them imports a slow module."""
    given = map(json.dumps, (slow, codes, *commands))
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two runs to hold against each other."""
    folder = tmp_path_factory.mktemp("gated")
    right = np.arange(60) % 4 > 0
    run = made_up({("d", "clean"): right, ("d", "pgd"): right & (np.arange(60) % 3 > 0)})
    return str(write(run, folder / "results" / "made_up" / "one")), str(write(run, folder / "before"))


def test_lists_checks_and_the_gate_import_nothing_slow(gated):
    current, baseline = gated
    kinds = ("attacks", "perturbations", "detectors", "scenarios", "finetunings", "data")
    imports_none(
        SLOW,
        *(["list", kind] for kind in kinds),
        ["list", "data", "minigen"],
        ["list", "runs", "--output", str(Path(current).parents[1])],
        ["gate", current, "--baseline", baseline],
        ["gate", current, "--baseline", baseline, "--metric", "auroc", "--metric", "ap"],
        ["validate", "pgd_eps4"],
    )


def is_native(name: str) -> bool:
    """Whether every attack of a scenario is this package's own."""
    pipelines = expand_pipelines(load_scenario(name))
    return all(stage.params.get("backend", "native") == "native" for p in pipelines for stage in p.stages)


def test_scenarios_of_this_package_alone_are_validated_without_torch():
    """Whether another library has the class of an attack, only importing the library tells."""
    names = [name for name in shipped_files("scenarios") if is_native(name)]
    assert len(names) > len(shipped_files("scenarios")) // 2
    imports_none(SLOW, ["validate", *names, *shipped_files("finetunings")])


def test_refusals_import_nothing_slow(tmp_path):
    head = "version: 1\nname: wrong\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\npipelines:\n"
    wrong = {
        "attack.yaml": f"{head}  p: [{{attack: pdg}}]\n",
        "parameter.yaml": f"{head}  p: [{{attack: pgd, esp: 4/255}}]\n",
        "value.yaml": f"{head}  p: [{{perturb: jpeg, quality: 101}}]\n",
        "key.yaml": f"{head}  p: [{{attack: pgd}}]\nseeed: 1\n",
    }
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in wrong]
    imports_none(
        SLOW,
        *([command, file] for command in ("run", "validate") for file in files),
        ["run", "pdg_eps4"],
        ["report", str(tmp_path / "nothing")],
        ["gate", str(tmp_path / "nothing"), "--baseline", str(tmp_path)],
        codes=(2,),
    )


def test_a_run_from_the_cache_and_a_dry_run_import_torch_alone(tmp_path, cli):
    command = ["run", "pgd_eps4", "--limit", "8", "--output", str(tmp_path)]
    assert cli(*command).code == 0
    imports_none([name for name in SLOW if name != "torch"], command, [*command, "--dry-run"])
    newest = json.loads((tmp_path / "pgd_eps4" / "latest" / "run.json").read_text())
    cells = [row for row in newest["timings"] if row["step"] == "cell"]
    assert [row["shards_computed"] for row in cells] == [0] * len(cells)


def is_loaded_as_known(spec: DetectorSpec) -> bool:
    known, loaded = known_detector(spec), load_detector(spec)
    return (known.name, known.differentiable, [*known.changes]) == (
        loaded.name, loaded.differentiable, [*loaded.changes]
    )  # fmt: skip


@pytest.mark.parametrize("name", shipped_detectors())
def test_what_is_known_of_a_shipped_detector_is_what_loading_it_tells(name):
    assert is_loaded_as_known(DetectorSpec(id=name))


@pytest.mark.parametrize(
    "said",
    [
        {"id": "minigen/lenet5", "name": "mine"},
        {"id": "minigen/lenet5", "wrap": "trim"},
        {"id": "minigen/lenet5", "wrap": "trim", "name": "defended"},
        {"ensemble": ["minigen/lenet5", "minigen/cifake_cnn"]},
        {"ensemble": ["minigen/lenet5", {"id": "minigen/cifake_cnn", "wrap": "trim"}], "by": "majority"},
        {"ensemble": ["minigen/lenet5", "minigen/cifake_cnn"], "name": "both"},
    ],
)
def test_what_is_known_of_defences_and_ensembles_is_what_loading_them_tells(said):
    assert is_loaded_as_known(DetectorSpec.model_validate(said))


def test_only_what_ships_is_known_without_loading(weights):
    own = {"path": str(weights), "arch": "lenet5"}
    assert known_detector(DetectorSpec(**own)) is None
    assert known_detector(DetectorSpec(id="minigen/lenet6")) is None
    assert known_detector(DetectorSpec.model_validate({"ensemble": ["minigen/lenet5", own]})) is None


def test_a_recipe_of_ones_own_is_checked_where_its_function_is_this_packages(tmp_path):
    recipe = (
        "kind: perturb\nname: jpeg\nsummary: s\nimplementation: robustbench_aigen.perturbations.codecs:jpg\n"
    )
    (tmp_path / "jpeg.yaml").write_text(recipe)
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\npipelines: {p: [{perturb: jpeg.yaml}]}\n"
    )
    with pytest.raises(UserError, match="has no 'jpg'"):
        bound_pipelines(load_scenario(tmp_path / "s.yaml"))


def test_every_shipped_recipe_is_found_and_known_as_shipped():
    for name, recipe in shipped_recipes().items():
        assert recipe.name == name
        assert is_shipped(recipe)
        assert find_recipe(recipe.kind, name, Path()) is recipe
        assert not is_shipped(recipe.model_copy(update={"summary": "other"}))


def test_the_collector_is_paused_until_the_work_begins():
    assert gc.isenabled()
    with paused_collector():
        assert not gc.isenabled()
        resume_collector()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_a_detector_answers_comes_from_the_cache_unless_the_run_is_fresh(tmp_path, monkeypatch):
    scenario = load_scenario("jpeg_sweep").replace(
        data={"source": "minigen", "limit": 8}, detectors=["minigen/lenet5"]
    )
    first = run(scenario, output=tmp_path)
    asked = []
    monkeypatch.setattr(examination, "examine", lambda *given, **_: asked.append(given[0].name))
    second = run(scenario, output=tmp_path)
    assert asked == []
    assert first.info.trust == second.info.trust
    assert any(probe["flag"] == "stochastic_output" for probe in second.info.trust.probes)
    run(scenario, output=tmp_path, fresh=True)
    assert asked == ["minigen/lenet5"]
