"""Each flag is raised where it should be and not beside it."""

import json

import numpy as np
import pandas as pd
import pytest

from robustbench_aigen.trust.evidence import answers_one_class, has_floored_eps, loses_to_rounding


@pytest.mark.parametrize(
    ("share", "flagged"), [(1.0, True), (0.99, True), (0.9, False), (0.5, False), (0.01, True)]
)
def test_one_class_is_nearly_every_verdict(share, flagged):
    labels = np.array([0, 1] * 100)
    called_fake = np.arange(200) < round(200 * share)
    assert (
        answers_one_class(pd.DataFrame({"label": labels, "correct": called_fake == (labels == 1)})) == flagged
    )


def test_one_class_needs_both_classes_to_be_there():
    assert not answers_one_class(pd.DataFrame({"label": [1] * 10, "correct": [True] * 10}))


@pytest.mark.parametrize(("lost", "flagged"), [(0, False), (1, False), (2, True), (50, True)])
def test_rounding_is_flagged_from_two_in_a_hundred_attacked_images(lost, flagged):
    attacked = pd.DataFrame(
        {"attacked": True, "correct": [True] * lost + [False] * (100 - lost), "correct_float": False}
    )
    spared = pd.DataFrame({"attacked": False, "correct": [True] * 900, "correct_float": True})
    cell = pd.concat([attacked, spared]).astype({"correct_float": "boolean"})
    assert loses_to_rounding(cell) == flagged


@pytest.mark.parametrize(
    ("norm", "eps", "flagged"),
    [("linf", 4 / 255, False), ("linf", 1.5 / 255, True), ("l2", 1.5 / 255, False)],
)
def test_a_budget_between_levels_is_flagged(norm, eps, flagged):
    stages = [{"perturb": "jpeg", "quality": 75}, {"attack": "pgd", "norm": norm, "eps": eps}]
    assert has_floored_eps(json.dumps(stages)) == flagged
