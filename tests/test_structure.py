"""The shape of the code: imports point one way, and names say what is inside."""

import ast
from pathlib import Path

from conftest import REPOSITORY

PACKAGE = REPOSITORY / "robustbench_aigen"
# A layer may import from itself and from those after it.
LAYERS = [
    {"cli"},
    {"training"},
    {"engine"},
    {"gating"},
    {"report"},
    {"trust"},
    {"metrics"},
    {"attacks"},
    {"perturbations", "detectors", "data"},
    {"numerics", "scenario"},
    {"catalogue", "imports"},
    {"digests"},
    {"files", "csv_text", "notices"},
    {"errors", "counted_nouns"},
]
LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustbench_aigen."):
            names.add(node.module.split(".")[1])
    return names


def test_imports_point_one_way():
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in LEVEL:
            for other in imported(file):
                assert LEVEL[other] > LEVEL[own] or other == own, (
                    f"{file.relative_to(PACKAGE)} imports {other}"
                )


def test_no_module_is_called_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "stuff"}
    assert not [file for file in REPOSITORY.rglob("*.py") if file.stem in vague and ".venv" not in file.parts]
