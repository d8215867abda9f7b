"""Groups of images that belong together, because a chain of links leads from one to the other."""

from collections.abc import Iterable

import numpy as np


def linked_groups(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected groups of ``count`` positions, those without links as groups of one.

    Parameters
    ----------
    count
        How many positions there are, from 0.
    links
        Pairs of positions that belong together.

    Returns
    -------
    list
        Groups of positions, each ascending, ordered by their first.
    """
    from scipy.sparse import coo_array  # Most commands divide no images, and start faster without.
    from scipy.sparse.csgraph import connected_components

    pairs = np.array([*links], dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for position, component in enumerate(components.tolist()):
        groups.setdefault(component, []).append(position)
    return [*groups.values()]
