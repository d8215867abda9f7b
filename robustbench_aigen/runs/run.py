"""A finished run: its records, summary and settings, in memory or in a folder."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.metrics.summary import ALL_GENERATORS, COLUMNS
from robustbench_aigen.notices import Notice
from robustbench_aigen.runs.baseline import (
    baseline_cells,
    baseline_records,
    is_baseline,
    read_baseline,
    write_baseline,
)
from robustbench_aigen.runs.cells import Cells, FrameCells
from robustbench_aigen.runs.folder import (
    GALLERY_SUFFIXES,
    RECORDS,
    find_folder,
    folders_below,
    gallery_image,
    no_gallery,
    read_cells,
    read_gallery,
    read_info,
    read_records,
    read_summary,
    write_run,
)
from robustbench_aigen.runs.info import RunInfo
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.selection import matching
from robustbench_aigen.scenario.scores_spec import names_scores, read_scores, scores_spec
from robustbench_aigen.scenario.words import shell_word
from robustbench_aigen.stages.pipeline import CLEAN

if TYPE_CHECKING:
    from robustbench_aigen.views.compare import Comparison
    from robustbench_aigen.views.gating.result import GateResult
    from robustbench_aigen.views.gating.verdict import Config


class AdversarialExample(NamedTuple):
    """An attacked image of a run's gallery: its record, the original and what the detector was shown."""

    record: Mapping[str, object]
    original: Image.Image
    image: Image.Image


@dataclass(frozen=True, eq=False)
class AdversarialExamples:
    """The attacked images that a run kept.

    Parameters
    ----------
    gallery
        Their records, with ``original`` and ``image`` as PNGs.
    """

    gallery: pd.DataFrame

    def __len__(self) -> int:
        return len(self.gallery)

    def __iter__(self) -> Iterator[AdversarialExample]:
        for row in self.gallery.to_dict(orient="records"):
            record = {str(key): value for key, value in row.items() if key not in ("original", "image")}
            yield AdversarialExample(record, gallery_image(row["original"]), gallery_image(row["image"]))

    def save(self, folder: str | Path) -> None:
        """Write the images, original and attacked, and their records as ``examples.csv``.

        Attacked images are 8-bit PNGs, or the files that a codec as the last stage made, if the run kept all images.

        Raises
        ------
        UserError
            If they cannot be written.
        """
        with writing("the adversarial examples"), atomic_folder(Path(folder), replace=False) as partial:
            for place, row in enumerate(self.gallery.itertuples()):
                (partial / f"{place:04}_original.png").write_bytes(row.original)
                (partial / f"{place:04}_attacked{suffix_of(row.image)}").write_bytes(row.image)
            table = self.gallery.drop(columns=["original", "image"], errors="ignore")
            table.to_csv(partial / "examples.csv", index_label="number")


def suffix_of(content: bytes) -> str:
    """Return the suffix of an image file that a run kept."""
    with Image.open(io.BytesIO(content)) as picture:
        return GALLERY_SUFFIXES[str(picture.format)]


def _given(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: just computed, or read from a run folder or a baseline.

    Parameters
    ----------
    info
        The content of ``run.json``: scenario, pipelines, data, detectors, packages, hardware, trust, timings.
    summary
        A row per detector × pipeline × generator; a baseline has none.
    folder
        The folder of the run or baseline; None for a run in memory.
    digests
        Digests of the other files of the folder, by file name; empty for a run of an earlier version.
    written
        The format of the files; ``info`` and ``summary`` are in the present one.
    """

    info: RunInfo
    summary: pd.DataFrame
    folder: Path | None = None
    _records: Callable[[], pd.DataFrame] = field(default=pd.DataFrame, repr=False)
    _gallery: Callable[[], pd.DataFrame] = field(default=no_gallery, repr=False)
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    written: int = FORMAT
    _cells: Callable[[], Cells] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Open a run folder, the newest run of a scenario's folder, or a baseline; or import a table of scores.

        ``run.json`` and ``summary.csv`` are read and checked. Records and gallery are read on demand. A CSV, Parquet or
        npz file, or ``{path: scores.csv, score: prob}``, is imported as :meth:`from_scores` does.

        Raises
        ------
        UserError
            If the folder is not a run or baseline, or if a file is missing, truncated, foreign, or contradicts another.
        """
        if not isinstance(folder, str | Path):
            raise UserError(
                f"a run is a {type(folder).__name__}", hint="give a Run, or the path of a run folder"
            )
        # A long text in braces is not a path that can be looked up.
        if names_scores(folder) and (str(folder).lstrip().startswith("{") or not Path(folder).is_dir()):
            from robustbench_aigen.runs.scores.importing import import_scores

            spec = read_scores(folder)
            return import_scores(spec.path, spec, command=f"robust-aigen run {shell_word(str(folder))}")
        if is_baseline(folder):
            path = Path(folder)
            read = read_baseline(path)
            return cls(
                read.info, pd.DataFrame(columns=COLUMNS), path, partial(baseline_records, path, read),
                _cells=partial(baseline_cells, path, read),
            )  # fmt: skip
        path = find_folder(folder)
        read = read_info(path)
        return cls(
            read.info, read_summary(path, read), path, partial(read_records, path, read),
            partial(read_gallery, path, read), read.digests, read.written, partial(read_cells, path, read),
        )  # fmt: skip

    @classmethod
    def from_scores(
        cls,
        scores: "str | Path | pd.DataFrame | Mapping[str, object]",
        *,
        name: str | None = None,
        score: str | Sequence[str] | None = None,
        label: str | None = None,
        labels: Mapping[object, str] | None = None,
        sample: str | None = None,
        sha256: str | None = None,
        generator: str | None = None,
        split: str | None = None,
        detector: str | None = None,
        condition: str | Sequence[str] | None = None,
        clean: str | None = None,
        logit: bool | None = None,
        fake_is: Literal["high", "low"] | None = None,
        threshold: float | str = 0.5,
        threshold_logit: float | None = None,
        evaluate: str | None = None,
        samples: Literal["same", "common"] = "same",
    ) -> "Run":
        """Import scores that were computed elsewhere as a run in memory.

        Metrics, intervals and tests are those of any run. What needs images or the detector is empty: norms, PSNR,
        SSIM, success rates, trust checks, the gallery.

        Parameters
        ----------
        scores
            A CSV, Parquet or npz file, a data frame, or a mapping from names to arrays of N values.
        name
            Name of the run; by default that of the file.
        score
            The column of the scores, or several, each of a detector. Columns that are not named are found by their
            usual names; what is ambiguous is an error.
        label, labels
            The column of the classes, and the meaning of its values: ``{0: "real", 1: "fake"}``.
        sample, sha256, generator, split
            The columns of ids or paths, of hashes of the images' files, of generators, and of splits.
        detector, condition
            The columns that distinguish the rows of one sample. Later columns of conditions are parameters.
        clean
            The condition of the unchanged images.
        logit
            Whether scores are log-odds in nats, and not probabilities.
        fake_is
            ``high``: a high score means AI-generated; ``low``: a high score means real.
        threshold
            The probability of *fake* from which on the verdict is *fake*, or ``youden`` or ``fpr@0.01``, fitted on the
            clean rows of the split ``val``.
        threshold_logit
            The threshold of logits, in nats.
        evaluate
            The evaluated split, or ``all``; by default ``test`` where there are splits.
        samples
            ``same``: every detector and condition must have the same samples. ``common``: samples that one of them
            lacks are left out.

        Raises
        ------
        UserError
            If the table cannot be understood: with file, line and column, and with what to write.
        """
        from robustbench_aigen.runs.scores.importing import import_scores

        given = {
            "name": name, "score": score, "label": label, "labels": labels, "sample": sample, "sha256": sha256,
            "generator": generator, "split": split, "detector": detector, "condition": condition, "clean": clean,
            "logit": logit, "fake_is": fake_is, "threshold": threshold, "threshold_logit": threshold_logit,
            "evaluate": evaluate, "samples": samples,
        }  # fmt: skip
        return import_scores(scores, scores_spec(given))

    @classmethod
    def computed(
        cls,
        info: RunInfo,
        records: pd.DataFrame,
        summary: pd.DataFrame,
        gallery: pd.DataFrame,
        *,
        folder: Path | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> "Run":
        """Return a run that was just computed."""
        return cls(
            info, summary, folder, partial(_given, records), partial(_given, gallery), dict(digests or {})
        )

    @property
    def path(self) -> Path:
        """The run folder.

        Raises
        ------
        UserError
            If the run is in memory.
        """
        if self.folder is None:
            raise UserError("the run is in memory and has no folder", hint="run.save(folder) writes it")
        return self.folder

    @property
    def place(self) -> str:
        """The folder, or a text for a run in memory, for messages."""
        return f"{self.info.scenario.name}, in memory" if self.folder is None else str(self.folder)

    @property
    def has_records(self) -> bool:
        """Whether the run has records; committed results lack them."""
        return self.folder is None or (self.folder / RECORDS).is_file()

    @cached_property
    def records(self) -> pd.DataFrame:
        """A row per detector × pipeline × image.

        Raises
        ------
        UserError
            If the file is missing, damaged, or not of the run.
        """
        return self._records()

    @cached_property
    def cells(self) -> Cells:
        """The records by cell: one cell at a time is in memory, where the run is in a folder."""
        return FrameCells(partial(getattr, self, "records")) if self._cells is None else self._cells()

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """Records of the attacked images that were kept, with ``original`` and ``image`` as PNGs; often empty.

        Raises
        ------
        UserError
            If the file is damaged or not of the run.
        """
        return self._gallery()

    @property
    def detectors(self) -> list[str]:
        """Names of the detectors."""
        return self.info.detector_names

    @property
    def pipelines(self) -> list[str]:
        """Names of the pipelines, ``clean`` first."""
        return list(self.info.by_pipeline)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Notices of the run."""
        return tuple(
            Notice.stored({"level": each.level, "subject": each.subject, "text": each.text})
            for each in self.info.notices
        )

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Unreadable images, each with the reason."""
        return [(each.sample, each.reason) for each in self.info.data.unreadable]

    @property
    def adversarial_examples(self) -> AdversarialExamples:
        """The attacked images that the run kept."""
        return AdversarialExamples(self.gallery)

    def accuracy(self, pipeline: str = CLEAN, detector: str | None = None) -> float:
        """Return the share of right verdicts on all images.

        Parameters
        ----------
        pipeline
            Its name: ``clean``, ``pgd[eps=4/255]``.
        detector
            Its name; not needed where there is one.

        Raises
        ------
        UserError
            If there is no such pipeline or detector.
        """
        return self.worst_case(pipeline, detector)

    def worst_case(self, pattern: str, detector: str | None = None) -> float:
        """Return the share of images with a right verdict in every one of some pipelines.

        Parameters
        ----------
        pattern
            A name, the name of a sweep, or a pattern with ``*`` and ``?``.
        detector
            Its name; not needed where there is one.

        Raises
        ------
        UserError
            If no pipeline or no detector has such a name.
        """
        if not isinstance(pattern, str):
            raise UserError(
                f"a pipeline is a {type(pattern).__name__}", hint="give its name, such as 'clean'"
            )
        name = self._detector(detector)
        chosen = matching([pattern], self.info.outline.families, "pipeline")
        right = [self.cells.cell(name, pipeline)["correct"].to_numpy(bool) for pipeline in chosen]
        return float(np.logical_and.reduce(right).mean())

    def _detector(self, name: str | None) -> str:
        names = self.detectors
        if name is None and len(names) == 1:
            return names[0]
        if name is None:
            raise UserError(f"the run has {len(names)} detectors", hint=f"name one: {', '.join(names)}")
        if name not in names:
            raise UserError(f"no detector '{name}'", hint=did_you_mean(name, names))
        return name

    def overall(self) -> pd.DataFrame:
        """Return the summary rows on all images."""
        return self.summary[self.summary["generator"] == ALL_GENERATORS]

    def save(self, folder: str | Path) -> Path:
        """Write records, summary, gallery, ``run.json`` and the report's tables into a new folder, and return it.

        Raises
        ------
        UserError
            If the folder exists or cannot be written.
        """
        from robustbench_aigen.views.making import raise_faults
        from robustbench_aigen.views.texts import write_run_texts

        target = Path(folder)
        if target.exists():
            raise UserError(f"'{folder}' exists", hint="name a new folder")
        with writing(f"the run into '{folder}'"), atomic_folder(target, replace=False) as partial:
            write_run(partial, self.info, self.records, self.summary, self.gallery)
            faults = write_run_texts(partial)
        raise_faults(faults, target)
        return target

    def export(
        self,
        folder: str | Path,
        *,
        pipelines: Sequence[str] = (),
        detectors: Sequence[str] = (),
        licence: str = "unknown",
    ) -> Path:
        """Write the attacked images into a new folder that other detectors can be scored on, and return the folder.

        The run needs ``keep_images="all"``. The folder has the images, ``manifest.csv`` with the record and the hash of
        each image, and ``export.json`` with pipelines, detectors and thresholds. As data of a scenario, every file is
        checked against the manifest.

        Parameters
        ----------
        folder
            The folder to make; an empty one may exist.
        pipelines, detectors
            Names or patterns; by default all pipelines with an attack, of all detectors.
        licence
            Licence of the images, for the manifest.

        Raises
        ------
        UserError
            If the folder has content, the run did not keep all attacked images, or a name is unknown.
        """
        from robustbench_aigen.runs.export import export_run

        return export_run(self, folder, pipelines=pipelines, detectors=detectors, licence=licence).folder

    def save_baseline(self, folder: str | Path) -> Path:
        """Write the run as a baseline for a gate, replace an existing baseline, and return the folder."""
        named = self.info if self.folder is None else self.info.replace(run_id=self.folder.name)
        write_baseline(Path(folder), named, self.cells)
        return Path(folder)

    def report(self, folder: str | Path | None = None, *, model_cards: bool = False) -> Path:
        """Build the whole report, tables and figures, and return its folder: the run's own by default.

        ``model_cards`` adds a model card for each detector, in the form of Hugging Face.

        Raises
        ------
        UserError
            If a run in memory is given no folder.
        """
        from robustbench_aigen.views.report import report

        return report([self], folder, model_cards=model_cards)

    def compare(self, other: "Run | str | Path") -> "Comparison":
        """Compare with another run, image by image where both have them."""
        from robustbench_aigen.views.compare import compare

        return compare(self, other)

    def compare_detectors(self) -> pd.DataFrame:
        """Return paired tests between the detectors of the run."""
        from robustbench_aigen.views.compare import compare_detectors

        return compare_detectors(self)

    def gate(
        self, baseline: "Run | str | Path", config: "Config | None" = None, *, unpaired: bool = False
    ) -> "GateResult":
        """Compare the run with a baseline; ``result.passed`` is true if nothing got worse.

        ``unpaired`` compares runs on different images, by tests for independent samples.
        """
        from robustbench_aigen.views.gating.verdict import gate

        return gate(self, baseline, config=config, unpaired=unpaired)

    def _repr_html_(self) -> str:
        from robustbench_aigen.views.notebook import run_html

        return run_html(self)


def as_run(run: str | Path | Run) -> Run:
    """Open a run folder or a baseline; a run stays as it is.

    Raises
    ------
    UserError
        If the path is neither a run folder nor a baseline, or the folder is damaged.
    """
    return run if isinstance(run, Run) else Run.load(run)


class FoundRuns(NamedTuple):
    """Runs below a results folder, newest first, and the errors of damaged folders."""

    runs: list[Run]
    broken: list[tuple[Path, UserError]]


def find_runs(output: str | Path) -> FoundRuns:
    """Open every run below a results folder.

    Every folder that contains a file of a run and is not a baseline counts as a run. A folder that cannot be opened is
    among the broken ones and does not stop the others.
    """
    below = FoundRuns([], [])
    for folder in folders_below(output):
        if not isinstance(folder, str | Path):
            raise UserError(
                f"a run is a {type(folder).__name__}", hint="give a Run, or the path of a run folder"
            )
        if is_baseline(folder):
            continue
        try:
            below.runs.append(Run.load(folder))
        except UserError as error:
            below.broken.append((folder, error))
    below.runs.sort(key=lambda run: (run.info.started, run.path.name), reverse=True)
    return below


def list_runs(output: str | Path = "results") -> list[Run]:
    """Return the runs below a results folder, newest first; what is damaged is left out."""
    return find_runs(output).runs
