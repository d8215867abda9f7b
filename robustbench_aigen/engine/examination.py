"""Checks of every detector on a few images before a run: finite and repeatable outputs."""

import math
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.trial import check_finite, failure, size_hint
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.identity import examination_key
from robustbench_aigen.engine.probing import Probed
from robustbench_aigen.engine.shards import NOT_HASHED, Shard, decode_shard, make_shards
from robustbench_aigen.engine.sizes import middles_of, same_size
from robustbench_aigen.engine.store import Cache
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.trust.check import Checks
from robustbench_aigen.trust.flags import Measurement
from robustbench_aigen.trust.repeatability import Repeated, repeat

_BATCH_PIXELS, _IMAGE_PIXELS = 2**21, 2**24
"""Largest number of pixels in the batch that an answer is compared in: at the input size, and of the images."""
_PIXELS = 2**16
"""Largest number of pixels of all images together, by the input size of the detector: 16 images of 64 pixels a side."""
_FEWEST, _MOST = 4, 16


class FewImages(NamedTuple):
    """Some decoded images of a selection: their samples, and 3×H×W uint8 of any sizes."""

    samples: list[Sample]
    levels: list[Tensor]


def few_images(selection: Selection, indices: list[int]) -> FewImages:
    """Decode some images of a source; unreadable images are left out, and reported later by the run."""
    return _decoded(Shard(selection, tuple(indices), (NOT_HASHED,) * len(indices)))


def hashed(selection: Selection, indices: list[int]) -> Shard:
    """Return some images as a shard; they are read in the order of the source, which is fastest."""
    hashes = {
        index: digest
        for shard in make_shards(selection._replace(indices=sorted(indices)))
        for index, digest in zip(shard.indices, shard.hashes, strict=True)
    }
    return Shard(selection, tuple(indices), tuple(hashes[index] for index in indices))


def first_images(shard: Shard) -> list[Tensor]:
    """Decode a shard of a few images: 3×H×W uint8 of any sizes."""
    return _decoded(shard).levels


def _decoded(shard: Shard) -> FewImages:
    images = decode_shard(shard)
    return FewImages(images.samples, images.levels)


def examine_detectors(experiment: Experiment, cache: Cache, checks: Checks) -> list[Probed]:
    """Score a few images with every detector, alone and in a batch; cached outputs are reused.

    Returns
    -------
    list
        The measurements of the checks on repeated outputs.

    Raises
    ------
    UserError
        If a detector fails on an image, or its output is NaN or infinite; the error names both.
    """
    found: list[Probed] = []
    samples = experiment.selection.source.samples
    ordered = sorted(experiment.selection.indices, key=lambda index: order_key(samples[index].id))
    shard = hashed(experiment.selection, ordered[:_MOST])
    names = tuple(pipeline.name for pipeline in experiment.pipelines)
    images: FewImages | None = None
    for detector in experiment.detectors:
        key = examination_key(detector, shard, experiment.cell(detector, experiment.pipelines[0]).settings)
        held = cache.load(key)
        if held is not None:
            columns = [torch.from_numpy(held[0][name].to_numpy(copy=True)) for name in Repeated._fields]
            repeated = Repeated(*columns) if len(held[0]) else None
        else:
            images = images or _decoded(shard)
            repeated = examine(
                detector, images.levels, [sample.id for sample in images.samples], experiment.device
            )
            answers = {name: [] for name in Repeated._fields} if repeated is None else repeated._asdict()
            cache.save(key, pd.DataFrame(answers), [])
        if repeated is not None:
            measured = judge_repeats(repeated, checks)
            found += [Probed(detector.name, names, flag, each) for flag, each in measured.items()]
    return found


def judge_repeats(repeated: Repeated, checks: Checks) -> dict[str, Measurement]:
    """Return the measurements of the checks on repeated outputs, by their flags."""
    found = {
        each.name: checks.ask(each, lambda: each.parts["repeats"](repeated), Measurement)  # noqa: B023
        for each in checks.on("repeats")
    }
    return {name: measured for name, measured in found.items() if measured is not None}


def examine(
    detector: Detector,
    levels: list[Tensor],
    names: list[str],
    device: torch.device,
    *,
    needs_finite: bool = True,
) -> Repeated | None:
    """Score as many images as are fast and fit into memory; None if there is no image, or if each costs a query.

    Of a large image the middle is scored, or all of it by a detector that fails on the middle.

    Parameters
    ----------
    detector
        The detector, on ``device``.
    levels
        3×H×W uint8 of any sizes.
    names
        Names of the images for messages.
    device
        The device of the detector.
    needs_finite
        Whether NaN and infinity are refused.

    Raises
    ------
    UserError
        If it fails on an image, or answers NaN or infinity.
    """
    if is_remote(detector):
        return None
    middles = middles_of(levels, detector, device)
    sides = detector.preprocessing.input_size or max(
        (tuple(image.shape[1:]) for image in middles), key=math.prod, default=(224, 224)
    )
    count = min(_MOST, max(_FEWEST, _PIXELS // math.prod(sides)))
    parts = []
    waiting = same_size(middles[:count], range(min(count, len(middles))))
    while waiting:
        rows = waiting.pop(0)
        stack = torch.stack([middles[row] for row in rows])
        try:
            among = min(
                default_batch_size(detector, device),
                _BATCH_PIXELS // math.prod(sides),
                _IMAGE_PIXELS // math.prod(stack.shape[2:]),
            )
            repeated = repeat(detector, stack, device, among)
        except Exception as error:
            if is_out_of_memory(error):
                # As in the run, which reports if not even one image fits.
                waiting[:0] = [rows[: len(rows) // 2]] if len(rows) > 1 else []
                continue
            height, width = stack.shape[2:]
            raise failure(
                detector, error, height, width, hint=size_hint(detector, height, width), image=names[rows[0]]
            ) from error
        if needs_finite:
            check_finite(detector, repeated.margin, [names[row] for row in rows])
        parts.append(repeated)
    return Repeated.joined(parts) if parts else None
