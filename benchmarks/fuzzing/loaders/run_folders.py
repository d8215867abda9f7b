"""Run folders and baselines: ``Run.load``, and what is read on demand.

The first byte of an input selects the file that it replaces, and whether the digests fit what is inside.
"""

import io
import json
import random
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.fuzzing.contract import Loader
from benchmarks.fuzzing.structures import TEXTS, draws, edited, values
from robustbench_aigen.digests import DIGESTS, digest_of_text, sealed

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_FILES = ("run.json", "summary.csv", "records.parquet", "gallery.parquet")
_KINDS = tuple((name, fits) for fits in (True, False) for name in _FILES)
_OLD = Path(__file__).parents[3] / "tests" / "data" / "runs" / "format_0" / "scores"
_VALID = "valid run"


def _load(content: bytes, folder: Path) -> None:
    from robustbench_aigen.runs.run import Run

    name, fits = _KINDS[content[0] % len(_KINDS)] if content else _KINDS[0]
    own = folder / "run"
    shutil.copytree(folder.parent / _VALID, own)
    (own / name).write_bytes(content[1:])
    if fits:
        _seal(own)
    run = Run.load(own)
    _ = run.summary, run.notices, run.problems, run.detectors, run.pipelines, run.overall()
    for key in run.cells:
        run.cells.cell(*key)
    _ = run.records
    for example in run.adversarial_examples:
        _ = example.image.size
    run.accuracy(detector=run.detectors[0])


def _seal(folder: Path) -> None:
    """Write digests that fit, as somebody would who wants the files to be read."""
    try:
        content = json.loads((folder / "run.json").read_bytes())
        digests = {}
        for name in _FILES[1:]:
            stored = (folder / name).read_bytes()
            digests[name] = digest_of_text(stored) if name == "summary.csv" else sha256(stored).hexdigest()
        values_ = {key: value for key, value in content.items() if key != DIGESTS}
        (folder / "run.json").write_text(json.dumps(sealed(values_, digests)), encoding="utf-8")
    except (ValueError, AttributeError, RecursionError, TypeError):
        return


def _named(name: str, content: bytes, *, fits: bool = True) -> bytes:
    return bytes([_KINDS.index((name, fits))]) + content


def _seeds(folder: Path) -> list[bytes]:
    import robustbench_aigen as ra

    valid = folder.parent / _VALID
    if not valid.exists():
        run = ra.evaluate(
            "minigen/lenet5", limit=8, pipelines={"fgsm": [{"attack": "fgsm", "eps": "4/255"}]}, trust="off"
        )
        run.save(valid)
    found = [_named(name, (valid / name).read_bytes(), fits=fits) for name, fits in _KINDS]
    found += [_named(name, (_OLD / name).read_bytes()) for name in _FILES if (_OLD / name).is_file()]
    hostile = [
        b"[" * 100000,
        b'{"a":' * 100000,
        b'{"format": ' + b"9" * 6000 + b"}",
        b"[]",
        b"{}",
        b"nan",
        b'{"format": 1e400}',
    ]
    return [*found, *(_named("run.json", text, fits=False) for text in hostile)]


def _table(frame: pd.DataFrame, name: str, value: Any, draw: random.Random) -> bytes:
    """Return a table in which a column is missing, changed, renamed or of another type."""
    changed = frame.copy()
    column = draw.choice(list(changed.columns))
    kind = draw.randrange(6)
    if kind == 0:
        changed = changed.drop(columns=column)
    elif kind == 1:
        changed[column] = [value] * len(changed)
    elif kind == 2:
        changed[column] = changed[column].astype(object)
        changed.loc[draw.randrange(len(changed)), [column]] = None
    elif kind == 3:
        changed = changed.sample(frac=1, random_state=draw.randrange(99))
    elif kind == 4:
        changed[column] = changed[draw.choice(list(changed.columns))].to_numpy()
    else:
        changed = changed.rename(columns={column: draw.choice(TEXTS)})
    buffer = io.BytesIO()
    try:
        changed.to_parquet(buffer, index=draw.random() < 0.2)
    except Exception:  # noqa: BLE001  A value that Parquet cannot hold is no input.
        return _named(name, b"")
    return _named(name, buffer.getvalue())


def _structured(seeds: list[bytes]) -> "SearchStrategy[bytes]":
    from hypothesis import strategies as st

    info = json.loads(seeds[0][1:])
    summary = pd.read_csv(io.BytesIO(seeds[1][1:]), dtype=str, keep_default_na=False)
    tables = {name: pd.read_parquet(io.BytesIO(seeds[_FILES.index(name)][1:])) for name in _FILES[2:]}
    draw = draws()

    def of_info(value: Any, draw: random.Random) -> bytes:
        return _named("run.json", json.dumps(edited(info, value, draw)).encode())

    def of_summary(value: str, draw: random.Random) -> bytes:
        changed = summary.copy()
        changed.iloc[draw.randrange(len(changed)), draw.randrange(changed.shape[1])] = value
        if draw.random() < 0.3:
            changed = changed.drop(columns=draw.choice(list(changed.columns)))
        if draw.random() < 0.2:
            changed = changed.rename(
                columns={draw.choice(list(changed.columns)): draw.choice(list(changed.columns))}
            )
        return _named("summary.csv", changed.to_csv(index=False).encode(errors="replace"))

    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(),
        st.sampled_from(TEXTS),
        st.binary(max_size=9),
    )
    cells = st.one_of(st.sampled_from(TEXTS), st.text(max_size=9), st.floats().map(str))
    return st.one_of(
        st.builds(of_info, values(), draw), st.builds(of_info, values(), draw), st.builds(of_summary, cells, draw),
        st.builds(lambda name, value, draw: _table(tables[name], name, value, draw), st.sampled_from(_FILES[2:]), scalars, draw),
    )  # fmt: skip


LOADER = Loader("run", _load, _seeds, _structured)
