"""Scenario files: ``Scenario.from_yaml``."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.fuzzing.contract import MARKER, Loader
from benchmarks.fuzzing.structures import TEXTS, draws, edited, one_of_many, values

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_SCENARIOS = Path(__file__).parents[3] / "scenarios"
_LEVELS = 24


def _load(content: bytes, folder: Path) -> None:
    from robustbench_aigen.scenario.scenario import Scenario

    file = folder / "scenario.yaml"
    file.write_bytes(content)
    scenario = Scenario.from_yaml(file)
    scenario.to_dict()


def _hostile() -> list[str]:
    doubled = [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, _LEVELS)]
    merged = [f"m{level}: &m{level} {{<<: [*m{level - 1}, *m{level - 1}]}}" for level in range(1, _LEVELS)]
    return [
        "\n".join(["a0: &a0 [x, x]", *doubled]),
        "\n".join(["m0: &m0 {k: 1}", *merged]),
        "a: &a {<<: *a}",
        "a: &a [*a]",
        "? [a]\n: 1",
        "? {a: 1}\n: 1",
        "[" * 3000,
        "{a: " * 3000,
        "- " * 3000,
        "version: " + "9" * 6000,
        "version: 0x" + "f" * 6000,
        "version: !!int abc",
        "version: !!int ''",
        "version: !!float abc",
        "version: !!bool maybe",
        "version: !!null x",
        "version: !!timestamp soon",
        "version: !!binary '%'",
        "version: !!set {a, b}",
        "version: !!omap [a: 1]",
        "version: !!pairs [a: 1]",
        "version: !!omap x",
        "!!int a: 1",
        "!!int '': 1",
        "!!timestamp a: 1",
        "!!binary 'é': 1",
        "version: !!python/object/apply:os.system ['touch " + f"../{MARKER}" + "']",
        "!!python/object/new:os.system [x]: 1",
        "version: 1:2:3:4",
        "version: 1_0:5_9.1e5",
        "version: .inf\nseed: .nan",
        "<<: 1",
        "<<: [1, 2]",
        "<<: !!set {a}",
        "---\na: 1\n---\nb: 1",
        "%YAML 9.9\n---\na: 1",
        "%TAG ! tag:a,2000:\n---\n!x a: 1",
    ]


def _seeds(folder: Path) -> list[bytes]:
    written = [file.read_bytes() for file in sorted(_SCENARIOS.glob("*.yaml"))]
    return [*written, *(text.encode() for text in _hostile())]


def _structured(seeds: list[bytes]) -> "SearchStrategy[bytes]":
    from hypothesis import strategies as st

    documents = [yaml.safe_load(file.read_bytes()) for file in sorted(_SCENARIOS.glob("*.yaml"))]
    lines = st.lists(st.sampled_from([*_hostile(), *TEXTS]), min_size=1, max_size=4).map("\n".join)

    def changed(document: Any, value: Any, draw: random.Random) -> bytes:
        return yaml.safe_dump(edited(document, value, draw), allow_unicode=True).encode(errors="replace")

    edits = st.builds(changed, one_of_many(documents), values(), draws())
    odd = st.builds(lambda first, rest: first + b"\n" + rest.encode(), edits, lines)
    return st.one_of(edits, edits, odd, lines.map(str.encode))


LOADER = Loader("scenario", _load, _seeds, _structured)
