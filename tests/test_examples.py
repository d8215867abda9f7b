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
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


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


SHOWN = {
    "my_detector": "same version: True | later version: False",
    "my_folder": "separable after: []",
    "paper_figure": "tables/summary.tex",
}
"""A text in the outputs of each notebook; each also shows a picture."""


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_fresh_folder_and_leaves_nothing(file, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(file, as_version=4)
    client.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    texts = [json.dumps(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in text for text in texts)
    assert any(SHOWN[file.stem] in text for text in texts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs_and_state(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("file", [*EXAMPLES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_examples_use_public_names_alone(file):
    for node in ast.walk(ast.parse(code_of(file))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustbench_aigen"):
            assert node.module == "robustbench_aigen"
            assert {alias.name for alias in node.names} <= {*robustbench_aigen.__all__}
