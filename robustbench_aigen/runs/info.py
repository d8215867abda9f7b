"""The content of a ``run.json``, checked and completed when a run folder is opened."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from robustbench_aigen.detectors.preprocessing_settings import with_later_settings
from robustbench_aigen.digests import DIGESTS, unsealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.migrations import FORMAT, upgrade
from robustbench_aigen.text import counted


class _InfoPart(BaseModel):
    """Immutable values; keys of later versions are kept when the file is written again."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def of(cls, content: Mapping[str, object]) -> Self:
        """Return the object for some plain values; the whole of ``run.json`` has to be in the present format.

        Raises
        ------
        ValueError
            If a required key is missing or has another type; the error names the key.
        """
        try:
            # The values as a file would return them: tuples become lists, keys become text.
            return cls.model_validate_json(json.dumps(content))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise ValueError(f"{key}: {problem['msg'].lower()}") from None

    def to_dict(self) -> dict[str, object]:
        """Return the values of this part in the file, without the keys that the file lacks."""
        return self.model_dump(exclude_unset=True)


class PluginInfo(_InfoPart):
    """A plugin file of a run, and the names that it adds by kind: ``{"metric": ["mcc"]}``."""

    file: str
    adds: dict[str, list[str]] = {}


class ScenarioInfo(_InfoPart):
    """The settings of a run, as its scenario has them."""

    name: str = ""
    summary: str = ""
    threshold: float | str | None = None
    objective: str = "both"
    mode: str = "accuracy"
    share_sweeps: bool | None = None
    ssim: str | None = None
    unsure: float | None = None
    seed: int = 0
    batch_size: int | None = None
    precision: str = "auto"
    trust: str = ""
    gate: dict[str, JsonValue] | None = None
    version: int | None = None
    data: JsonValue = None
    detectors: JsonValue = None
    pipelines: JsonValue = None
    protocol: dict[str, JsonValue] | None = None


class UnreadableInfo(_InfoPart):
    """An image that could not be read, and why."""

    sample: str
    reason: str = ""


class ExportedCellInfo(_InfoPart):
    """A cell of an exported set that a run evaluates: the folder of its images, the attacked detector, the pipeline."""

    folder: str
    detector: str
    weights_sha256: str = ""
    pipeline: str


class DataInfo(_InfoPart):
    """The images of a run."""

    source: str = ""
    layout: str | None = None
    split: str = ""
    images: PositiveInt
    real: NonNegativeInt
    fake: NonNegativeInt
    generators: tuple[str, ...] = ()
    fingerprint: str = ""
    unreadable: tuple[UnreadableInfo, ...] = ()
    exported: tuple[ExportedCellInfo, ...] = ()

    @property
    def title(self) -> str:
        """``96 images of minigen (test)``, for headings."""
        return f"{counted(self.images, 'image')} of {self.source} ({self.split})"


class MemberInfo(_InfoPart):
    """A detector, or a member of an ensemble, as it was loaded."""

    name: str
    architecture: str = ""
    weights_sha256: str = ""
    preprocessing: dict[str, JsonValue] | None = None
    members: tuple["MemberInfo", ...] = ()

    @property
    def seen(self) -> list[JsonValue]:
        """How the networks see an image: the preprocessing, and that of the members of an ensemble.

        Settings that the version of the run did not have are at their defaults.
        """
        return [with_later_settings(self.preprocessing), *(member.seen for member in self.members)]

    def networks(self) -> Iterator["MemberInfo"]:
        """Yield the detector, or the members of an ensemble at any depth."""
        if not self.members:
            yield self
        for member in self.members:
            yield from member.networks()


class BandInfo(_InfoPart):
    """The unsure band of a detector (:class:`robustbench_aigen.metrics.conformal.UnsureBand`)."""

    level: float
    fake: float
    real: float
    fakes: int
    reals: int


class DetectorInfo(MemberInfo):
    """A detector of a run."""

    threshold: float
    threshold_log_odds: float | None = None
    input_size: JsonValue = None
    differentiable: bool | None = None
    unsure: BandInfo | None = None


class ModelInfo(_InfoPart):
    """A model that a perturbation computes with, as its stage names it, and the hash of its settings and weights."""

    model: str
    sha256: str


class FlagInfo(_InfoPart):
    """A trust flag that was raised in a cell."""

    flag: str
    detector: str
    pipeline: str
    evidence: str = ""


class UncheckedInfo(_InfoPart):
    """A part that the trust checks skipped, and the reason."""

    detector: str
    pipelines: tuple[str, ...]
    flags: tuple[str, ...]
    reason: str = ""


class TrustInfo(_InfoPart):
    """The flags, measurements and skipped parts of trust checks; ``checks`` are the meanings of plugins' flags."""

    flags: tuple[FlagInfo, ...] = ()
    mode: str = ""
    probes: tuple[dict[str, JsonValue], ...] = ()
    unchecked: tuple[UncheckedInfo, ...] = ()
    checks: dict[str, str] = {}


class HardwareInfo(_InfoPart):
    """The machine of a run; ``threads`` are those of torch, ``image_threads`` those that decode and perturb images."""

    platform: str = ""
    processors: int | None = None
    threads: int | None = None
    image_threads: int | None = None
    device: str = ""
    device_name: str = ""


class SsimInfo(_InfoPart):
    """The number of changed images, and the number on which SSIM was measured."""

    measured: int
    images: int


class NoticeInfo(_InfoPart):
    """A line that the run printed for the user."""

    level: str = "information"
    subject: str = ""
    text: str


class AuditInfo(_InfoPart):
    """The audit's result: whether the storage of the images separates real from fake."""

    call: str = ""
    images: int = 0
    sentence: str = ""
    accuracy: dict[str, float] | None = None


class TimingInfo(_InfoPart):
    """The duration of a cell or of another step; ``detector`` and ``pipeline`` are empty for the whole run."""

    step: str = "cell"
    detector: str = ""
    pipeline: str = ""
    seconds: float = 0.0
    shards_computed: int = 0
    shards_cached: int = 0
    batch_size: int | None = None


class ScoresInfo(_InfoPart):
    """The table that an imported run was made from.

    ``columns`` are the columns by their meanings, ``unused`` those that were not read, ``labels`` the class of each
    label, ``fitted_on`` the number of rows on which a threshold was fitted.
    """

    file: str | None = None
    sha256: str = ""
    rows: int = 0
    columns: dict[str, JsonValue] = {}
    unused: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    logit: bool = False
    fake_is: str = "high"
    fitted_on: int | None = None

    @property
    def has_generators(self) -> bool:
        """Whether the table has a column of generators."""
        return "generator" in self.columns


class SweptInfo(_InfoPart):
    """One value of a sweep, and its place in the stages, ``(0, "eps")``."""

    path: tuple[int | str, ...]
    value: JsonValue


_KINDS = ("attack", "condition")


class PipelineInfo(_InfoPart):
    """A pipeline of a run.

    Parameters
    ----------
    name
        Unique in the run.
    family
        The name that the pipelines of one sweep share.
    swept
        The values of this member of a sweep.
    smaller
        The name of the pipeline at the next smaller eps whose work this pipeline shared, or None.
    stages
        The stages that change an image, each with name and parameters.
    """

    name: str
    family: str
    swept: tuple[SweptInfo, ...] = ()
    smaller: str | None = None
    stages: tuple[dict[str, JsonValue], ...]

    @property
    def kinds(self) -> list[str]:
        """``attack`` or ``perturb`` of each stage; ``condition`` where imported scores only have a name for it."""
        return [next((kind for kind in _KINDS if kind in stage), "perturb") for stage in self.stages]


class RunOutline(NamedTuple):
    """The outline of a run that a gate block is checked against: mode, pipelines, names of detectors and generators."""

    mode: str
    pipelines: Mapping[str, PipelineInfo]
    detectors: Sequence[str]
    generators: Sequence[str]

    @property
    def families(self) -> dict[str, str]:
        """The family of each pipeline by its name."""
        return {name: pipeline.family for name, pipeline in self.pipelines.items()}


def _instant(text: str) -> str:
    if text:
        datetime.fromisoformat(text)
    return text


class RunInfo(_InfoPart):
    """The facts about a run besides its numbers: the content of ``run.json``, in the present format."""

    run_id: str = ""
    format: int = FORMAT
    scenario: ScenarioInfo = ScenarioInfo()
    command: str | None = None
    pipelines: tuple[PipelineInfo, ...] = Field(min_length=1)
    seed: int = 0
    started: Annotated[str, AfterValidator(_instant)] = ""
    data: DataInfo
    detectors: tuple[DetectorInfo, ...] = Field(min_length=1)
    models: tuple[ModelInfo, ...] = ()
    precision: str = ""
    packages: dict[str, str | None] = {}
    git_revision: str | None = None
    hardware: HardwareInfo = HardwareInfo()
    metrics: tuple[str, ...] = ()
    plugins: tuple[PluginInfo, ...] = ()
    ssim: SsimInfo | None = None
    notices: tuple[NoticeInfo, ...] = ()
    audit: AuditInfo = AuditInfo()
    trust: TrustInfo = TrustInfo()
    seconds: float = 0.0
    timings: tuple[TimingInfo, ...] = ()
    scores: ScoresInfo | None = None
    """The table of an imported run; None for a run of detectors on images."""

    def replace(self, **changes: object) -> "RunInfo":
        """Return the info with some values replaced: plain values, or parts."""
        plain = {key: _plain(value) for key, value in changes.items()}
        return RunInfo.of({**self.to_dict(), **plain})

    @property
    def by_pipeline(self) -> dict[str, PipelineInfo]:
        """The pipelines by their names, in the order of the records."""
        return {pipeline.name: pipeline for pipeline in self.pipelines}

    @property
    def detector_names(self) -> list[str]:
        """The names of the detectors, in the order of the records."""
        return [detector.name for detector in self.detectors]

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Detector and pipeline of each cell, in the order of the records."""
        return [(detector, pipeline) for detector in self.detector_names for pipeline in self.by_pipeline]

    @property
    def outline(self) -> RunOutline:
        """The outline that a gate block is checked against."""
        return RunOutline(
            self.scenario.mode, self.by_pipeline, self.detector_names, list(self.data.generators)
        )

    @property
    def scenario_file(self) -> str | None:
        """The scenario as the command of the run names it: a file, or the name of a shipped scenario; None without one."""
        try:
            words = shlex.split(self.command or "")
        except ValueError:  # Quotes that do not end: no version writes such a command.
            return None
        return words[2] if len(words) > 2 and words[1] == "run" and self.scores is None else None

    def flags_of(self, detector: str, pipeline: str) -> str:
        """Return a cell's trust flags separated by spaces, ``ok`` where it has none."""
        raised = {
            each.flag for each in self.trust.flags if (each.detector, each.pipeline) == (detector, pipeline)
        }
        return " ".join(sorted(raised)) or "ok"


def _plain(value: object) -> object:
    if isinstance(value, _InfoPart):
        return value.to_dict()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def check_format(content: Mapping[str, object], place: object, newest: int = FORMAT) -> None:
    """Refuse a run or baseline of a format that only a later version reads.

    Raises
    ------
    UserError
        If the format is newer than ``newest``.
    ValueError
        If ``format`` is not a whole number of at least 0.
    """
    number = content.get("format", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"format is {number!r}, not a whole number of at least 0")
    if number > newest:
        raise UserError(
            f"'{place}' has format {number}; this version reads formats up to {newest}",
            hint="pip install -U robustbench-aigen",
        )


class ReadInfo(NamedTuple):
    """Content of a ``run.json`` or ``baseline.json``.

    Parameters
    ----------
    info
        The content in the present format.
    digests
        Digests of the other files, by their names; empty if the file has none.
    written
        The format that the file is written in.
    """

    info: RunInfo
    digests: Mapping[str, str]
    written: int


def parse_info(
    text: str, folder: str | Path, name: str = "run.json", free: Sequence[tuple[str, ...]] = ()
) -> ReadInfo:
    """Read the text of a ``run.json`` or ``baseline.json`` of any format up to :data:`FORMAT`.

    Unknown keys are kept and ignored. Missing keys are computed from others, or empty. Pipelines, detectors with their
    thresholds, and the number of images are required.

    Parameters
    ----------
    text
        The text of the file.
    folder
        The folder of the file, for messages and for the run's name.
    name
        The name of the file, for messages.
    free
        Keys that its digest leaves out.

    Raises
    ------
    ValueError
        If the text is not JSON, or a required key is missing or has another type; the error names the key.
    DamagedFileError
        If the content differs from what was written.
    UserError
        If the file is of a newer format.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{name} is not a mapping")  # noqa: TRY004  The one kind of error that callers expect.
    check_format(content, folder)
    plain = {key: value for key, value in content.items() if key != DIGESTS}
    try:
        info = RunInfo.of(_completed(upgrade(plain), Path(folder)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if len(info.by_pipeline) < len(info.pipelines):
        raise ValueError(f"{name} names a pipeline twice")
    if info.data.real + info.data.fake != info.data.images:
        raise ValueError(f"{name}: data.images is not the sum of real and fake ones")
    _, digests = unsealed(content, name, free)  # The digest is of the file as it was written.
    return ReadInfo(info, digests, content.get("format", 0))


def _completed(content: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return the content with missing values computed from the others."""
    scenario, data = content.get("scenario", {}), content.get("data")
    completed = {"run_id": folder.name, **content}
    if isinstance(scenario, Mapping):
        completed["scenario"] = {"name": folder.parent.name, **scenario}
        completed.setdefault("seed", scenario.get("seed", 0))
    if isinstance(data, Mapping) and {"real", "fake"} <= data.keys():
        real, fake = data["real"], data["fake"]
        if isinstance(real, int) and isinstance(fake, int):
            completed["data"] = {"images": real + fake, **data}
    return completed
