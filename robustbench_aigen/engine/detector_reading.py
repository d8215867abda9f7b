"""Reads the detectors of a plan on labelled validation images before anything is attacked."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.data.selection import Selection, select
from robustbench_aigen.detectors.contract import Detector, scores
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.loading import shipped_detectors
from robustbench_aigen.engine.plan import Plan, default_batch_size
from robustbench_aigen.engine.shards import NOT_HASHED, Shard, decode_shard
from robustbench_aigen.engine.sizes import same_size
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.trust.reading import read

_PIXELS = 2**18
"""Of all validation images together, by the input size of the detector: 256 images of 32 pixels a side."""
_FEWEST, _MOST = 48, 256


class _Labelled(NamedTuple):
    levels: list[Tensor]
    labels: Tensor


def read_detectors(plan: Plan) -> list[str]:
    """Find out on labelled validation images whether the plan's detectors are read as they were meant.

    Which output is fake is set accordingly where nobody declared it. All else is told and left as it is: a declared
    setting is the user's.

    Returns
    -------
    list of str
        Lines for the user, one for each finding.
    """
    notices: list[str] = []
    scenario = plan.loaded.scenario
    for position, (spec, detector) in enumerate(zip(scenario.detectors, plan.detectors, strict=True)):
        plan.detectors[position] = _as_meant(plan, spec, detector, notices)
    for spec, surrogate in plan.surrogates.items():
        plan.surrogates[spec] = _as_meant(plan, spec, surrogate, notices)
    return list(dict.fromkeys(notices))


def _as_meant(plan: Plan, spec: DetectorSpec, detector: Detector, notices: list[str]) -> Detector:
    """Return the detector, read otherwise where that is clear and nobody declared it."""
    if spec.id in shipped_detectors():
        return detector
    if isinstance(detector, Ensemble):
        specs = spec.ensemble or ()
        members = [
            _as_meant(plan, own, member, notices) for own, member in zip(specs, detector.members, strict=True)
        ]
        return detector if members == detector.members else detector.of(members)
    images = _validation_images(plan, detector)
    is_declared = "fake_index" in detector.declared
    if images is None:
        if not is_declared:
            notices.append(
                f"{detector.name}: nothing says which output is fake, and there are no validation images of both "
                f"classes to find out on; output {detector.preprocessing.fake_index} is taken for it"
            )
        return detector
    result = read(detector, lambda other, count: _scores(other, images, count, plan), images.labels)
    for finding in result.findings:
        sentence = finding.sentence
        if "fake_index" in finding.settings and not is_declared:
            detector = detector.read_as(**finding.settings)
            sentence += " (done here, as nothing was declared)"
        notices.append(f"{detector.name}: {sentence}")
    if not is_declared and not result.says_fake:
        notices.append(
            f"{detector.name}: nothing says which output is fake, and {len(images.labels)} validation images do not "
            f"tell; output {detector.preprocessing.fake_index} is taken for it"
        )
    return detector


def _validation_images(plan: Plan, detector: Detector) -> _Labelled | None:
    """Return validation images of both classes, None where there are none."""
    height, width = detector.preprocessing.input_size or (224, 224)
    limit = min(_MOST, max(_FEWEST, _PIXELS // (height * width)))
    try:
        selection = select(plan.selection.source, "val", None)
    except UserError:
        # The source has splits, and none for validation.
        return None
    chosen = _of_both_classes(selection, limit)
    if len({selection.source.samples[index].label for index in chosen}) < 2:
        return None
    images = decode_shard(Shard(selection, tuple(chosen), (NOT_HASHED,) * len(chosen)))
    labels = torch.tensor([sample.label for sample in images.samples])
    return _Labelled(images.levels, labels) if len(labels.unique()) == 2 else None


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
def _scores(detector: Detector, images: _Labelled, count: int, plan: Plan) -> Tensor:
    """Score the first images."""
    size = default_batch_size(detector, plan.device)
    result = torch.empty(count)
    for rows in same_size(images.levels, range(count)):
        for part in torch.tensor(rows).split(size):
            pixels = to_pixels(torch.stack([images.levels[row] for row in part.tolist()]).to(plan.device))
            result[part] = scores(detector(pixels)).cpu()
    return result
