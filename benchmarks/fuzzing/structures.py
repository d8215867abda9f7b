"""Odd values, and documents in which one value is odd."""

import copy
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
TEXTS = (
    "", " ", "..", "../secret.png", "/etc/passwd", "/dev/zero", "~", "~nobody/x", "a\0b", "\ufeff", "\u202eabc", "a\nb", "=1+1",
    "nan", "inf", "1e999", "-0", "9" * 400, "0x10", "1/0", "1/255", "4/255", "fpr@x", "fpr@0.01", "youden", "all", "None",
    "*", "[", "$x", "{}", "{", "%s", "{0}", "minigen", "minigen/lenet5", "hf:x", "hf://a/b", "timm:x", "python:os.system",
    "python:os:system", "https://[", "http://127.0.0.1:1/", "s3://", "file://", "x" * 3000, "fake", "real", "pgd", "eps",
)  # fmt: skip
"""Texts that mean something to a reader, or should not."""


def values() -> "SearchStrategy[Any]":
    """Return a strategy of values of JSON, with those at the edges more often than chance has them."""
    from hypothesis import strategies as st

    numbers = st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**30, 10**400, 1e308, -1e-320, 0.5])
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        numbers,
        st.sampled_from(TEXTS),
        st.text(max_size=20),
    )
    keys = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


def draws() -> "SearchStrategy[random.Random]":
    """Return a strategy of generators; those of hypothesis itself draw a hundred times slower."""
    from hypothesis import strategies as st

    return st.integers(0, 2**32).map(random.Random)


def one_of_many(choices: Sequence[T]) -> "SearchStrategy[T]":
    """Return a strategy of large choices, which hypothesis does not print."""
    from hypothesis import strategies as st

    return st.integers(0, len(choices) - 1).map(lambda place: choices[place])


def edited(document: Any, value: Any, draw: random.Random) -> Any:
    """Return a document in which one place is replaced by a value, left out, moved or made twice."""
    changed = copy.deepcopy(document)
    places = list(_places(changed))
    if not places:
        return value
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        parent, key = draw.choice(places)
        match draw.randrange(6):
            case 0 if isinstance(parent, dict):
                parent.pop(key, None)
            case 1 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[-1]) if parent else value)
            case 2:
                other, place = draw.choice(places)
                if key in parent if isinstance(parent, dict) else True:
                    _put(parent, key, copy.deepcopy(_get(other, place, value)))
            case 3 if isinstance(parent, dict):
                parent[draw.choice(TEXTS)] = value
            case _:
                _put(parent, key, copy.deepcopy(value))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def _get(parent: Any, key: Any, default: Any) -> Any:
    try:
        return parent[key]
    except (KeyError, IndexError):
        return default


def _put(parent: Any, key: Any, value: Any) -> None:
    if isinstance(parent, dict) or (isinstance(key, int) and key < len(parent)):
        parent[key] = value
