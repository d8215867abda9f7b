"""The shape of the code: imports point one way, and names say what is inside."""

import ast
from pathlib import Path

from conftest import REPOSITORY

PACKAGE = REPOSITORY / "robustbench_aigen"
# A layer may import from itself and from those after it.
LAYERS = [
    {"cli"},
    {"training", "leaderboard", "app"},
    {"evaluation", "interop", "listing", "plugins"},
    {"explain", "suites"},
    {"engine", "views"},
    {"runs"},
    {"trust"},
    {"metrics"},
    {"attacks"},
    {"perturbations"},
    {"detectors"},
    {"data"},
    {"numerics"},
    {"words"},
    {"scenario"},
    {"stages"},
    {"documents"},
    {"registry"},
    {"catalogue", "imports"},
    {"digests"},
    {"parquet"},
    {"file_reading"},
    {"files", "csv_text", "notices", "registry"},
    {"errors", "text"},
]
REACH_UP = {
    "engine/experiment.py": {"estimate", "run"},
    "runs/run.py": {"save", "report", "compare", "compare_detectors", "gate", "_repr_html_"},
    "scenario/scenario.py": {"check", "experiment", "run"},
    "stages/stage.py": {"__call__", "differentiable"},
}
"""Methods that import from above, inside the method: an object does what its user asks of it."""
LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def imported(file: Path) -> set[str]:
    names = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    methods = REACH_UP.get(str(file.relative_to(PACKAGE)), set())
    upwards = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in methods]
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and methods]
    skipped = {inner for node in [*upwards, *for_types] for inner in ast.walk(node)}
    for node in set(ast.walk(tree)) - skipped:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustbench_aigen."):
            names.add(node.module.split(".")[1])
    return names


def test_imports_point_one_way():
    found = []
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in LEVEL:
            for other in imported(file):
                found += (
                    [f"{file.relative_to(PACKAGE)} imports {other}"]
                    if LEVEL[other] <= LEVEL[own] and other != own
                    else []
                )
    assert found == []


def test_no_module_is_called_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "stuff"}
    assert not [file for file in REPOSITORY.rglob("*.py") if file.stem in vague and ".venv" not in file.parts]


def test_no_two_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_runs_and_commands_are_typed():
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for folder in ("runs", "cli")
        for file in sorted((PACKAGE / folder).glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert found == []
