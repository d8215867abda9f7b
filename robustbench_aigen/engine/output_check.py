"""Checks of the settings of detectors on labelled images outside the test, before any attack."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.data.selection import ALL, Selection, select
from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.engine.examination import few_images
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.sizes import middles_of, same_size
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.trust.output_issues import Reading, read

_PIXELS = 2**18
"""Largest number of pixels of all labelled images, at the detector's input size: 256 images of 32 pixels a side."""
_FEWEST, _MOST, _ENOUGH = 48, 256, 32
"""Number of images for the check: with too few of one kind, the next kind is used."""
_AT_ONCE = 8
"""Images that are held whole: one of 12 megapixels takes 36 MB."""


class _Labelled(NamedTuple):
    """Labelled images of both classes for the check, and a description of them.

    ``are_tested`` is whether the run tests them: then they set nothing.
    """

    levels: list[Tensor]
    labels: Tensor
    what: str
    are_tested: bool


def read_detectors(experiment: Experiment) -> tuple[Experiment, list[Notice]]:
    """Check on labelled images whether the outputs of the detectors are read correctly.

    The check uses validation images, else training images, else any images that the run does not test. An undeclared
    index of the fake output is set accordingly. Other findings are only reported, because a declared setting is the
    user's. If the run tests every labelled image, nothing is set.

    Returns
    -------
    tuple
        The experiment with corrected detectors, and a line for the user per issue.
    """
    notices: list[Notice] = []
    detectors = tuple(
        detector if spec is None else _as_meant(experiment, spec, detector, notices)
        for spec, detector in zip(experiment.specs, experiment.detectors, strict=True)
    )
    surrogates = {
        named: _as_meant(experiment, named, surrogate, notices)
        if isinstance(named, DetectorSpec)
        else surrogate
        for named, surrogate in experiment.surrogates.items()
    }
    read_so = experiment.replaced(detectors=detectors, surrogates=surrogates)
    return read_so, list(dict.fromkeys(notices))


def _as_meant(
    experiment: Experiment, spec: DetectorSpec, detector: Detector, notices: list[Notice]
) -> Detector:
    """Return the detector, with fake_index corrected if the images are clear and the key is undeclared."""
    if spec.id in shipped_detectors():
        return detector
    if isinstance(detector, Ensemble):
        specs = spec.ensemble or ()
        members = [
            _as_meant(experiment, own, member, notices)
            for own, member in zip(specs, detector.members, strict=True)
        ]
        return detector if members == detector.members else detector.of(members)
    if is_remote(detector):
        return detector  # Each image would cost a query, and the description declares the class of the score.
    images = _labelled_images(experiment, detector)
    is_declared = "fake_index" in detector.declared
    if images is None:
        if not is_declared:
            notices.append(_undecided(detector, "there are no labelled images of both classes to check"))
        return detector
    shapes = {tuple(image.shape[1:]) for image in images.levels}
    sides = next(iter(shapes)) if len(shapes) == 1 else None
    result = read(
        detector,
        lambda other, count: _log_odds(other, images, count, experiment),
        images.labels,
        None if sides is None else (sides[0], sides[1]),
    )
    may_set = not is_declared and not images.are_tested
    for issue in result.issues:
        sentence = issue.sentence
        if "fake_index" in issue.settings and may_set:
            detector = detector.read_as(fake_index=issue.settings["fake_index"])
            done = "set here" if len(issue.settings) == 1 else "fake_index is set here"
            sentence += f" ({done}, because not declared)"
        elif images.are_tested:
            sentence += " (not set, because these images are tested)"
        if images.what != _VALIDATION:
            sentence = f"on {len(images.labels)} {images.what}, {sentence}"
        notices.append(warning(sentence, detector.name))
    return detector if is_declared else _with_reason(detector, images, result, notices)


def _with_reason(detector: Detector, images: _Labelled, result: Reading, notices: list[Notice]) -> Detector:
    """Return the detector with the images that show which output means *fake*; a notice if no image shows this."""
    is_shown = result.says_fake or any("fake_index" in issue.settings for issue in result.issues)
    if not is_shown:
        notices.append(
            _undecided(detector, f"{len(images.labels)} {images.what} do not show which output is fake")
        )
    elif not images.are_tested:
        detector.shown_by = images.what
    return detector


def _undecided(detector: Detector, why: str) -> Notice:
    """Return the warning that nothing decides which output means *fake*."""
    index = detector.preprocessing.fake_index
    told = f"fake_index is not declared, and {why}; assumed: output {index} means fake"
    return warning(f"{told} (set fake_index to change)", detector.name)


_VALIDATION = "validation images"


def _labelled_images(experiment: Experiment, detector: Detector) -> _Labelled | None:
    """Return images of both classes, if possible outside the test; None without such images."""
    height, width = detector.preprocessing.input_size or (224, 224)
    limit = min(_MOST, max(_FEWEST, _PIXELS // (height * width)))
    few: _Labelled | None = None
    for selection, what in _pools(experiment.selection):
        if what == _TESTED and few is not None:
            break
        images = _decoded(selection, what, limit, detector, experiment.device)
        if images is not None and (few is None or len(images.labels) > len(few.labels)):
            few = images
        if few is not None and len(few.labels) >= min(_ENOUGH, limit):
            break
    return few


def _decoded(
    selection: Selection, what: str, limit: int, detector: Detector, device: torch.device
) -> _Labelled | None:
    """Return images of both classes, None without such images."""
    chosen = _of_both_classes(selection, limit)
    if len({selection.source.samples[index].label for index in chosen}) < 2:
        return None
    levels: list[Tensor] = []
    found: list[int] = []
    for start in range(0, len(chosen), _AT_ONCE):
        images = few_images(selection, chosen[start : start + _AT_ONCE])
        levels += middles_of(images.levels, detector, device)
        found += [sample.label for sample in images.samples]
    labels = torch.tensor(found)
    if len(labels.unique()) < 2:
        return None
    return _Labelled(levels, labels, what, are_tested=what == _TESTED)


_TESTED = "tested images"


def _pools(tested: Selection) -> Iterator[tuple[Selection, str]]:
    """Yield the labelled images of a source that are not tested, the best first, and those that are."""
    taken = set(tested.indices)
    # Where all are tested, there is no split to look for, which may take as long as decoding the images.
    untested = len(taken) < len(tested.source.samples)
    for split, what in (
        ()
        if not untested
        else (
            ("val", _VALIDATION),
            ("train", "training images"),
            (ALL, "images that are not tested"),
        )
    ):
        try:
            found = select(tested.source, split, None)
        except UserError:
            continue  # The source has splits, and none of that name.
        yield found._replace(indices=[index for index in found.indices if index not in taken]), what
    yield tested, _TESTED


def _of_both_classes(selection: Selection, limit: int) -> list[int]:
    """Return as many images of each class, spread evenly over the selection, the classes in turn."""
    by_class: list[list[int]] = []
    for label in (0, 1):
        rows = [index for index in selection.indices if selection.source.samples[index].label == label]
        step = max(1, len(rows) // max(1, limit // 2))
        by_class.append(rows[::step][: limit // 2])
    turns = [(turn, index) for rows in by_class for turn, index in enumerate(rows)]
    return [index for _, index in sorted(turns)]


@torch.no_grad()
def _log_odds(detector: Detector, images: _Labelled, count: int, experiment: Experiment) -> Tensor:
    """Return the log-odds of *fake* of the first images."""
    size = default_batch_size(detector, experiment.device)
    result = torch.empty(count)
    for rows in same_size(images.levels, range(count)):
        for part in torch.tensor(rows).split(size):
            pixels = to_pixels(
                torch.stack([images.levels[row] for row in part.tolist()]).to(experiment.device)
            )
            result[part] = log_odds(detector(pixels)).cpu()
    return result
