"""How gradients of each detector are found: tried once before a run, on a few of its images, for attacks that react."""

import json
from collections.abc import Callable
from dataclasses import asdict

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.reaction.distillation import MOST
from robustbench_aigen.attacks.reaction.heads import Head
from robustbench_aigen.attacks.reaction.insight import LOOKED_INTO, Insight, look_into
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.engine.examination import few_images, first_images, hashed
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.identity import insight_key
from robustbench_aigen.engine.sizes import middles_of, same_size
from robustbench_aigen.engine.store import Cache
from robustbench_aigen.numerics.eight_bit import to_pixels

BLIND = Insight("none")
"""Of a detector behind HTTP, which is not asked."""


def with_insights(experiment: Experiment, cache: Cache) -> Experiment:
    """Return the experiment with an insight into each detector, if an attack of the run reacts to detectors.

    The images are the first in a fixed random order of the run's images, so that the insight depends on no shard, no
    worker and no earlier run. Insights are cached.
    """
    reacting = [
        stage
        for pipeline in experiment.pipelines
        for stage in pipeline.attacks
        if stage.recipe.adapts and stage.surrogate is None
    ]
    if not reacting:
        return experiment
    samples = experiment.selection.source.samples
    ordered = sorted(experiment.selection.indices, key=lambda index: order_key(samples[index].id))
    shard = hashed(experiment.selection, ordered[:LOOKED_INTO])

    def more() -> list[Tensor]:
        return few_images(experiment.selection, ordered[:MOST]).levels

    found: dict[str, Insight] = {}
    for detector in experiment.detectors:
        settings = experiment.cell(detector, experiment.pipelines[0]).settings
        key = insight_key(detector, shard, settings)
        held = cache.load(key)
        if held is not None:
            found[detector.name] = _read(str(held[0]["insight"].iloc[0]))
            continue
        found[detector.name] = _insight(detector, experiment, first_images(shard), more)
        text = json.dumps(asdict(found[detector.name]))
        cache.save(key, pd.DataFrame({"insight": [text]}), [])
    return experiment.replaced(insights=found)


def _insight(
    detector: Detector, experiment: Experiment, levels: list[Tensor], more: Callable[[], list[Tensor]]
) -> Insight:
    if is_remote(detector):
        return BLIND
    if not levels:
        return Insight()

    def stacked(images: list[Tensor]) -> Tensor:
        middles = middles_of(images, detector, experiment.device)
        rows = max(same_size(middles, range(len(middles))), key=len)
        return to_pixels(torch.stack([middles[row] for row in rows]).to(experiment.device))

    return look_into(detector, experiment.thresholds[detector.name], stacked(levels), lambda: stacked(more()))


def _read(text: str) -> Insight:
    values = json.loads(text)
    heads = tuple(
        Head(name, call, tuple(weights), offset) for name, call, weights, offset in values.pop("heads")
    )
    return Insight(heads=heads, **values)
