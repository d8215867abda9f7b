"""Every example in the documents runs, and the numbers in them are measured ones."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import REPOSITORY

from robustbench_aigen import list_attacks, list_perturbations
from robustbench_aigen.detectors.format import DETECTOR_FORMATS
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.recipe_files import read_recipe, shipped_recipes
from robustbench_aigen.views.table import percent

pytestmark = pytest.mark.usefixtures("undrawn")

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)(?: title="[^"]+")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
SMALLER = {
    # The whole of it is the demo; its numbers are tested below.
    "robust-aigen run scenarios/pgd_eps4.yaml": ("--limit", 40),
    "robust-aigen run pgd_eps4": ("--limit", 40),
    "robust-aigen run auto --limit 10": ("--limit", 2, "--detector", "minigen/lenet5"),
}
"""Options for commands that take long."""


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory) -> Path:
    """An untrained LeNet-5 as torch exports it, its weights inside the file."""
    pytest.importorskip("onnxscript")
    file = tmp_path_factory.mktemp("onnx") / "lenet5.onnx"
    network = build_architecture("lenet5").eval()
    torch.onnx.export(network, (torch.rand(2, 3, 32, 32),), file, external_data=False, verbose=False)
    return file


@pytest.fixture
def workplace(tmp_path, image_folder, weights, onnx_model, monkeypatch) -> Path:
    """A folder with the files in the examples of the README and of docs/SCENARIOS.md."""
    image_folder.rename(tmp_path / "my_images")
    weights.rename(tmp_path / "my_detector.safetensors")
    shutil.copy(onnx_model, tmp_path / "my_model.onnx")
    (tmp_path / "my_code.py").write_text(
        "from robustbench_aigen.detectors.zoo import build_architecture\n"
        "def build():\n    return build_architecture('lenet5')\n"
    )
    shutil.copytree(REPOSITORY / "scenarios", tmp_path / "scenarios")
    for kind, text in blocks_of("docs/SCENARIOS.md"):
        if kind == "yaml":
            content = yaml.safe_load(text)
            (tmp_path / f"{content['name']}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_yaml_of_the_scenarios_document_works(workplace, cli):
    assert load_scenario(workplace / "my_scenario.yaml").name == "my_scenario"
    assert read_recipe(workplace / "jitter.yaml").name == "jitter"
    assert [stage.recipe.name for stage in read_recipe(workplace / "my_site.yaml").chain] == [
        "fit_within",
        "jpeg",
    ]
    text = (
        (workplace / "my_scenario.yaml").read_text().replace("attack: pgd, norm: linf", "attack: jitter.yaml")
    )
    (workplace / "with_own_recipe.yaml").write_text(text)
    outcome = cli("run", "with_own_recipe.yaml", "--limit", 10)
    assert outcome.code == 0, outcome.err


HEAD = "version: 1\nname: x\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\n"


def blocks_of(document: str, without: str = "\0") -> list[tuple[str, str]]:
    """The code of a document, or of a document without the section of a heading."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    before, _, section = text.partition(without)
    text = before + section.partition("\n## ")[2]
    return BLOCK.findall(text)


@pytest.mark.parametrize(
    "document", ["docs/ATTACKS.md", "docs/DETECTORS.md", "docs/SCENARIOS.md", "docs/THREAT_MODELS.md"]
)
def test_every_yaml_binds(document, tmp_path):
    """A recipe is read, a scenario expanded; a block of ``pipelines`` alone is one of a scenario on minigen."""
    found = [text for kind, text in blocks_of(document) if kind == "yaml"]
    assert found
    for number, text in enumerate(found):
        file, content = tmp_path / f"{number}.yaml", yaml.safe_load(text)
        if set(content) == {"pipelines"}:
            file.write_text(HEAD + text)
        else:
            file.write_text(text)
        if "kind" in content:
            assert read_recipe(file).name == content["name"]
        elif "http" in content:
            assert DetectorSpec.model_validate(content).id == content["id"]
        else:
            assert len(expand_pipelines(load_scenario(file))) > len(content["pipelines"])


WITH_COMMANDS = [
    "README.md",
    "docs/ATTACKS.md",
    "docs/AUDIT.md",
    "docs/PREDICT.md",
    "docs/REPORTS.md",
    "docs/SCENARIOS.md",
]
TESTED_ELSEWHERE = {
    "docs/APP.md": "test_app.py",
    "docs/DATA.md": "test_data_document.py",
    "docs/DETECTORS.md": "test_documents.py",
    "docs/EXPLAIN.md": "test_explain.py",
    "docs/EXPORT.md": "test_export.py",
    "docs/FINETUNE.md": "test_finetune.py",
    "docs/GATE.md": "test_gate_document.py",
    "docs/LAUNDERING.md": "test_laundering.py",
    "docs/LEADERBOARD.md": "test_leaderboard.py",
    "docs/PROTOCOLS.md": "test_protocols.py",
    "docs/PYTHON.md": "test_python_document.py",
    "docs/SCORES.md": "test_scores.py",
    "docs/STATISTICS.md": "test_plugins.py",
    "docs/THREAT_MODELS.md": "test_documents.py",
    "docs/TRAINING.md": "test_training_parts.py",
    "docs/index.md": "test_documents.py",
    **dict.fromkeys(
        (f"docs/tutorials/{file.name}" for file in (REPOSITORY / "docs" / "tutorials").glob("*.md")),
        "test_tutorials.py",
    ),
}


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_every_command_of_a_document_runs(document, workplace, cli):
    # The five commands from the installation to a page: tests/test_first_path.py.
    commands = [
        line[2:]
        for kind, text in blocks_of(document, without="## Install, benchmark, leaderboard")
        if kind == "console"
        for line in text.splitlines()
        if line.startswith("$ ")
    ]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "robust-aigen"
        outcome = cli(*arguments, *SMALLER.get(command, ()))
        assert outcome.code == 0, (command, outcome.err)


def test_the_commands_of_the_first_page_are_those_of_the_readme():
    commands = {line for _, text in blocks_of("docs/index.md") for line in text.splitlines()}
    assert commands <= {line for _, text in BLOCKS for line in text.splitlines()}


def test_the_examples_of_the_detectors_document_run(workplace, cli):
    # The section on HTTP needs a server: tests/test_http_detectors.py.
    blocks = blocks_of("docs/DETECTORS.md", without="## Detectors behind HTTP")
    scenario, crops = [text for kind, text in blocks if kind == "yaml"]
    (workplace / "my_formats.yaml").write_text(scenario)
    (workplace / "crop_or_tiles.yaml").write_text(crops)
    outcome = cli("run", "crop_or_tiles.yaml", "--trust", "off")
    assert outcome.code == 0, outcome.err
    commands = [text for kind, text in blocks if kind == "console"]
    for line in "".join(commands).splitlines():
        outcome = cli(*shlex.split(line)[2:])
        assert outcome.code == 0, (line, outcome.err)
    (code,) = [text for kind, text in blocks if kind == "python"]
    exec(compile(ast.parse(code), "DETECTORS", "exec"), {})


def test_the_formats_of_the_detectors_document_are_those_there_are():
    text = (REPOSITORY / "docs" / "DETECTORS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*) \| .+ \| .+ \| (.*)\|$", text.split("## Settings")[0], re.MULTILINE)
    said = [(written.replace("`", ""), trust.strip().replace("`", "")) for written, trust in rows]
    assert said[2:] == [(each.written, each.trust.partition(":")[0]) for each in DETECTOR_FORMATS]


def test_no_other_document_has_untested_examples():
    kinds = {
        kind
        for file in [REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")]
        if file.relative_to(REPOSITORY).as_posix() not in {*WITH_COMMANDS, *TESTED_ELSEWHERE}
        for kind, _ in blocks_of(str(file.relative_to(REPOSITORY)))
    }
    assert kinds <= {"sh"}  # make, in CONTRIBUTING.


@pytest.mark.parametrize(("document", "tests"), TESTED_ELSEWHERE.items())
def test_what_is_tested_elsewhere_is_named_there(document, tests):
    named = '"docs" / "tutorials"' if "tutorials/" in document else Path(document).name
    assert named in (REPOSITORY / "tests" / tests).read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(workplace, capsys):
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(ast.parse(code), "README", "exec"), {})
    assert capsys.readouterr().out


def test_the_readmes_first_table_is_the_committed_result():
    summary = pd.read_csv(REPOSITORY / "results" / "minigen" / "pgd_eps4" / "summary.csv")
    summary = summary[summary["generator"] == "all"]
    first = next(text for kind, text in BLOCKS if kind == "console" and "95 % CI" in text)
    detector, shown = "", {}
    for line in first.splitlines():
        if line.strip().startswith("minigen/"):
            detector = line.strip()
        elif detector and len(cells := line.split()) > 1 and re.fullmatch(r"\d+\.\d", cells[1]):
            shown[detector, cells[0]] = cells[1]
    assert shown == {(row.detector, row.pipeline): percent(row.accuracy) for row in summary.itertuples()}


def test_the_numbers_of_the_first_screen_are_measured():
    summary = pd.read_csv(REPOSITORY / "results" / "minigen" / "pgd_eps4" / "summary.csv")
    rows = summary[(summary["generator"] == "all") & (summary["detector"] == "minigen/cifake_cnn")]
    left = {row.pipeline: percent(row.accuracy) for row in rows.itertuples()}
    text = " ".join(README.split())
    assert f"A detector with {left['clean']} % accuracy keeps {left['pgd[eps=1/255]']} %" in text
    assert left["pgd[eps=4/255]"] == "0.0"
    assert f"| attacks | {len(list_attacks())}, of five engines |" in README
    assert f"| {len(list_perturbations())} perturbations, also after or inside an attack |" in README
    chains = [name for name, recipe in shipped_recipes().items() if getattr(recipe, "chain", ())]
    single = len(list_perturbations()) - len(chains)
    assert f"The {single} perturbations (codecs" in (REPOSITORY / "docs" / "SCENARIOS.md").read_text()


def test_the_pictures_of_the_readme_are_small():
    pictures = [*(REPOSITORY / "docs" / "images").iterdir()]
    assert {file.name for file in pictures} == {"attacked.png", "curves.png"}
    assert sum(file.stat().st_size for file in pictures) < 300_000


DOCUMENTS = sorted(
    str(file.relative_to(REPOSITORY))
    for folder in (".", "docs", "docs/reference", "docs/tutorials", "benchmarks/minigen")
    for file in (REPOSITORY / folder).glob("*.md")
)


def anchors_of(file: Path) -> set[str]:
    """The anchors of a document's headings, by the rule of repository hosts; code is left out."""
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_anchors_are_those_of_headings(document):
    file = REPOSITORY / document
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", file.read_text(encoding="utf-8")):
        if "://" not in target:
            linked = file.parent / target if target else file
            assert anchor in anchors_of(linked), (target, anchor)


def test_a_missing_anchor_is_found(tmp_path):
    (tmp_path / "a.md").write_text("# `auto`: one, two\n```\n# code\n```\n## L∞ & L2\n")
    assert anchors_of(tmp_path / "a.md") == {"auto-one-two", "l--l2"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_lead_somewhere(document):
    file = REPOSITORY / document
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), target
    if document == "CONTRIBUTING.md":
        for path in re.findall(
            r"`((?:scenario|stages|documents|runs|views|trust|numerics|data|engine|attacks|detectors|metrics|tests|benchmarks|docs|robustbench_aigen)/[\w./]+)`",
            file.read_text(),
        ):
            assert (REPOSITORY / path).exists() or (REPOSITORY / "robustbench_aigen" / path).exists(), path
