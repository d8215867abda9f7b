"""A suite as a card needs it: its images with their hashes, and its pipelines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from robustbench_aigen.data.image_data import ImageData, as_image_data
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.digests import digest_of_text
from robustbench_aigen.engine.scenario_checks import bound_pipelines
from robustbench_aigen.engine.shards import make_shards
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.evaluation import suite_files
from robustbench_aigen.runs.info import PipelineInfo
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline

HASH_DIGITS = 32
"""Stored digits of an image's sha256: 128 bits, for which no other image can be made."""
IMAGE_COLUMNS = ("sample", "label", "generator", "sha256")
_NORMS = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True, eq=False)
class Suite:
    """A version of a suite.

    Parameters
    ----------
    name
        The name with the version: ``standard_v1``.
    file
        Its scenario.
    """

    name: str
    file: Path

    @cached_property
    def sha256(self) -> str:
        """The digest of the scenario's file."""
        return digest_of_text(self.file.read_bytes())

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario."""
        return Scenario.from_yaml(self.file)

    @cached_property
    def data(self) -> ImageData:
        """The images, as a benchmark selects them."""
        spec = self.scenario.data
        named = spec.model_dump(exclude={"split", "limit"}, exclude_unset=True)
        return as_image_data(named, spec.split, spec.limit)

    @property
    def selection(self) -> Selection:
        """The images, as the engine takes them."""
        return self.data.selection

    @cached_property
    def _images(self) -> list[list[object]]:
        return [image for shard in make_shards(self.selection) for image in shard.identity()]

    @cached_property
    def images(self) -> pd.DataFrame:
        """``sample, label, generator, sha256`` of each image, hashes cut to :data:`HASH_DIGITS`, sorted by sample."""
        frame = pd.DataFrame(self._images, columns=list(IMAGE_COLUMNS))
        frame["sha256"] = frame["sha256"].str[:HASH_DIGITS]
        return frame.sort_values("sample", ignore_index=True)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the images, as runs have it."""
        return fingerprint(self._images)

    @cached_property
    def pipelines(self) -> dict[str, PipelineInfo]:
        """The pipelines by name, ``clean`` first."""
        expanded = [Pipeline(CLEAN), *(each for each in bound_pipelines(self.scenario) if each.stages)]
        return {each.name: PipelineInfo.of(each.to_dict()) for each in expanded}

    @cached_property
    def attacks(self) -> list[str]:
        """The pipelines with an attack."""
        return [name for name, each in self.pipelines.items() if "attack" in each.kinds]

    @cached_property
    def degradations(self) -> list[str]:
        """The pipelines of processing alone."""
        return [name for name in self.pipelines if name != CLEAN and name not in self.attacks]

    @cached_property
    def combined(self) -> dict[str, list[str]]:
        """The combined conditions by name: an image counts as right if it is right in each of the pipelines."""
        found = {
            f"every attack, {norm} {eps}": [CLEAN, *names]
            for (norm, eps), names in threat_models(list(self.pipelines.values())).items()
            if len(names) > 1
        }
        return {**found, "every degradation": [CLEAN, *self.degradations]}

    @property
    def conditions(self) -> list[str]:
        """The names of all pipelines and combined conditions."""
        return [*self.pipelines, *self.combined]


def threat_models(pipelines: Sequence[PipelineInfo]) -> Mapping[tuple[str, str], list[str]]:
    """Group the attacks without processing by norm and eps, in RobustBench's words: ``("Linf", "4/255")``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for pipeline in pipelines:
        stage = pipeline.stages[0] if len(pipeline.stages) == 1 else {}
        norm, eps = str(stage.get("norm")), stage.get("eps")
        if "attack" in stage and not stage.get("through") and isinstance(eps, float):
            text = write_pixels(eps) if norm == "linf" else f"{eps:g}"
            groups.setdefault((_NORMS.get(norm, norm), text), []).append(pipeline.name)
    return groups


@cache
def suite_of(name: str) -> Suite:
    """Return a version of a suite by its name, ``standard_v1``.

    Raises
    ------
    UserError
        If there is no such version.
    """
    files = suite_files()
    if name not in files:
        raise UserError(f"'{name}' is not a version of a suite", hint=did_you_mean(name, files))
    return Suite(name, files[name])
