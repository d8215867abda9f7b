"""A suite as a card needs it: its images with their hashes, and its pipelines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from robustbench_aigen.csv_text import unguarded_frame
from robustbench_aigen.data.image_data import DataLike, ImageData, as_image_data
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.digests import digest_of_text
from robustbench_aigen.engine.scenario_checks import bound_pipelines
from robustbench_aigen.engine.shards import make_shards
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.runs.info import PipelineInfo
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.text import counted

HASH_DIGITS = 32
"""Stored digits of an image's sha256: 128 bits, for which no other image can be made."""
IMAGE_COLUMNS = ("sample", "label", "generator", "sha256")
_OWN = "own"
"""The source in a suite whose images the caller gives."""
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

    @property
    def takes_own_images(self) -> bool:
        """Whether the caller gives the images. The cards of such a suite state their images themselves."""
        return self.scenario.data.source == _OWN

    def data(
        self, given: DataLike | None = None, split: str | None = None, limit: int | None = None
    ) -> ImageData:
        """Return the images, as a benchmark selects them.

        Parameters
        ----------
        given
            The images of a suite without images; or a copy of a suite's images that are not part of the package.
        split
            Split of the caller's images.
        limit
            Largest number of images, if smaller than the suite's.

        Raises
        ------
        UserError
            If images are missing, not wanted, or not those of the suite.
        """
        spec = self.scenario.data
        most = min(each for each in (limit, spec.limit) if each is not None)
        if self.takes_own_images:
            if given is None:
                raise UserError(
                    f"suite {self.name} has no images of its own", hint="add --data FOLDER, data=… in Python"
                )
            return as_image_data(given, split, most)
        if split is not None:
            raise UserError(f"suite {self.name} has the split '{spec.split}'", hint="leave out --split")
        if given is not None and self._listed is None:
            raise UserError(
                f"suite {self.name} has images of its own", hint="leave out --data, or take --suite own"
            )
        named = spec.model_dump(exclude={"split", "limit"}, exclude_unset=True)
        data = as_image_data(named if given is None else given, spec.split, most)
        self._check_listed(data)
        return data

    @cached_property
    def images(self) -> pd.DataFrame:
        """``sample, label, generator, sha256`` of each image, hashes cut to :data:`HASH_DIGITS`, sorted by sample."""
        return images_of(self._images)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the images, as runs have it."""
        return fingerprint(self._images)

    @cached_property
    def _images(self) -> list[list[object]]:
        return identities(self.data()) if self._listed is None else self._listed

    @cached_property
    def _listed(self) -> list[list[object]] | None:
        """The images of a suite that are not part of the package, from the list beside its scenario."""
        file = self.file.with_suffix(".csv")
        if not file.is_file():
            return None
        frame = unguarded_frame(pd.read_csv(file, dtype={"sample": str, "generator": str, "sha256": str}))
        return [list(row) for row in frame[list(IMAGE_COLUMNS)].itertuples(index=False)]

    def _check_listed(self, data: ImageData) -> None:
        if self._listed is None:
            return
        known = {str(row[0]): row for row in self._listed}
        foreign = [row for row in identities(data) if known.get(str(row[0])) != row]
        if foreign:
            raise UserError(
                f"{counted(len(foreign), 'image')} of '{data.name}' not among those of {self.name}, such as {foreign[0][0]}",
                hint=f"take a copy of {self.scenario.data.source}",
            )

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


def images_of(identities: Sequence[Sequence[object]]) -> pd.DataFrame:
    """Return id, label, generator and hash of images as a frame, hashes cut to :data:`HASH_DIGITS`, sorted by id."""
    frame = pd.DataFrame(identities, columns=list(IMAGE_COLUMNS))
    frame["sha256"] = frame["sha256"].str[:HASH_DIGITS]
    return frame.sort_values("sample", ignore_index=True)


def identities(data: ImageData) -> list[list[object]]:
    """Return id, label, generator and sha256 of each selected image."""
    return [image for shard in make_shards(data.selection) for image in shard.identity()]


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


def suite_files() -> dict[str, Path]:
    """Return the scenario of every version of every suite, by its name with the version: ``standard_v1``."""
    folder = Path(__file__).parent
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def newest_suite(name: str) -> Suite:
    """Return a suite by its name with the version, or the newest version of a name without one.

    Raises
    ------
    UserError
        If there is no such suite.
    """
    newest: dict[str, str] = {}
    for each in sorted(suite_files(), key=lambda each: int(each.rpartition("_v")[2])):
        newest[each.rpartition("_v")[0]] = each
    found = newest.get(name, name) if isinstance(name, str) else ""
    if found not in suite_files():
        raise UserError(f"unknown suite {name!r}", hint=did_you_mean(str(name), newest))
    return suite_of(found)


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
