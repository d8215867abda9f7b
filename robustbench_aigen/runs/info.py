"""What a ``run.json`` must hold to be one: checked when a run folder is opened, so that readers need not."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from robustbench_aigen.errors import UserError

FORMAT = 0
"""The newest format of run folders and baselines that this version reads; a file without ``format`` has format 0."""


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


class _RunInfo(BaseModel):
    """What readers of a run rely on; more may stand in the file."""

    run_id: str
    scenario: _ScenarioInfo
    command: str | None
    pipelines: dict[str, list[dict[str, Any]]]
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


def parse_info(text: str, place: object = "run.json") -> dict[str, Any]:
    """Return the content of a ``run.json`` as it stands there.

    Raises
    ------
    ValueError
        If it is not JSON, or what a reader relies on is missing or of another kind: with the key.
    UserError
        If it is of a newer format.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("run.json is not a mapping")  # noqa: TRY004  The one kind of error that callers expect.
    check_format(content, place)
    try:
        info = _RunInfo.model_validate(content, strict=False)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"run.json: {key}: {problem['msg'].lower()}") from None
    if not info.pipelines or not info.detectors:
        raise ValueError("run.json names no pipeline or no detector")
    if info.data.real + info.data.fake != info.data.images:
        raise ValueError("run.json: data.images is not the sum of real and fake ones")
    return content


def cells_of(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the detectors and pipelines of a run's cells, in the order of its records."""
    return [(detector["name"], pipeline) for detector in info["detectors"] for pipeline in info["pipelines"]]
