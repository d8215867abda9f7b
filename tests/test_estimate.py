"""The estimate of a dry run: what an attack asks for an image, against what it does."""

import json

import pytest
import torch
from test_attack_contract import bound_stage, pictures, silent, stage, task, untrained
from test_engine import scenario

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.engine import estimate
from robustbench_aigen.engine.estimate import work_of
from robustbench_aigen.engine.pace import Pace


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


def test_black_box_attacks_cost_forward_passes_and_auto_the_sum_of_its_parts(tmp_path, cli, monkeypatch):
    """Where a verdict takes a second in a batch and two alone, and a gradient three."""
    monkeypatch.setattr(estimate, "_pace", lambda *_: Pace(verdict=1.0, single=2.0, gradient=3.0, query=1.0))
    pipelines = (
        "{pgd: [{attack: pgd, steps: 1000}], square: [{attack: square}], auto: [{attack: auto}], "
        "nothing: [{attack: pgd, eps: 0.5/255}], alone: [{attack: square, backend: torchattacks}]}"
    )
    outcome = cli("run", scenario(tmp_path, pipelines), "--dry-run", "--json")
    seconds = {cell["pipeline"]: cell["seconds"] / 120 for cell in json.loads(outcome.out)}
    queries = work_of(stage("square")).queries
    auto = work_of(stage("auto"))
    assert seconds == pytest.approx(
        {
            "clean": 1, "nothing": 1, "pgd": 1 + 3 * 1000, "square": 1 + queries, "alone": 1 + 2 * queries,
            "auto": 1 + 3 * auto.gradients + auto.queries,
        }
    )  # fmt: skip
    assert min(auto) > 0
