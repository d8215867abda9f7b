"""Groups of images that a chain of links connects."""

from collections.abc import Iterable

import numpy as np


def linked_groups(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected groups of ``count`` positions; a position without links is a group.

    Parameters
    ----------
    count
        Number of positions, numbered from 0.
    links
        Pairs of positions that belong together.

    Returns
    -------
    list
        Groups of positions, each in ascending order, sorted by their first position.
    """
    from scipy.sparse import coo_array  # Few commands divide images; the others start faster without scipy.
    from scipy.sparse.csgraph import connected_components

    pairs = np.array([*links], dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for position, component in enumerate(components.tolist()):
        groups.setdefault(component, []).append(position)
    return [*groups.values()]
