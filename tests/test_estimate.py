"""The estimate of a dry run: what an attack asks for an image, against what it does."""

import pytest
import torch
from test_attack_contract import bound_stage, pictures, silent, stage, task, untrained
from test_engine import scenario

from robustbench_aigen import Scenario, perturbations
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.native.ensemble import parts_of
from robustbench_aigen.engine import estimate
from robustbench_aigen.engine.estimate import work_of
from robustbench_aigen.engine.pace import Pace
from robustbench_aigen.errors import UserError
from robustbench_aigen.stages.recipe_files import read_recipe, shipped_recipes
from robustbench_aigen.stages.stage import make_stage


@pytest.mark.parametrize(
    ("attack", "norm", "params", "work"),
    [
        ("fgsm", "linf", {}, (1, 0)),
        ("pgd", "linf", {"steps": 7, "restarts": 3}, (21, 0)),
        ("cw", "l2", {"steps": 50, "searches": 4}, (200, 0)),
        ("square", "linf", {"steps": 300}, (0, 300)),
        ("simba", "l2", {"steps": 40}, (0, 40)),
        # APGD, APGD twice, FAB twice, and Square.
        ("auto", "linf", {"steps": 10, "restarts": 2, "queries": 100}, (35, 100)),
        ("apgd", "linf", {"steps": 10, "restarts": 2, "widened": 3}, (30, 0)),
    ],
)
def test_work_is_steps_tries_searches_and_queries(attack, norm, params, work):
    assert work_of(bound_stage(attack, norm, "native", 0.01, **params)) == work


@pytest.mark.parametrize(
    ("attack", "norm", "backend", "params"),
    [
        ("pgd", "linf", "native", {"steps": 7}),
        ("square", "linf", "native", {"steps": 30}),
        ("spsa", "linf", "torchattacks", {"steps": 3, "samples": 8}),
        ("zoo", "l2", "art", {"steps": 4, "coordinates": 16}),
        ("vmifgsm", "linf", "torchattacks", {"steps": 3, "neighbours": 5}),
    ],
)
def test_the_work_is_near_the_queries_that_an_attack_counts(attack, norm, backend, params):
    """Within a verdict a step and the few queries of start and end."""
    bound = bound_stage(attack, norm, backend, 0.001, **params)
    outcome = run_attack(bound, task(untrained(), bound, levels=pictures(4), early_stop=False), silent)
    counted, expected = float(outcome.queries.float().mean()), sum(work_of(bound))
    assert torch.isfinite(outcome.log_odds).all()
    assert expected * 0.8 <= counted <= expected + 2 * params["steps"] + 20


def test_black_box_attacks_cost_forward_passes_and_auto_the_sum_of_its_parts(tmp_path, monkeypatch):
    """Where a verdict takes a second in a batch and two alone, and a gradient three."""
    monkeypatch.setattr(estimate, "_pace", lambda *_: Pace(verdict=1.0, single=2.0, gradient=3.0, query=1.0))
    pipelines = (
        "{pgd: [{attack: pgd, steps: 1000}], square: [{attack: square}], auto: [{attack: auto}], "
        "nothing: [{attack: pgd, eps: 0.5/255}], alone: [{attack: square, backend: torchattacks}]}"
    )
    cells = estimate.estimate_cells(Scenario.from_yaml(scenario(tmp_path, pipelines)).experiment())
    seconds = dict(zip(cells["pipeline"], cells["seconds"] / 120, strict=True))
    queries = work_of(stage("square")).queries
    assert seconds == pytest.approx(
        {
            "clean": 1, "nothing": 1, "pgd": 1 + 3 * 1000, "square": 1 + queries, "alone": 1 + 2 * queries,
            # APGD twice, and FAB and Square on the sample of the images given up on.
            "auto": 1 + 3 * (50 + 75) + 0.05 * (3 * 50 + 1000),
        }
    )  # fmt: skip


FORMER = {
    "apgd native linf": ((50, 0), (153, 0), (459, 0)),
    "apgd native l2": ((50, 0), (153, 0), (459, 0)),
    "apgd torchattacks linf": ((50, 0), (102, 0)),
    "apgd torchattacks l2": ((50, 0), (102, 0)),
    "auto native linf": ((175, 1000), (179, 1001), (536, 3003)),
    "auto native l2": ((175, 1000), (179, 1001), (536, 3003)),
    "autoconjugate art l2": ((50, 0), (102, 0)),
    "bim native linf": ((10, 0), (11, 0), (33, 0)),
    "bim torchattacks linf": ((10, 0), (11, 0)),
    "bim art linf": ((10, 0), (11, 0)),
    "boundary art l2": ((0, 40000), (0, 42042)),
    "cw native l2": ((200, 0), (255, 0), (765, 0)),
    "cw torchattacks l2": ((200, 0), (204, 0)),
    "cw art l2": ((200, 0), (255, 0)),
    "deepfool native l2": ((50, 0), (51, 0), (153, 0)),
    "deepfool native linf": ((50, 0), (51, 0), (153, 0)),
    "deepfool torchattacks l2": ((50, 0), (51, 0)),
    "deepfool art l2": ((50, 0), (51, 0)),
    "difgsm torchattacks linf": ((10, 0), (11, 0)),
    "eaden torchattacks l2": ((900, 0), (1010, 0)),
    "eadl1 torchattacks l2": ((900, 0), (1010, 0)),
    "eotpgd torchattacks linf": ((20, 0), (33, 0)),
    "fab native linf": ((50, 0), (102, 0), (306, 0)),
    "fab native l2": ((50, 0), (102, 0), (306, 0)),
    "fab torchattacks linf": ((50, 0), (102, 0)),
    "fab torchattacks l2": ((50, 0), (102, 0)),
    "ffgsm torchattacks linf": ((1, 0), (1, 0)),
    "fgsm native linf": ((1, 0), (1, 0), (3, 0)),
    "fgsm native l2": ((1, 0), (1, 0), (3, 0)),
    "fgsm torchattacks linf": ((1, 0), (1, 0)),
    "fgsm torchattacks l2": ((1, 0), (1, 0)),
    "fgsm art linf": ((1, 0), (1, 0)),
    "fgsm art l2": ((1, 0), (1, 0)),
    "hopskipjump art linf": ((0, 11208), (0, 11883)),
    "hopskipjump art l2": ((0, 11208), (0, 11883)),
    "jitter torchattacks linf": ((10, 0), (11, 0)),
    "jsma art l0": ((1, 0), (1, 0)),
    "mifgsm native linf": ((10, 0), (11, 0), (33, 0)),
    "mifgsm native l2": ((10, 0), (11, 0), (33, 0)),
    "mifgsm torchattacks linf": ((10, 0), (11, 0)),
    "mifgsm art linf": ((10, 0), (11, 0)),
    "nifgsm torchattacks linf": ((10, 0), (11, 0)),
    "onepixel torchattacks l0": ((0, 3750), (0, 4180)),
    "pgd native linf": ((10, 0), (22, 0), (66, 0)),
    "pgd native l2": ((10, 0), (22, 0), (66, 0)),
    "pgd torchattacks linf": ((10, 0), (22, 0)),
    "pgd torchattacks l2": ((10, 0), (22, 0)),
    "pgd art linf": ((10, 0), (22, 0)),
    "pgd art l2": ((10, 0), (22, 0)),
    "pifgsm torchattacks linf": ((10, 0), (11, 0)),
    "pixle torchattacks l0": ((0, 200), (0, 231)),
    "rescaling_autoconjugate art l2": ((50, 0), (102, 0)),
    "rfgsm torchattacks linf": ((10, 0), (11, 0)),
    "rotation_translation native spatial": ((0, 30), (0, 31), (0, 93)),
    "simba native l2": ((0, 1000), (0, 1001), (0, 3003)),
    "simba native linf": ((0, 1000), (0, 1001), (0, 3003)),
    "sinifgsm torchattacks linf": ((50, 0), (66, 0)),
    "spsa torchattacks linf": ((0, 1280), (0, 1386)),
    "square native linf": ((0, 1000), (0, 1001), (0, 3003)),
    "square native l2": ((0, 1000), (0, 1001), (0, 3003)),
    "square torchattacks linf": ((0, 1000), (0, 1001)),
    "square torchattacks l2": ((0, 1000), (0, 1001)),
    "tifgsm torchattacks linf": ((10, 0), (11, 0)),
    "tpgd torchattacks linf": ((10, 0), (11, 0)),
    "transfer native linf": ((10, 0), (11, 0), (33, 0)),
    "transfer native l2": ((10, 0), (11, 0), (33, 0)),
    "universal native linf": ((20, 0), (21, 0), (63, 0)),
    "universal native l2": ((20, 0), (21, 0), (63, 0)),
    "vmifgsm torchattacks linf": ((50, 0), (66, 0)),
    "vnifgsm torchattacks linf": ((50, 0), (66, 0)),
    "zoo art l2": ((0, 25600), (0, 26058)),
}  # fmt: skip
"""Gradients and queries of every shipped attack before recipes said their cost: with the defaults; with every count one
higher and ``widened`` 3; and with three draws of noise inside the attacked function."""


@pytest.mark.parametrize("version", FORMER)
def test_the_costs_of_recipes_are_the_former_estimates(version):
    attack, backend, norm = version.split()
    recipe = shipped_recipes()[attack]
    call = recipe.backends.call(backend, norm)
    read = set(recipe.params) if call is None else {"eps", "restarts"} | call.parameters
    counts = {name: p.default for name, p in recipe.params.items() if p.kind == "count" and name in read}
    more = {name: int(value) + 1 for name, value in counts.items()}
    more |= {"widened": 3} if "widened" in recipe.params and call is None else {}
    surrogate = "minigen/lenet5" if recipe.needs_surrogate else None
    given = {"backend": backend, "norm": norm}
    found = [make_stage(recipe, {**given, **other}, surrogate=surrogate) for other in ({}, more)]
    if call is None:
        noise = (perturbations.gaussian_noise(),)
        found.append(make_stage(recipe, {**given, **more}, noise, 3, surrogate))
    assert [tuple(work_of(each)) for each in found] == list(FORMER[version])


def test_auto_costs_what_its_parts_do():
    made = bound_stage("auto", "linf", "native", 0.01, steps=7, queries=30)
    assert work_of(made) == tuple(map(sum, zip(*map(work_of, parts_of(made)), strict=True)))


COSTLY = (
    "kind: attack\nname: own\nsummary: mine\nnorms: [linf]\n"
    "params: {eps: {kind: pixels, default: 4/255}, steps: {kind: count, default: 9}, loss: {kind: text, default: x}}\n"
    "backends: {native: {implementation: m:f}}\naccess: scores\n"
)


def costly(folder, cost):
    (folder / "own.yaml").write_text(COSTLY + (f"cost: {cost}\n" if cost else ""))
    return read_recipe(folder / "own.yaml")


@pytest.mark.parametrize(
    ("cost", "work"),
    [
        ("", (0, 9)),
        ("{gradients: steps}", (9, 0)),
        ("{gradients: 2 * steps ** 2 - sqrt(steps), queries: 'max(3, min(steps, 5)) / 2'}", (159, 3)),
        ("{queries: -(-steps) + 1e1}", (0, 19)),
        ("{queries: 7}", (0, 7)),
    ],
)
def test_a_cost_is_arithmetic_over_parameters(tmp_path, cost, work):
    assert work_of(make_stage(costly(tmp_path, cost), {})) == work


@pytest.mark.parametrize(
    ("cost", "parts"),
    [
        ("{gradients: step}", ["cost.gradients", "'step' is not a number", "did you mean 'steps'?"]),
        ("{queries: loss}", ["cost.queries", "'loss' is not a number"]),
        ("{queries: 'steps.real'}", ["cost.queries", "is not arithmetic", "min, max and sqrt"]),
        ("{queries: '__import__(steps)'}", ["is not arithmetic"]),
        ("{queries: 'sqrt(steps, steps)'}", ["is not arithmetic"]),
        ("{queries: 'steps if steps else 1'}", ["is not arithmetic"]),
        ("{queries: 'steps +'}", ["is not arithmetic"]),
        ("{queries: \"'9'\"}", ["is not arithmetic"]),
        ("{queries: true}", ["must be arithmetic"]),
        ("{queries: [1]}", ["must be arithmetic"]),
        ("{quries: 1}", ["unknown key 'quries'", "did you mean 'queries'?"]),
    ],
)
def test_a_cost_that_is_none_is_named_with_file_and_line(tmp_path, cost, parts):
    with pytest.raises(UserError) as refused:
        costly(tmp_path, cost)
    for part in ("own.yaml:8", *parts):
        assert part in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "cost", ["{queries: 1 / (steps - 9)}", "{queries: steps - 10}", "{queries: 10 ** 999}"]
)
def test_a_cost_without_a_number_is_one_line(tmp_path, cost):
    with pytest.raises(UserError, match="is not a number of at least 0"):
        work_of(make_stage(costly(tmp_path, cost), {}))
