"""The examples run in a fresh folder, as a newcomer runs them, and with public names alone."""

import ast
import json
import runpy
import warnings
from pathlib import Path

import pytest
from conftest import REPOSITORY

import robustbench_aigen

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
NOTEBOOK = REPOSITORY / "examples" / "first_steps.ipynb"


def code_of(file: Path) -> str:
    if file.suffix == ".py":
        return file.read_text(encoding="utf-8")
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_in_a_fresh_folder_and_leaves_nothing(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr("sys.argv", [str(script)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_notebook_runs_and_is_committed_without_outputs(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    client.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    texts = [json.dumps(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in text for text in texts)
    assert any("same version: True | later version: False" in text for text in texts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", [*EXAMPLES, NOTEBOOK], ids=lambda path: path.stem)
def test_examples_use_public_names_alone(file):
    for node in ast.walk(ast.parse(code_of(file))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustbench_aigen"):
            assert node.module == "robustbench_aigen"
            assert {alias.name for alias in node.names} <= {*robustbench_aigen.__all__}
