"""The suites of ``benchmark``: frozen files, every value written out."""

import json
from hashlib import sha256

import pytest
from conftest import REPOSITORY

from robustbench_aigen import Run, Scenario, UserError, benchmark
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.stages.parameters import read_fraction

FOLDER = REPOSITORY / "robustbench_aigen" / "suites"
SUITES = {file.stem: file for file in FOLDER.glob("*.yaml")}
FROZEN = {
    "cifake_v1.csv": "adb007c48e8eb3e8d9c30bc67afd31bb61085025eee8d422dbf087df593037be",
    "cifake_v1.yaml": "9d3beebad527eee5ada0bbdf484601d351e16f214e1cf9d8644482c3ebeb5837",
    "own_v1.yaml": "69275e686ce21dbb8cad24056bfcb5ac52a8da8512d56a0dd4bed665b40fe8ca",
    "quick_v1.yaml": "6480bbf0deedad739435ea31f7af79a95f393a8c4f9b276dd976dd57292ae78b",
    "standard_v1.yaml": "bbedb79573b0acc67cb44ead8ff85cf2bbc5a14f3ba6a2467c4d3c1d734efaf6",
}
"""What each file is; whoever changes one makes a new version instead.

A parameter that a recipe gets later is written out with the value that leaves every number as it was: ``effort`` and
``audit`` of ``auto``.
"""


def test_no_suite_has_changed():
    files = [file for file in FOLDER.iterdir() if file.suffix in (".csv", ".yaml")]
    assert {file.name: sha256(file.read_bytes()).hexdigest() for file in files} == FROZEN


@pytest.mark.parametrize("name", SUITES)
def test_no_default_of_a_recipe_decides_a_number(name):
    scenario = Scenario.from_yaml(SUITES[name])
    assert scenario.name == name
    for pipeline in expand_pipelines(scenario):
        for stage in [inner for outer in pipeline.stages for inner in (outer, *outer.through)]:
            assert {**stage.given}.keys() == stage.params.keys()


@pytest.mark.parametrize(("name", "hint"), [("standart", "did you mean 'standard'"), ("quik", "did you mean 'quick'"), (3, "known: cifake, own, quick, standard"), ("standard_v9", "did you mean 'standard'")])  # fmt: skip
def test_an_unknown_suite_names_the_nearest(name, hint):
    with pytest.raises(UserError) as refused:
        benchmark("minigen/lenet5", name)
    assert hint in str(refused.value)


def test_the_command_gives_robustbenchs_numbers(tmp_path, cli):
    options = ("--suite", "quick", "--limit", "24", "--output", tmp_path / "out")
    outcome = cli("benchmark", "minigen/lenet5", "--json", *options)
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    run = Run.load(content["run_folder"])
    assert run.info.scenario.name == "quick_v1-limit24"
    rows = {(row["threat_model"], row["eps"]): row for row in content["robustness"]}
    attacks = {name for name in run.pipelines if name.startswith(("pgd_linf", "pgd_l2", "auto"))}
    assert len(rows) == len({name.partition("eps=")[2] for name in attacks if "eps=" in name})
    records = run.records.pivot_table(index="sample", columns="pipeline", values="correct", aggfunc="min")
    for (norm, eps), row in rows.items():
        assert row["clean_acc"] == pytest.approx(records["clean"].mean())
        same = [
            each.name
            for each in run.info.pipelines
            if [stage.get("norm") for stage in each.stages] == [{"Linf": "linf", "L2": "l2"}[norm]]
            and each.stages[0]["eps"] == pytest.approx(read_fraction(eps))
            and not each.stages[0].get("through")
        ]
        assert row["robust_acc"] == pytest.approx(records[["clean", *same]].all(axis=1).mean())
    shown = cli("benchmark", "minigen/lenet5", *options)
    assert f"clean_acc {100 * run.accuracy():.1f}, robust_acc" in shown.out
    assert cli("benchmark", "minigen/lenet5", "--suite", "quik").code == 2
