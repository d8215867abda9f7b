"""Verification of a card: a part of the images is run again, from the card alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from secrets import randbits

import numpy as np
import pandas as pd

from robustbench_aigen.data.image_data import DataLike, ImageData
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.preprocessing_settings import with_later_settings
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError
from robustbench_aigen.leaderboard.card import Entry, read_entry
from robustbench_aigen.leaderboard.checking import CardFault, check_entry, compare_images
from robustbench_aigen.leaderboard.submission import parameters_of
from robustbench_aigen.metrics.tail_tests import binomial_tail
from robustbench_aigen.runs.info import PipelineInfo
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.detector_spec import DetectorSpec, library_prefix
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.suites.suite import identities, images_of
from robustbench_aigen.text import counted

SHARE = 0.1
_FEWEST = 20
"""Images that are run again at least: a tenth of 100 images shows little."""
_SAME = 1e-3
"""Difference in nats of a threshold that is fitted again on another machine."""
_NOISE = {"processing": 0.001, "attack": 0.005}
"""Share of verdicts that another machine may change: searches amplify rounding."""
_FOREIGN = ("python:", "http:", "https:")
"""Prefixes of detectors that a stranger's card may not name without consent."""
_DOUBT = 0.1
"""Chance below which a whole pipeline is run again."""
_LEVEL = 0.001
"""Chance of refusing a sound card in each test."""


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Parameters
    ----------
    card
        The file of the card.
    images
        Number of images of the random part.
    verdicts
        Number of verdicts that were compared; larger where a whole pipeline was run again.
    seed
        Seed of the choice of images, to repeat the verification.
    equal
        Number of equal verdicts.
    faults
        Reasons to refuse the card.
    """

    card: Path
    images: int
    verdicts: int
    seed: int
    equal: int
    faults: tuple[CardFault, ...]

    @property
    def passed(self) -> bool:
        """Whether the card is sound."""
        return not self.faults

    def as_dict(self) -> dict[str, object]:
        """Return the result as plain values, for JSON."""
        return {
            "card": str(self.card), "passed": self.passed, "images": self.images, "verdicts": self.verdicts,
            "equal": self.equal, "seed": self.seed, "faults": [each._asdict() for each in self.faults],
        }  # fmt: skip


def verify(
    card: str | Path,
    *,
    share: float = SHARE,
    seed: int | None = None,
    detector: DetectorSpec | None = None,
    data: DataLike | None = None,
    device: str = "auto",
    trust_code: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Verify a card: check its numbers, load its detector, and run a random part of its images again.

    Where several verdicts on this part are better in the card, the whole pipeline is run again.

    Parameters
    ----------
    card
        The file of the card.
    share
        Share of the images, in (0, 1]; at least 20 images are run.
    seed
        Seed of the choice of images; by default one that a submitter cannot know.
    detector
        Where the detector is, if not where the card says.
    data
        The images of a suite without images, or a copy of a suite's images that are not part of the package.
    device, trust_code, progress
        As for :func:`robustbench_aigen.evaluate`.

    Raises
    ------
    UserError
        If the card or its detector cannot be read.
    """
    if not 0 < share <= 1:
        raise UserError(f"share is {share:g}, not above 0 and at most 1", hint="0.1 runs a tenth again")
    entry = read_entry(card)
    faults = check_entry(entry)
    chosen_seed = randbits(32) if seed is None else seed
    images = None
    if not _are_of_other_images(faults):
        images = _images(entry, data)
        if entry.suite.takes_own_images:
            faults += compare_images(entry, images_of(identities(images)), images.name)
    if images is None or _are_of_other_images(faults):
        # Verdicts on other images cannot be compared.
        return Verification(entry.file, 0, 0, chosen_seed, 0, tuple(faults))
    experiment = _experiment(entry, images, detector, device, trust_code=trust_code)
    (loaded,) = experiment.detectors
    faults += _check_weights(entry, loaded)
    if any(fault.subject == "weights" for fault in faults):
        return Verification(entry.file, 0, 0, chosen_seed, 0, tuple(faults))
    part = _part(experiment.selection, share, chosen_seed)
    run = experiment.replaced(selection=part).run(progress=progress)
    faults += _check_detector(entry, loaded, run)
    faults += _check_threshold(entry, experiment, run)
    compared = _compared(entry, run)
    doubtful = _doubtful(compared)
    if doubtful and len(part.indices) < len(experiment.selection.indices):
        compared = _with_whole(compared, doubtful, entry, experiment, progress)
    faults += _check_verdicts(compared)
    return Verification(
        entry.file,
        run.info.data.images,
        len(compared),
        chosen_seed,
        int((compared["stated"] == compared["found"]).sum()),
        tuple(faults),
    )


def _are_of_other_images(faults: Sequence[CardFault]) -> bool:
    return any(fault.subject in ("suite", "images") for fault in faults)


def _images(entry: Entry, given: DataLike | None) -> ImageData:
    """Return the images of a card: those of the suite, or the given ones.

    Raises
    ------
    UserError
        If the card is of images that have to be given, or those of the suite cannot be had.
    """
    own = entry.card.suite.data
    if own is not None and given is None:
        raise UserError(
            f"the card is of images named '{own.name}', which are not part of {entry.suite.name}",
            file=entry.file,
            hint="add --data FOLDER",
        )
    return entry.suite.data(given, own.split if own is not None else None)


def _experiment(
    entry: Entry, data: ImageData, detector: DetectorSpec | None, device: str, *, trust_code: bool
) -> Experiment:
    """Return the experiment of a card: the suite on its detector, with the precision of its run."""
    scenario = entry.suite.scenario
    spec = detector or _stated(entry, trust_code=trust_code)
    return Experiment(
        spec.model_dump(exclude_unset=True), data, scenario.pipelines, threshold=entry.card.threshold.rule,
        seed=scenario.seed, precision=entry.card.run.precision, device=device, name="verification", trust="off",
        ssim="off", trust_code=trust_code,
    )  # fmt: skip


def _stated(entry: Entry, *, trust_code: bool) -> DetectorSpec:
    """Return the detector that the card names. A card is a stranger's: its code runs only with ``trust_code``.

    Raises
    ------
    UserError
        If the detector is a function or a service, and code is not trusted.
    """
    spec = validated_values(DetectorSpec, entry.card.detector.spec, "a detector")
    for each in (spec, *_members(spec)):
        prefix = library_prefix(each.id or "")
        if not trust_code and prefix in _FOREIGN:
            raise UserError(
                f"the detector '{each.id}' runs code or queries an address that the card names",
                file=entry.file,
                hint="add --trust-code if you trust the card",
            )
    return spec.starting_at(entry.file.resolve().parent)


def _members(spec: DetectorSpec) -> Iterator[DetectorSpec]:
    for member in spec.ensemble or ():
        yield member
        yield from _members(member)


def _part(selection: Selection, share: float, seed: int) -> Selection:
    count = min(len(selection.indices), max(_FEWEST, round(share * len(selection.indices))))
    return selection._replace(indices=sorted(Random(seed).sample(selection.indices, count)))  # noqa: S311  Not a secret.


def _check_weights(entry: Entry, detector: Detector) -> list[CardFault]:
    stated, found = entry.card.detector.weights_sha256, detector.weights_sha256
    if found == stated:
        return []
    return [
        CardFault("weights", f"the weights have the sha256 {found[:12]}…, and the card has {stated[:12]}…")
    ]


def _check_detector(entry: Entry, detector: Detector, run: Run) -> list[CardFault]:
    stated, (info,) = entry.card.detector, run.info.detectors
    found = {
        "architecture": info.architecture,
        "preprocessing": info.seen,
        "parameters": parameters_of(detector),
    }
    written = {
        **{name: getattr(stated, name) for name in found},
        "preprocessing": with_later_settings(stated.preprocessing),
    }
    differing = [name for name, value in found.items() if written[name] != value]
    return [
        CardFault("detector", f"the {name} in the card differs from the loaded detector's")
        for name in differing
    ]


def _check_threshold(entry: Entry, experiment: Experiment, run: Run) -> list[CardFault]:
    stated, (info,) = entry.card.threshold, run.info.detectors
    found = info.threshold_log_odds
    if found is None or abs(found - stated.log_odds) > _SAME or abs(info.threshold - stated.score) > _SAME:
        source = "the detector's own threshold"
        if stated.rule is not None:
            source = f"'{stated.rule}' on the validation split of {experiment.selection.source.name}"
        return [
            CardFault("threshold", f"the card has {stated.score:.4f}, and {source} is {info.threshold:.4f}")
        ]
    return []


def _compared(entry: Entry, run: Run) -> pd.DataFrame:
    """Return ``pipeline, kind, stated, found`` of each verdict that was computed again.

    ``kind`` is ``processing``, ``attack``, or ``attack with processing after it``.
    """
    records = run.records
    places = dict(zip(entry.verdicts.images["sample"], range(len(entry.verdicts.images)), strict=True))
    rows = records["sample"].astype(str).map(places).to_numpy()
    names = records["pipeline"].astype(str)
    stated = np.array([entry.verdicts.right[name][row] for name, row in zip(names, rows, strict=True)])
    kinds = {name: _kind(pipeline) for name, pipeline in entry.suite.pipelines.items()}
    return pd.DataFrame(
        {
            "pipeline": names,
            "kind": names.map(kinds),
            "stated": stated,
            "found": records["correct"].to_numpy(bool),
        }
    )


def _kind(pipeline: PipelineInfo) -> str:
    if "attack" not in pipeline.kinds:
        return "processing"
    last = pipeline.stages[-1]
    return "attack" if "attack" in last and not last.get("through") else "attack with processing after it"


def _doubtful(compared: pd.DataFrame) -> set[str]:
    """Return the pipelines with more verdicts that are better in the card than rounding usually explains.

    Where processing follows an attack, the whole pipeline would show no more.
    """
    raised = (compared["stated"] & ~compared["found"]).groupby(
        [compared["pipeline"], compared["kind"]], sort=False
    )
    return {
        str(name)
        for (name, kind), values in raised
        if kind in _NOISE and binomial_tail(int(values.sum()), len(values), _NOISE[kind]) < _DOUBT
    }


def _with_whole(
    compared: pd.DataFrame, names: set[str], entry: Entry, experiment: Experiment, progress: Progress | None
) -> pd.DataFrame:
    """Return the comparison with some pipelines on all images."""
    again = experiment.replaced(pipelines=_with_smaller(experiment.pipelines, names))
    whole = _compared(entry, again.run(progress=progress))
    return pd.concat([compared[~compared["pipeline"].isin(names)], whole[whole["pipeline"].isin(names)]])


def _with_smaller(pipelines: Sequence[Pipeline], names: set[str]) -> tuple[Pipeline, ...]:
    """Return the named pipelines, the clean one, and those at a smaller eps whose work they share."""
    needed = {CLEAN}
    for pipeline in pipelines:
        shared: Pipeline | None = pipeline if pipeline.name in names else None
        while shared is not None:
            needed.add(shared.name)
            shared = shared.smaller
    return tuple(pipeline for pipeline in pipelines if pipeline.name in needed)


def _check_verdicts(compared: pd.DataFrame) -> list[CardFault]:
    """Return a fault where more verdicts differ than rounding explains: in one pipeline, or in all of a kind."""
    parts = [(f"all of {kind}", str(kind), part) for kind, part in compared.groupby("kind", sort=False)]
    parts += [
        (str(name), str(part["kind"].iloc[0]), part)
        for name, part in compared.groupby("pipeline", sort=False)
    ]
    faults = []
    for name, kind, part in parts:
        raised = int((part["stated"] & ~part["found"]).sum())
        differing = int((part["stated"] != part["found"]).sum())
        # Where processing follows an attack, rounding changes verdicts in both directions, and often.
        chance = (
            binomial_tail(differing, len(part), _NOISE[kind])
            if kind in _NOISE
            else binomial_tail(raised, differing)
        )
        if chance < _LEVEL:
            faults.append(
                CardFault(
                    "verdicts",
                    f"{name}: {differing} of {counted(len(part), 'verdict')} differ, {raised} of them better in the card",
                )
            )
    return faults
