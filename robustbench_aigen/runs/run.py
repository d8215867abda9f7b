"""A finished run: what was computed, wherever it is."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from PIL import Image

from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.baseline import Baseline, open_recorded, write_baseline
from robustbench_aigen.runs.folder import StoredRun, find_runs, write_run
from robustbench_aigen.runs.selection import families_of, matching
from robustbench_aigen.stages.pipeline import CLEAN

if TYPE_CHECKING:
    from robustbench_aigen.views.compare import Comparison
    from robustbench_aigen.views.gating.result import GateResult


class AdversarialExample(NamedTuple):
    """An attacked image of a run's gallery: its record, the original and what the detector was shown."""

    record: Mapping[str, Any]
    original: Image.Image
    image: Image.Image


@dataclass(frozen=True)
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
            yield AdversarialExample(record, _opened(row["original"]), _opened(row["image"]))

    def save(self, folder: str | Path) -> None:
        """Write the images as 8-bit PNGs, original and attacked, and their records as ``examples.csv``.

        Raises
        ------
        UserError
            If they cannot be written.
        """
        with writing("the adversarial examples"), atomic_folder(Path(folder), replace=False) as partial:
            for place, row in enumerate(self.gallery.itertuples()):
                (partial / f"{place:04}_original.png").write_bytes(row.original)
                (partial / f"{place:04}_attacked.png").write_bytes(row.image)
            table = self.gallery.drop(columns=["original", "image"], errors="ignore")
            table.to_csv(partial / "examples.csv", index_label="number")


def _opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def _same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _no_gallery() -> pd.DataFrame:
    return pd.DataFrame(columns=["original", "image"])


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    info
        The content of ``run.json``: scenario, pipelines, data, detectors, packages, hardware, trust, timings.
    summary
        A row per detector × pipeline × generator.
    folder
        The run folder; None for a run in memory.
    problems
        Images that could not be read, and why.
    """

    info: dict[str, Any]
    summary: pd.DataFrame
    folder: Path | None = None
    problems: Sequence[tuple[str, str]] = ()
    _records: Callable[[], pd.DataFrame] = field(default=pd.DataFrame, repr=False)
    _gallery: Callable[[], pd.DataFrame] = field(default=_no_gallery, repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Open a run folder, the newest run of a scenario's folder, or a baseline. Records are read when asked for.

        Raises
        ------
        UserError
            If it is none, or damaged.
        """
        stored = open_recorded(folder)
        if isinstance(stored, StoredRun):
            return cls(
                stored.info, stored.summary, stored.folder, _unreadable(stored.info),
                partial(getattr, stored, "records"), partial(getattr, stored, "gallery"),
            )  # fmt: skip
        assert isinstance(stored, Baseline)
        return cls(stored.info, pd.DataFrame(), stored.folder, (), partial(getattr, stored, "records"))

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

    @classmethod
    def computed(
        cls,
        info: dict[str, Any],
        records: pd.DataFrame,
        summary: pd.DataFrame,
        gallery: pd.DataFrame | None,
        *,
        folder: Path | None = None,
        problems: Sequence[tuple[str, str]] = (),
    ) -> "Run":
        """Return a run that was just computed."""
        kept = _no_gallery() if gallery is None else gallery
        return cls(info, summary, folder, tuple(problems), partial(_same, records), partial(_same, kept))

    @cached_property
    def records(self) -> pd.DataFrame:
        """A row per detector × pipeline × image.

        Raises
        ------
        UserError
            If the file is missing, damaged, or not of the run.
        """
        return self._records()

    @property
    def detectors(self) -> list[str]:
        """Names of the detectors."""
        return [detector["name"] for detector in self.info["detectors"]]

    @property
    def pipelines(self) -> list[str]:
        """Names of the pipelines, ``clean`` first."""
        return list(families_of(self.info))

    @property
    def notices(self) -> tuple[str, ...]:
        """What the run told its user beside results."""
        told = self.info.get("notices", [])
        return tuple(
            f"{each['subject']}: {each['text']}" if each["subject"] else each["text"] for each in told
        )

    @property
    def adversarial_examples(self) -> AdversarialExamples:
        """The attacked images that the run kept."""
        return AdversarialExamples(self._gallery())

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
        records = self.records
        chosen = matching([pattern], families_of(self.info), "pipeline")
        mine = records[(records["detector"] == self._detector(detector)) & records["pipeline"].isin(chosen)]
        return float(mine.groupby("sample", observed=True)["correct"].all().mean())

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
            If something is there, or it cannot be written.
        """
        from robustbench_aigen.views.making import raise_faults
        from robustbench_aigen.views.texts import write_run_texts

        target = Path(folder)
        if target.exists():
            raise UserError(f"'{folder}' exists", hint="name a new folder")
        gallery = self._gallery()
        with writing(f"the run into '{folder}'"), atomic_folder(target, replace=False) as partial:
            write_run(partial, self.info, self.records, self.summary, gallery if len(gallery) else None)
            faults = write_run_texts(partial)
        raise_faults(faults, target)
        return target

    def save_baseline(self, folder: str | Path) -> Path:
        """Write the run as a baseline for a gate, in place of a baseline that is there, and return its folder."""
        return write_baseline(self, folder)

    def report(self, folder: str | Path | None = None) -> Path:
        """Build the whole report, tables and figures, and return its folder: the run's own by default.

        Raises
        ------
        UserError
            If a run in memory is given no folder.
        """
        from robustbench_aigen.views.report import build_report

        if self.folder is not None:
            return build_report([self.folder], folder)
        if folder is None:
            raise UserError(
                "the run is in memory, and its report needs a folder", hint='run.report("report/")'
            )
        return build_report([self.save(folder)])

    def compare(self, other: "Run | str | Path") -> "Comparison":
        """Compare with another run, image by image where both have them."""
        from robustbench_aigen.views.compare import compare

        return compare(self, other)

    def compare_detectors(self) -> pd.DataFrame:
        """Return paired tests between the detectors of the run."""
        from robustbench_aigen.views.compare import compare_detectors

        return compare_detectors(self)

    def gate(
        self, baseline: "Run | str | Path", config: str | Path | Mapping[str, Any] | None = None
    ) -> "GateResult":
        """Hold the run against a baseline; ``result.passed`` says whether nothing got worse."""
        from robustbench_aigen.views.gating.verdict import gate

        return gate(self, baseline, config=config)

    def _repr_html_(self) -> str:
        from robustbench_aigen.views.notebook import run_html

        return run_html(self.folder, self.info, self.summary)


def _unreadable(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["sample"], each["reason"]) for each in info["data"]["unreadable"]]


def list_runs(output: str | Path = "results") -> list[Run]:
    """Return the runs below a results folder, newest first; what is damaged is left out."""
    return [Run.load(run.folder) for run in find_runs(output).runs]
