"""Which images belong together: chains of links, and a generator's fakes with their reals."""

import numpy as np
import pytest

from robustbench_aigen.data.groups import linked_groups
from robustbench_aigen.data.samples import belongs_to


def reached(start: int, links: list[tuple[int, int]]) -> list[int]:
    """Return every position that a chain of links leads to, by following them all."""
    found, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        beside = {b for a, b in links if a == here} | {a for a, b in links if b == here}
        waiting += beside - found
        found |= beside
    return sorted(found)


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_groups_are_what_chains_of_links_reach(count):
    rng = np.random.default_rng(count)
    links = [tuple(map(int, pair)) for pair in rng.integers(0, count, (count // 2, 2))] if count else []
    expected = [reached(position, links) for position in range(count)]
    assert linked_groups(count, links) == [group for place, group in enumerate(expected) if group[0] == place]


def test_a_link_that_is_there_often_counts_once():
    assert linked_groups(3, [(2, 0)] * 512) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # Fakes of a; its own reals, and the pool of all.
        (["a"], [True, False, True, False, True, False]),
        # Photographs under a name of their own belong to generators without reals.
        (["b"], [False, True, False, False, True, True]),
        (["a", "b"], [True, True, True, False, True, True]),
    ],
)
def test_a_generator_with_its_reals(wanted, expected):
    labels, generators = [1, 1, 0, 1, 0, 0], ["a", "b", "a", "c", "real", "coco"]
    assert belongs_to(labels, generators, wanted).tolist() == expected
