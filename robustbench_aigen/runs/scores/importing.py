"""Imports a table of scores as a run: records, summary and ``run.json``; what needs images is empty."""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustbench_aigen.data.columns import read_splits
from robustbench_aigen.data.samples import CLASS_NAMES, fingerprint
from robustbench_aigen.detectors.thresholds import both_classes, fit_threshold
from robustbench_aigen.errors import UserError, printable, shortened
from robustbench_aigen.metrics.summary import COLUMNS, summarise
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.runs.folder import no_gallery
from robustbench_aigen.runs.info import PipelineInfo, RunInfo
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.plugins import noted_plugins
from robustbench_aigen.runs.records import RUN_RECORD_DTYPES, as_records, images_in
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.scores.columns import ScoreColumns, find_score_columns, predicted_classes
from robustbench_aigen.runs.scores.table import ScoreTable, open_table
from robustbench_aigen.runs.scores.values import (
    Coded,
    Codes,
    Floats,
    ImportedScores,
    coded,
    generator_column,
    is_exact_in_float32,
    label_column,
    numbers,
    of_logits,
    of_probabilities,
    required,
)
from robustbench_aigen.runs.timings import step_row
from robustbench_aigen.runs.versions import git_revision, package_versions
from robustbench_aigen.scenario.scores_spec import ScoresSpec
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import Checks, flags
from robustbench_aigen.trust.flags import UNCHECKED, RaisedFlag
from robustbench_aigen.trust.records import add_trust, raised_by_records
from robustbench_aigen.words import label_of

_NEITHER = "imported scores: neither the detector nor the images are there to examine"
_OF_RECORDS = ("one_class", "worse_than_chance")
"""Flags that verdicts and scores alone raise."""
_ALL = "all"


def import_scores(source: object, spec: ScoresSpec, *, command: str | None = None) -> Run:
    """Import a table of scores as a run in memory.

    Parameters
    ----------
    source
        A CSV, Parquet or npz file, a data frame, or a mapping from names to arrays.
    spec
        The meaning of the columns.
    command
        The command line that repeats the import; None for one in Python.

    Raises
    ------
    UserError
        If the table cannot be understood: with file, line and column, and with what to write.
    """
    clock, started = time.perf_counter(), datetime.now(UTC)
    table = open_table(source)
    columns = find_score_columns(table, spec)
    entries = _read(table, columns, spec)
    chosen = _chosen(entries, spec)
    grid = _grid(entries, chosen, spec)
    thresholds, fitted = _thresholds(entries, chosen, spec, grid.detectors)
    records = _records(entries, grid, thresholds)
    pipelines = [
        PipelineInfo.of(
            {"name": name, "family": name, "stages": [{"condition": name}] if name != CLEAN else []}
        )
        for name in grid.conditions
    ]
    notices = [*entries.notices, *chosen.notices, *grid.notices]
    checks = Checks()
    raised = raised_by_records(records, [Pipeline(name, ()) for name in grid.conditions], checks=checks)
    raised += [
        RaisedFlag(UNCHECKED.name, detector, name, _NEITHER)
        for detector in grid.detectors
        for name in grid.conditions
    ]
    summary = add_trust(summarise(records, pipelines, "accuracy", notices.append), raised)
    notices += checks.notices()
    first = records.head(len(grid.samples))
    info = {
        "run_id": started.strftime("%Y%m%d-%H%M%S"),
        "format": FORMAT,
        "scenario": {
            "name": spec.name or _name_of(table),
            "threshold": spec.threshold,
        },
        "command": command,
        "pipelines": [pipeline.to_dict() for pipeline in pipelines],
        "started": started.isoformat(timespec="seconds"),
        "data": {
            "source": printable(table.name if table.file is None else table.file.name),
            "layout": "imported scores",
            "split": chosen.split,
            "images": len(first),
            "real": int((first["label"] == 0).sum()),
            "fake": int((first["label"] == 1).sum()),
            "generators": sorted(first.loc[first["label"] == 1, "generator"].unique()),
            "fingerprint": fingerprint(images_in(first)),
            "unreadable": [],
        },
        "detectors": [
            {"name": name, "threshold": limit.score, "threshold_log_odds": limit.log_odds}
            for name, limit in zip(grid.detectors, thresholds, strict=True)
        ],
        "packages": package_versions(),
        "git_revision": git_revision(),
        "metrics": [name for name in summary if name not in COLUMNS],
        "plugins": noted_plugins(),
        "notices": [Notice(text).as_dict() for text in notices],
        "trust": {
            "flags": [flag._asdict() for flag in raised],
            "unchecked": [
                {
                    "detector": name,
                    "pipelines": list(grid.conditions),
                    "flags": [
                        flag.name for flag in flags() if flag.name not in (*_OF_RECORDS, UNCHECKED.name)
                    ],
                    "reason": _NEITHER,
                }
                for name in grid.detectors
            ],
        },
        "scores": {
            "file": None if table.file is None else printable(str(table.file)),
            "sha256": table.sha256,
            "rows": table.count,
            "columns": columns.meanings(),
            "unused": list(columns.unused),
            "labels": entries.label_words,
            "logit": columns.is_logit,
            "fake_is": "low" if columns.is_low else "high",
            "fitted_on": fitted,
        },
    }
    seconds = time.perf_counter() - clock
    times = {"seconds": round(seconds, 3), "timings": [step_row("import", seconds).to_dict()]}
    return Run.computed(RunInfo.of({**info, **times}), records, summary, no_gallery())


class _Entries(NamedTuple):
    """The scores of a table: N entries, one for each row and column of scores."""

    table: ScoreTable
    columns: ScoreColumns
    rows: Codes
    samples: Coded
    labels: NDArray[np.int8]
    generators: Coded
    hashes: Coded | None
    splits: Coded | None
    detectors: Coded
    conditions: Coded
    scored: ImportedScores
    label_words: dict[str, str]
    notices: list[str]

    def error(self, entry: int, message: str, column: str | None, hint: str | None = None) -> UserError:
        """Return an error at the row of an entry."""
        return self.table.error(message, row=int(self.rows[entry]), column=column, hint=hint)

    def place(self, entry: int) -> str:
        """Return the place of an entry in words."""
        return self.table.place(int(self.rows[entry]))


def _read(table: ScoreTable, columns: ScoreColumns, spec: ScoresSpec) -> _Entries:
    samples = None if columns.sample is None else required(table, columns.sample, "sample")
    own = {name: CLASS_NAMES.index(meaning) for name, meaning in (spec.labels or {}).items()}
    labels, meanings, codes = label_column(table, columns.label, samples, own)
    generators = generator_column(table, columns.generator, meanings, codes)
    hashes = None if columns.sha256 is None else required(table, columns.sha256, "sha256")
    splits = None if columns.split is None else _splits(table, columns.split)
    scored, said = _scored(table, columns, spec)
    if samples is None:
        # The hash keeps rows of different files apart.
        names = [f"{table.sha256[:8]}#{row}" for row in range(table.count)]
        samples = Coded(np.arange(table.count), names)
        said.append("no column names the samples: the rows cannot be matched with other runs")
    count = len(columns.scores)
    rows = np.tile(np.arange(table.count), count)
    name = spec.name or table.name
    if columns.is_wide:
        detectors = Coded(np.repeat(np.arange(count), table.count), list(columns.scores))
    elif columns.detector is not None:
        detectors = required(table, columns.detector, "detector")
    else:
        detectors = Coded(np.zeros(table.count, dtype=np.intp), [name])
    conditions = _conditions(table, columns, spec)
    words = _label_words(table, columns.label, labels)
    said = [_read_as(columns, words), *said]
    if not isinstance(spec.threshold, str):
        said += _against_predictions(table, columns, spec, words, scored)
    if len({*labels.tolist()}) < 2:
        only = CLASS_NAMES[labels[0]]
        said.append(warning(f"all labels are {only}: what needs both classes is empty", columns.label))
    return _Entries(
        table, columns, rows, _tiled(samples, count), np.tile(labels, count), _tiled(generators, count),
        None if hashes is None else _tiled(hashes, count), None if splits is None else _tiled(splits, count),
        detectors, _tiled(conditions, count), scored, words, said,
    )  # fmt: skip


def _tiled(texts: Coded, count: int) -> Coded:
    return texts if count == 1 else Coded(np.tile(texts.codes, count), texts.names)


def _splits(table: ScoreTable, column: str) -> Coded:
    texts = required(table, column, "split")
    codes, names = pd.factorize(np.array(read_splits(texts.names, is_sure=True), dtype=object))
    return Coded(codes[texts.codes].astype(np.intp), [str(name) for name in names])


def _label_words(table: ScoreTable, column: str, labels: NDArray[np.int8]) -> dict[str, str]:
    texts = coded(table, column)
    _, rows = np.unique(texts.codes, return_index=True)
    return {texts.names[texts.codes[row]]: CLASS_NAMES[labels[row]] for row in rows}


_MOST_SHOWN = 6


def _read_as(columns: ScoreColumns, words: dict[str, str]) -> str:
    """Return a line on how the columns were read."""
    meanings = ", ".join(f"{word} {meaning}" for word, meaning in [*words.items()][:_MOST_SHOWN])
    what = "logit" if columns.is_logit else "probability"
    about = {"label": f" ({meanings})", "score": f" ({what} of {'real' if columns.is_low else 'fake'})"}
    parts = [f"{role} {name}{about.get(role, '')}" for role, name in columns.meanings_as_text().items()]
    unused = f"; not read: {', '.join(columns.unused)}" if columns.unused else ""
    return f"columns: {'; '.join(parts)}{unused}"


def _against_predictions(
    table: ScoreTable, columns: ScoreColumns, spec: ScoresSpec, words: dict[str, str], scored: ImportedScores
) -> list[str]:
    """Compare the verdicts of the scores with a column of predicted classes, and return a warning where they differ.

    Raises
    ------
    UserError
        If the score is most likely that of the predicted class: no score is below one half, and some images are
        predicted to be real.
    """
    name = predicted_classes(columns)
    if name is None or len(columns.scores) > 1:
        return []
    texts = coded(table, name)
    known = {text.casefold(): CLASS_NAMES.index(meaning) for text, meaning in words.items()}
    usual = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    classes: list[int | None] = [
        known.get(text.casefold(), usual.get(text.casefold(), label_of(text))) for text in texts.names
    ]
    read = np.array([-1 if each is None else each for each in classes] + [-1])[texts.codes]
    verdicts = scored.log_odds >= scored.threshold_log_odds
    wrong = np.flatnonzero((read >= 0) & (read != verdicts))
    if not len(wrong):
        return []
    row, score = int(wrong[0]), columns.scores[0]
    about = (
        f"{counted(len(wrong), 'verdict')} of the score and of '{name}' differ, first in {table.place(row)}"
    )
    low = 0.0 if columns.is_logit else 0.5
    if spec.fake_is is None and numbers(table, score).array.min() >= low and (read == 0).any():
        raise table.error(
            f"may be the score of the predicted class: {about}",
            row=row,
            column=score,
            hint="write the score of fake; if the score is that, fake_is: high",
        )
    return [warning(f"{about}: the threshold or the meaning of the score may be another", score)]


def _scored(table: ScoreTable, columns: ScoreColumns, spec: ScoresSpec) -> tuple[ImportedScores, list[str]]:
    """Return the scores of all columns, one after another, and notices on them."""
    read = [numbers(table, name) for name in columns.scores]
    said = []
    if any(each.has_commas for each in read):
        said.append("decimal commas were read as points")
    values = np.concatenate([each.array for each in read])
    binary = bool(np.isin(values, (0, 1)).all())
    fixed = spec.threshold if isinstance(spec.threshold, float) else 0.5
    if columns.is_logit:
        if not binary and values.min() >= 0 and values.max() <= 1:
            said.append(
                warning(
                    "all logits are between 0 and 1: for probabilities, write logit: false", columns.scores[0]
                )
            )
        scored = of_logits(
            values, is_low=columns.is_low, threshold=fixed, threshold_logit=spec.threshold_logit
        )
    else:
        outside = np.flatnonzero((values < 0) | (values > 1))
        if len(outside):
            place, row = divmod(int(outside[0]), table.count)
            name = columns.scores[place]
            share = len(outside) / len(values)
            hint = "for logits, write logit: true; divide percentages by 100"
            raise table.error(
                f"the score {table.text(row, name)} is not a probability from 0 to 1 ({100 * share:.3g} % of the scores are not)",
                row=row,
                column=name,
                hint=hint,
            )
        single = {each.is_single for each in read}
        if len(single) > 1 and not is_exact_in_float32(fixed, is_low=columns.is_low):
            names = {each.is_single: name for each, name in zip(read, columns.scores, strict=True)}
            raise table.error(
                f"the threshold {fixed} is one number in float32, of which '{names[True]}' is, and another in float64, of which '{names[False]}' is",
                column=names[True],
                hint="store the scores of all detectors in one precision",
            )
        scored = of_probabilities(values, is_low=columns.is_low, threshold=fixed, is_single=single == {True})
    if binary:
        said.append(
            warning(
                "all scores are 0 or 1: these are verdicts, and AUROC, AP and ECE are those of verdicts",
                columns.scores[0],
            )
        )
    return scored, said


def _conditions(table: ScoreTable, columns: ScoreColumns, spec: ScoresSpec) -> Coded:
    """Return the condition of every row; the clean one is called ``clean``."""
    if not columns.condition:
        if spec.clean is not None:
            raise table.error(
                f"has no column of conditions, and clean: {spec.clean} is one", hint="condition: COLUMN"
            )
        return Coded(np.zeros(table.count, dtype=np.intp), [CLEAN])
    first, *parameters = columns.condition
    names = required(table, first, "condition")
    if parameters:
        names = _with_parameters(table, names, parameters)
    clean = spec.clean
    if clean is None:
        clean = next((name for name in names.names if name.casefold() == CLEAN), None)
    if clean is None or clean not in names.names:
        found = shortened(", ".join(names.names), 200)
        said = "no condition is called clean" if clean is None else f"no condition is called '{clean}'"
        raise table.error(
            f"{said}: {found}",
            column=first,
            hint=f"name the condition of the unchanged images: clean: {names.names[0]}",
        )
    if clean != CLEAN and CLEAN in names.names:
        raise table.error(f"has the condition clean beside clean: {clean}", column=first)
    return Coded(names.codes, [CLEAN if name == clean else name for name in names.names])


def _with_parameters(table: ScoreTable, names: Coded, parameters: Sequence[str]) -> Coded:
    """Return conditions with the values of their parameters, ``pgd[eps=4/255]``, where a row has some."""
    texts = [coded(table, column) for column in parameters]
    frame = pd.DataFrame(
        {"name": names.codes, **{key: each.codes for key, each in zip(parameters, texts, strict=True)}}
    )
    places, pairs = pd.factorize(pd.MultiIndex.from_frame(frame))
    written = []
    for pair in pairs:
        given = [
            f"{column}={each.names[code]}"
            for column, each, code in zip(parameters, texts, pair[1:], strict=True)
            if code >= 0
        ]
        written.append(names.names[pair[0]] + (f"[{', '.join(given)}]" if given else ""))
    # A value of the clean condition, such as an eps of 0, changes nothing.
    written = [
        CLEAN if names.names[pair[0]].casefold() == CLEAN else text
        for pair, text in zip(pairs, written, strict=True)
    ]
    codes, values = pd.factorize(np.array(written, dtype=object))
    return Coded(codes[places].astype(np.intp), [str(value) for value in values])


class _Chosen(NamedTuple):
    """The entries of the evaluated split, and notices."""

    entries: Codes
    split: str
    notices: list[str]


def _chosen(entries: _Entries, spec: ScoresSpec) -> _Chosen:
    everything = np.arange(len(entries.rows))
    splits = entries.splits
    if splits is None:
        if spec.evaluate not in (None, _ALL):
            raise entries.table.error(
                f"has no column of splits, and evaluate: {spec.evaluate} is one", hint="split: COLUMN"
            )
        return _Chosen(everything, _ALL, [])
    names = splits.names
    wanted = spec.evaluate
    if wanted is None:
        wanted = names[0] if len(names) == 1 else "test" if "test" in names else None
    if wanted is None or wanted not in (*names, _ALL):
        said = "none of the splits is test" if spec.evaluate is None else f"no split is '{spec.evaluate}'"
        raise entries.table.error(
            f"{said}: {', '.join(names)}",
            column=entries.columns.split,
            hint=" or ".join(f"evaluate: {name}" for name in (*names, _ALL)),
        )
    if wanted == _ALL:
        if isinstance(spec.threshold, str):
            raise entries.table.error(
                f"the threshold '{spec.threshold}' is fitted on validation rows, and evaluate: all contains them",
                hint="evaluate: test",
            )
        return _Chosen(everything, _ALL, [])
    kept = np.flatnonzero(splits.codes == names.index(wanted))
    counts = np.bincount(splits.codes, minlength=len(names))
    left = [f"{count} of {name}" for name, count in zip(names, counts, strict=True) if name != wanted]
    notices = [f"the split {wanted} is evaluated; rows of other splits: {', '.join(left)}"] if left else []
    return _Chosen(kept, wanted, notices)


class _Grid(NamedTuple):
    """The entries of every detector and condition (cell) on the same samples: C×S."""

    detectors: list[str]
    conditions: list[str]
    samples: list[str]
    entries: Codes
    notices: list[str]


def _grid(entries: _Entries, chosen: _Chosen, spec: ScoresSpec) -> _Grid:
    kept = chosen.entries
    detectors, conditions = _present(entries.detectors, kept), _present(entries.conditions, kept)
    samples = _present(entries.samples, kept)
    if CLEAN not in conditions.names:
        raise entries.table.error(
            f"the split {chosen.split} has no clean rows: {', '.join(conditions.names)}",
            column=entries.columns.condition[0],
        )
    order = sorted(range(len(conditions.names)), key=lambda place: conditions.names[place] != CLEAN)
    rank = np.argsort(order)
    cells = detectors.codes * len(order) + rank[conditions.codes]
    count, width = len(detectors.names) * len(order), len(samples.names)
    places = cells * width + samples.codes
    occupied = np.bincount(places, minlength=count * width)
    names = [conditions.names[place] for place in order]
    if (occupied > 1).any():
        raise _twice(entries, kept, places)
    held = np.full(count * width, -1, dtype=np.intp)
    held[places] = kept
    grid = held.reshape(count, width)
    notices: list[str] = []
    lacking: NDArray[np.bool_] = np.any(grid < 0, axis=0)
    if lacking.any():
        if spec.samples == "same" or lacking.all():
            raise _lacking(entries, grid, detectors.names, names, samples.names, lacking)
        grid = grid[:, ~lacking]
        notices.append(
            warning(
                f"{counted(int(lacking.sum()), 'sample is', 'samples are')} left out, which not every detector and condition has"
            )
        )
    shown = [name for name, left in zip(samples.names, lacking, strict=True) if not left]
    found = _Grid(detectors.names, names, shown, grid, notices)
    _check_same(entries, found)
    return found


def _present(texts: Coded, kept: Codes) -> Coded:
    """Return the texts of some entries alone, in the order in which they appear."""
    codes, found = pd.factorize(texts.codes[kept])
    return Coded(codes.astype(np.intp), [texts.names[code] for code in found])


def _twice(entries: _Entries, kept: Codes, places: Codes) -> UserError:
    """Return the error of two entries of one sample, detector and condition."""
    again = pd.Series(places).duplicated().to_numpy()
    second = int(np.flatnonzero(again)[0])
    first = int(np.flatnonzero(places == places[second])[0])
    sample = entries.samples.names[entries.samples.codes[kept[second]]]
    column = entries.columns.sample
    telling = [
        name
        for name in entries.columns.unused
        if name in entries.table.columns and _differ(entries, name, int(kept[first]), int(kept[second]))
    ]
    start = entries.place(int(kept[first]))
    about = f"the sample '{shortened(sample)}' is there twice, first in {start}"
    counts = np.unique(places, return_counts=True)[1]
    if counts.min() > 1:
        about = f"every sample is there {counts.min()} times or more, '{shortened(sample)}' first in {start}"
    hint = "delete one of the rows, or add a column detector or condition"
    if telling:
        about += "; no column distinguishes detectors or conditions"
        given = entries.columns.condition
        ways = [f"detector: {name} or condition: {_all_of((*given, name))}" for name in telling[:3]]
        hint = f"name the column: {' or '.join(ways)}"
    return entries.error(int(kept[second]), about, column, hint)


def _all_of(names: Sequence[str]) -> str:
    """Return columns as a scenario writes them."""
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _differ(entries: _Entries, name: str, one: int, other: int) -> bool:
    column = entries.table.columns[name]
    values = [column[int(entries.rows[entry])].as_py() for entry in (one, other)]
    is_label = (pc.count_distinct(column).as_py() or 0) <= max(2, len(column) // 2)
    return values[0] != values[1] and is_label


def _lacking(
    entries: _Entries,
    grid: Codes,
    detectors: Sequence[str],
    conditions: Sequence[str],
    samples: Sequence[str],
    lacking: NDArray[np.bool_],
) -> UserError:
    """Return the error of a sample that not every detector and condition has."""
    place = int(np.flatnonzero(lacking)[0])
    cell = int(np.flatnonzero(grid[:, place] < 0)[0])
    other = int(grid[grid[:, place] >= 0, place][0])
    detector, condition = divmod(cell, len(conditions))
    where = " · ".join(
        name
        for name, several in (
            (detectors[detector], len(detectors) > 1),
            (conditions[condition], len(conditions) > 1),
        )
        if several
    )
    hint = f"add its row, or leave out the {counted(int(lacking.sum()), 'sample')} that not all have: samples: common"
    if lacking.all():
        hint = "no sample has a row for every detector and condition: import them one by one"
    return entries.error(
        other, f"the sample '{shortened(samples[place])}' has no row of {where}", entries.columns.sample, hint
    )


def _check_same(entries: _Entries, grid: _Grid) -> None:
    """Refuse a sample with another label, generator or hash in one of its rows."""
    facts = {
        entries.columns.label: entries.labels.astype(np.intp),
        entries.columns.generator: entries.generators.codes,
        entries.columns.sha256: None if entries.hashes is None else entries.hashes.codes,
    }
    for column, codes in facts.items():
        if column is None or codes is None:
            continue
        values = codes[grid.entries]
        wrong = np.argwhere(values != values[0])
        if len(wrong):
            cell, sample = wrong[0]
            one, other = int(grid.entries[0, sample]), int(grid.entries[cell, sample])
            name = shortened(grid.samples[sample])
            raise entries.error(
                other, f"the sample '{name}' has another {column} in {entries.place(one)}", column
            )


class _Limit(NamedTuple):
    """The threshold of a detector."""

    score: float
    log_odds: float


def _thresholds(
    entries: _Entries, chosen: _Chosen, spec: ScoresSpec, detectors: Sequence[str]
) -> tuple[list[_Limit], int | None]:
    """Return the threshold of every detector, and the number of rows on which the first was fitted."""
    rule = spec.threshold
    scored, columns = entries.scored, entries.columns
    if not isinstance(rule, str):
        return [_Limit(scored.threshold, scored.threshold_log_odds)] * len(detectors), None
    if entries.splits is None or "val" not in entries.splits.names:
        found = (
            "no column of splits"
            if entries.splits is None
            else f"the splits {', '.join(entries.splits.names)}"
        )
        raise entries.table.error(
            f"the threshold '{rule}' is fitted on rows of the split val; the table has {found}",
            column=columns.split,
            hint="add a column split with val and test, or give a number: threshold: 0.5",
        )
    is_fitted = entries.splits.codes == entries.splits.names.index("val")
    is_fitted &= entries.conditions.codes == entries.conditions.names.index(CLEAN)
    _check_fitted(entries, chosen, np.flatnonzero(is_fitted))
    limits, counts = [], []
    for name in detectors:
        place = entries.detectors.names.index(name)
        mine = np.flatnonzero(is_fitted & (entries.detectors.codes == place))
        labels = entries.labels[mine]
        if len({*labels.tolist()}) < 2:
            raise entries.table.error(
                f"the threshold '{rule}' of {name} needs clean validation rows of both classes; there are {counted(len(mine), 'row')}",
                column=columns.split,
            )
        fitted = fit_threshold(rule, scored.log_odds[mine], both_classes(labels, rule), is_double=True)
        limits.append(_Limit(fitted.score, fitted.log_odds))
        counts.append(len(mine))
    return limits, counts[0]


def _check_fitted(entries: _Entries, chosen: _Chosen, fitted: Codes) -> None:
    """Refuse samples that a threshold is fitted on twice, or that are evaluated as well."""
    samples, column = entries.samples, entries.columns.sample
    keys = entries.detectors.codes[fitted] * len(samples.names) + samples.codes[fitted]
    again = pd.Series(keys).duplicated().to_numpy()
    if again.any():
        second = int(np.flatnonzero(again)[0])
        first = int(fitted[np.flatnonzero(keys == keys[second])[0]])
        name = shortened(samples.names[samples.codes[fitted[second]]])
        raise entries.error(
            int(fitted[second]),
            f"the validation sample '{name}' is there twice, first in {entries.place(first)}",
            column,
            "delete one of the rows, or add a column detector or condition",
        )
    shared = fitted[np.isin(samples.codes[fitted], samples.codes[chosen.entries])]
    if len(shared):
        code = samples.codes[shared[0]]
        other = int(chosen.entries[np.flatnonzero(samples.codes[chosen.entries] == code)[0]])
        raise entries.error(
            int(shared[0]),
            f"the sample '{shortened(samples.names[code])}' is in the split val and, in {entries.place(other)}, in {chosen.split}",
            column,
            "a threshold is fitted on samples that are not evaluated: delete one of the rows",
        )


def _records(entries: _Entries, grid: _Grid, limits: Sequence[_Limit]) -> pd.DataFrame:
    """Return a row for every detector, condition and sample, in the schema of runs."""
    cells, width = grid.entries.shape
    flat = grid.entries.ravel()
    clean = np.repeat(grid.entries[:: len(grid.conditions)], len(grid.conditions), axis=0).ravel()
    scored, labels = entries.scored, entries.labels[flat]
    of_detector = np.repeat(np.arange(len(grid.detectors)), len(grid.conditions) * width)
    limit = np.array([each.log_odds for each in limits])[of_detector]

    def right(at: Codes) -> NDArray[np.bool_]:
        return (scored.log_odds[at] >= limit) == (labels == 1)

    def repeated(texts: Coded) -> NDArray[np.object_]:
        return np.array(texts.names, dtype=object)[texts.codes[flat]]

    empty: Floats = np.full(len(flat), np.nan)
    unknown = pd.Series(empty).astype("Int32")
    columns = {
        "detector": np.array(grid.detectors, dtype=object)[of_detector],
        "pipeline": np.tile(np.repeat(np.array(grid.conditions, dtype=object), width), len(grid.detectors)),
        "sample": np.tile(np.array(grid.samples, dtype=object), cells),
        "generator": repeated(entries.generators),
        "label": labels,
        "clean_score": scored.scores[clean],
        "score": scored.scores[flat],
        "threshold": np.array([each.score for each in limits])[of_detector],
        "attacked": np.zeros(len(flat), dtype=bool),
        "correct_clean": right(clean),
        "correct": right(flat),
        "linf": empty,
        "l2": empty,
        "steps": unknown,
        "queries": unknown,
        "sha256": "" if entries.hashes is None else repeated(entries.hashes),
        "clean_log_odds": scored.log_odds[clean],
        "log_odds": scored.log_odds[flat],
        "threshold_log_odds": limit,
    }
    return as_records(pd.DataFrame(columns))[list(RUN_RECORD_DTYPES)]


def _name_of(table: ScoreTable) -> str:
    name = re.sub(r"[^A-Za-z0-9_.@+-]+", "_", table.name).lstrip("_.@+-")[:100]
    return name or "scores"
