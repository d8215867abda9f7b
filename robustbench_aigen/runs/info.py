"""What a ``run.json`` must hold to be one: checked when a run folder is opened, so that readers need not."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from robustbench_aigen.digests import unsealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.migrations import FORMAT, upgrade


class _ScenarioInfo(BaseModel):
    name: str
    summary: str
    objective: str
    mode: str
    seed: int


class _UnreadableInfo(BaseModel):
    sample: str
    reason: str


class _DataInfo(BaseModel):
    source: str
    split: str
    images: PositiveInt
    real: NonNegativeInt
    fake: NonNegativeInt
    generators: list[str]
    fingerprint: str
    unreadable: list[_UnreadableInfo]


class _DetectorInfo(BaseModel):
    name: str
    architecture: str
    weights_sha256: str
    threshold: float


class _FlagInfo(BaseModel):
    flag: str
    detector: str
    pipeline: str
    evidence: str


class _UncheckedInfo(BaseModel):
    detector: str
    pipelines: list[str]
    flags: list[str]
    reason: str


class _TrustInfo(BaseModel):
    flags: list[_FlagInfo]
    unchecked: list[_UncheckedInfo] = []


class _HardwareInfo(BaseModel):
    device: str


class _SweptInfo(BaseModel):
    path: list[int | str]
    value: Any


class _PipelineInfo(BaseModel):
    name: str
    family: str
    swept: list[_SweptInfo]
    smaller: str | None
    stages: list[dict[str, Any]]


class _RunInfo(BaseModel):
    """What readers of a run rely on; more may stand in the file."""

    run_id: str
    scenario: _ScenarioInfo
    command: str | None
    pipelines: list[_PipelineInfo]
    seed: int
    started: datetime
    seconds: float
    data: _DataInfo
    detectors: list[_DetectorInfo]
    precision: str
    packages: dict[str, str | None]
    git_revision: str | None
    hardware: _HardwareInfo
    trust: _TrustInfo


def check_format(content: Mapping[str, Any], place: object, newest: int = FORMAT) -> None:
    """Refuse a run or baseline of a format that only a later version reads.

    Raises
    ------
    UserError
        If the format is newer than ``newest``.
    ValueError
        If ``format`` is not a whole number of at least 0.
    """
    found = content.get("format", 0)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError(f"format is {found!r}, not a whole number of at least 0")
    if found > newest:
        raise UserError(
            f"'{place}' has format {found}; this version reads formats up to {newest}",
            hint="pip install -U robustbench-aigen",
        )


class ReadInfo(NamedTuple):
    """What a ``run.json`` or ``baseline.json`` holds.

    Parameters
    ----------
    info
        The content in the present format.
    digests
        Of the other files, by their names; empty where the file has none.
    written
        The format that the file is written in.
    """

    info: dict[str, Any]
    digests: dict[str, str]
    written: int


def parse_info(
    text: str, place: object, name: str = "run.json", free: Sequence[tuple[str, ...]] = ()
) -> ReadInfo:
    """Read the text of a ``run.json`` or ``baseline.json`` of any format up to :data:`FORMAT`.

    Parameters
    ----------
    text
        Of the file.
    place
        The folder, for messages.
    name
        Of the file, for messages.
    free
        Keys that its digest leaves out.

    Raises
    ------
    ValueError
        If it is not JSON, or what a reader relies on is missing or of another kind: with the key.
    DamagedFileError
        If its content is not as it was written.
    UserError
        If it is of a newer format.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("run.json is not a mapping")  # noqa: TRY004  The one kind of error that callers expect.
    check_format(content, place)
    try:
        info = _RunInfo.model_validate(upgrade(content), strict=False)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"run.json: {key}: {problem['msg'].lower()}") from None
    if not info.pipelines or not info.detectors:
        raise ValueError("run.json names no pipeline or no detector")
    if len({pipeline.name for pipeline in info.pipelines}) < len(info.pipelines):
        raise ValueError("run.json names a pipeline twice")
    if info.data.real + info.data.fake != info.data.images:
        raise ValueError("run.json: data.images is not the sum of real and fake ones")
    plain, digests = unsealed(content, name, free)  # The digest is of the file as it was written.
    return ReadInfo(upgrade(plain), digests, content.get("format", 0))


class PipelineInfo(NamedTuple):
    """A pipeline of a run, as ``run.json`` has it.

    Parameters
    ----------
    stages
        What was done to an image: name and parameters of each stage.
    family
        The name that the pipelines of one sweep share.
    swept
        The values of this member of a sweep, by where they stand in the stages: ``(0, "eps")``.
    smaller
        The name of the pipeline at the next smaller eps whose work this one shared, None where there is none.
    """

    stages: list[dict[str, Any]]
    family: str
    swept: dict[tuple[int | str, ...], Any]
    smaller: str | None

    @property
    def kinds(self) -> list[str]:
        """``attack`` or ``perturb`` of each stage."""
        return ["attack" if "attack" in stage else "perturb" for stage in self.stages]


def pipelines_of(info: Mapping[str, Any]) -> dict[str, PipelineInfo]:
    """Return the pipelines of a run by their names, in the order of its records."""
    return {
        pipeline["name"]: PipelineInfo(
            pipeline["stages"],
            pipeline["family"],
            {tuple(value["path"]): value["value"] for value in pipeline["swept"]},
            pipeline["smaller"],
        )
        for pipeline in info["pipelines"]
    }


def cells_of(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the detectors and pipelines of a run's cells, in the order of its records."""
    return [(detector["name"], pipeline) for detector in info["detectors"] for pipeline in pipelines_of(info)]
