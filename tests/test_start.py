"""What commands import: each waits for no more than it uses, as the modules of its process tell when it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gated_runs import made_up, write

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.scenario.cells import expand_pipelines
from robustbench_aigen.scenario.schema import load_scenario

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
