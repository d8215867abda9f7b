"""Files for a repository's host and for citation: they parse, and say the same as the package."""

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import REPOSITORY

from robustbench_aigen.engine.scenario_checks import check_scenario
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import load_scenario

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def steps_of(workflow):
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def test_the_citation_and_the_changelog_have_the_version_of_the_package():
    citation = read(REPOSITORY / "CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    heads = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert heads[1] == PROJECT["version"]


def test_the_tests_run_on_the_lowest_versions_that_the_package_allows():
    matrix = read(REPOSITORY / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]
    (lowest,) = [each for each in matrix["include"] if "torchvision" in each]
    needed = dict(each.split(">=") for each in PROJECT["dependencies"])
    assert lowest["python"] == matrix["python"][0]
    for name in ("torch", "torchvision"):
        assert lowest[name].startswith(needed[name])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_calls_targets_that_exist_and_may_only_read(workflow):
    content = read(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert content[True], "YAML reads the key `on` as true"
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for step in steps_of(workflow):
        assert ("run" in step) != ("uses" in step)
        for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
            assert target in targets


def test_the_gate_of_the_workflow_fits_its_baseline():
    (step,) = [
        each for each in steps_of(REPOSITORY / ".github" / "workflows" / "ci.yml") if each.get("uses") == "./"
    ]
    action = read(REPOSITORY / "action.yml")
    assert step["with"].keys() <= action["inputs"].keys()
    scenario = load_scenario(REPOSITORY / step["with"]["scenario"])
    baseline = Run.load(REPOSITORY / step["with"]["baseline"])
    checked = check_scenario(scenario)
    assert checked.images == baseline.info.data.images
    assert checked.cells == len(baseline.info.pipelines) * len(baseline.info.detectors)
    assert scenario.gate is not None


@pytest.mark.parametrize("form", FORMS, ids=lambda file: file.stem)
def test_a_form_has_fields_with_labels(form):
    content = read(form)
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= content.keys()
    fields = [each for each in content["body"] if each["type"] != "markdown"]
    assert fields
    assert all(each["attributes"]["label"] for each in fields)
    assert len({each["id"] for each in fields}) == len(fields)


def test_the_files_for_clusters_are_well_formed_and_use_options_that_exist(cli):
    slurm, job = (REPOSITORY / "examples" / "cluster" / name for name in ("slurm.sh", "rayjob.yaml"))
    assert subprocess.run(["bash", "-n", slurm], capture_output=True, check=False).returncode == 0
    content = yaml.safe_load(job.read_text(encoding="utf-8"))
    assert content["kind"] == "RayJob"
    helped = cli("run", "--help").out
    commands = [content["spec"]["entrypoint"], slurm.read_text(encoding="utf-8").splitlines()[-1]]
    for command in commands:
        options = [word for word in command.split() if word.startswith("--")]
        assert {"--engine", "--address"} <= {*options}
        assert all(option in helped for option in options)
