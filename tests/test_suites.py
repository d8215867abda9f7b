"""The suites of ``benchmark``: frozen files, every value written out."""

from hashlib import sha256

import pytest
from conftest import REPOSITORY

from robustbench_aigen import Scenario, UserError, benchmark
from robustbench_aigen.scenario.pipelines import expand_pipelines

SUITES = {file.stem: file for file in (REPOSITORY / "robustbench_aigen" / "suites").glob("*.yaml")}
FROZEN = {
    "quick_v1": "368f1a7ee4020d529ba6ab55cb227501e6cf5af493295648e123869d4a9da7b0",
    "standard_v1": "cdcfb1c09c558677e01e2d68eecf7634873b5898b74c6164743c1b5cea912227",
}
"""What each file is; whoever changes one makes a new version instead."""


def test_no_suite_has_changed():
    assert {name: sha256(file.read_bytes()).hexdigest() for name, file in SUITES.items()} == FROZEN


@pytest.mark.parametrize("name", SUITES)
def test_no_default_of_a_recipe_decides_a_number(name):
    scenario = Scenario.from_yaml(SUITES[name])
    assert scenario.name == name
    for pipeline in expand_pipelines(scenario):
        for stage in [inner for outer in pipeline.stages for inner in (outer, *outer.through)]:
            assert {**stage.given}.keys() == stage.params.keys()


@pytest.mark.parametrize(("name", "hint"), [("standart", "did you mean 'standard'"), ("quik", "did you mean 'quick'"), (3, "known: quick, standard"), ("standard_v9", "did you mean 'standard'")])  # fmt: skip
def test_an_unknown_suite_names_the_nearest(name, hint):
    with pytest.raises(UserError) as refused:
        benchmark("minigen/lenet5", name)
    assert hint in str(refused.value)
