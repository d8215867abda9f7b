"""A figure that was drawn, for those who show it."""

from typing import NamedTuple


class Drawn(NamedTuple):
    """A drawn figure: stem of its files in ``figures/``, caption, and the data URI that a page embeds."""

    name: str
    caption: str
    uri: str
