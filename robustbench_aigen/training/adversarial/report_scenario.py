"""The scenario of the report before and after: the user's scenario, or the built-in scenario at a depth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from robustbench_aigen.data.opening import BUILT_IN
from robustbench_aigen.documents.located_yaml import LocatedYaml
from robustbench_aigen.files import write_atomically
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.scenario.scenario import Scenario, load_scenario
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.training.adversarial.card import placed
from robustbench_aigen.training.adversarial.checking import own_scenario
from robustbench_aigen.training.adversarial.file import FineTuning

SCENARIO = "before_after.yaml"
_SQUARE = 1000
"""Largest number of queries of the separate Square attack, a comparison with the white-box attacks."""
_AUTO_STEPS = 50
_DEGRADATIONS = ("jpeg", "resize", "gaussian_blur", "gaussian_noise")


@dataclass(frozen=True)
class Depth:
    """Depth of the built-in scenario.

    Parameters
    ----------
    queries
        Most queries of Square, inside ``auto`` and alone; None for those of the file, 0 for neither.
    auto
        Steps of ``auto``; 0 leaves it out.
    pgd
        Steps of PGD.
    sweep
        Whether PGD runs at half and twice the eps as well.
    transfer
        Whether there is an attack crafted on the detector before.
    severities
        Severities of the degradations.
    trust
        Depth of the trust checks; ``off`` if only Square and the transfer serve as checks.
    """

    queries: int | None = None
    auto: int = _AUTO_STEPS
    pgd: int = 20
    sweep: bool = True
    transfer: bool = True
    severities: tuple[int, ...] = (1, 3, 5)
    trust: Literal["quick", "off"] = "quick"

    def reductions(self, queries: int) -> list[str]:
        """Return the reductions against the whole scenario, in which Square has ``queries`` queries."""
        whole, said = Depth(), []
        if self.auto == 0:
            said.append("without auto")
        if self.queries == 0:
            said.append("without Square")
        elif self.queries is not None and self.queries < queries:
            said.append(f"{self.queries} of {queries} queries of Square")
        if 0 < self.auto < whole.auto:
            said.append(f"{self.auto} of {whole.auto} steps of auto")
        if self.pgd < whole.pgd:
            said.append(f"{self.pgd} of {whole.pgd} steps of PGD")
        if not self.sweep:
            said.append("PGD at one eps")
        if not self.transfer:
            said.append("no transfer")
        if self.severities != whole.severities:
            said.append(f"degradations at severity {', '.join(map(str, self.severities))}")
        if self.trust == "off":
            said.append("no trust probes")
        return said


DEPTHS = (
    Depth(),
    Depth(queries=250),
    Depth(queries=100, auto=20),
    Depth(queries=100, auto=20, pgd=10, sweep=False, severities=(3,), trust="off"),
    Depth(queries=100, auto=0, pgd=10, sweep=False, severities=(3,), trust="off"),
    Depth(queries=0, auto=0, pgd=10, sweep=False, severities=(3,), trust="off"),
    Depth(queries=0, auto=0, pgd=10, sweep=False, transfer=False, severities=(3,), trust="off"),
)
"""From the whole scenario down to PGD and four degradations, each about half as much work as the one before."""


@dataclass(frozen=True)
class Extent:
    """Number of images and depth of a report; ``images`` is None for the images of the scenario."""

    images: int | None
    depth: Depth = field(default_factory=Depth)


def write_scenario(loaded: FineTuning, folder: Path, extent: Extent) -> Scenario:
    """Return the scenario on both detectors; the built-in one is written beside the weights, so that ``run`` takes it.

    In a scenario of the user, the detectors and the number of images are replaced.
    """
    tuning = loaded
    weights = folder / f"{tuning.name}.safetensors"
    detectors = [_before(loaded), {"path": str(weights.resolve()), "name": tuning.name}]
    own = own_scenario(loaded)
    if own is not None:
        return _limited(own, extent.images).replace(name=f"{tuning.name}_before_after", detectors=detectors)
    file = folder / SCENARIO
    content = yaml.safe_dump(_built_in(loaded, extent, detectors), sort_keys=False, allow_unicode=True)
    write_atomically(file, content.encode())
    return load_scenario(file)


def scenario_before(loaded: FineTuning, depth: Depth) -> Scenario:
    """Return the scenario on the original detector alone, on all images, for an estimate before the training."""
    detectors = [_before(loaded)]
    own = own_scenario(loaded)
    if own is not None:
        return own.replace(detectors=detectors)
    content = _built_in(loaded, Extent(None, depth), detectors)
    located = LocatedYaml(Path(SCENARIO).absolute(), content)
    return Scenario.from_document(located)


def _limited(own: Scenario, images: int | None) -> Scenario:
    if images is None:
        return own
    return own.replace(data=own.data.model_copy(update={"limit": images}))


def _built_in(loaded: FineTuning, extent: Extent, detectors: list[dict[str, Any]]) -> dict[str, Any]:
    tuning, before = loaded, detectors[0]
    limit = {} if extent.images is None else {"limit": extent.images}
    surrogate = {key: value for key, value in before.items() if key != "name"}
    return {
        "version": 1,
        "name": f"{tuning.name}_before_after",
        "summary": f"{before['name']} before and after {tuning.name}.",
        "data": {**_data(loaded), "split": "test", **limit},
        "detectors": detectors,
        "pipelines": _pipelines(tuning, surrogate, extent.depth),
        "seed": tuning.seed,
        "precision": tuning.precision,
        "trust": extent.depth.trust,
    }


def _pipelines(tuning: FineTuning, before: dict[str, Any], depth: Depth) -> dict[str, Any]:
    norm, eps = tuning.threat.norm, tuning.threat.eps
    queries = tuning.report.queries if depth.queries is None else min(tuning.report.queries, depth.queries)
    budget = {"norm": norm, "eps": write_pixels(eps)}
    # Half an L∞ budget in whole levels: what is between two would be rounded down.
    half = max(1, int(eps * LEVELS / 2)) / LEVELS if norm == "linf" else eps / 2
    swept = sorted({min(half, eps), eps, 2 * eps}) if depth.sweep else [eps]
    steps = {} if depth.auto == _AUTO_STEPS else {"steps": depth.auto}
    pipelines: dict[str, Any] = {
        "pgd": [{"attack": "pgd", "norm": norm, "eps": [write_pixels(e) for e in swept], "steps": depth.pgd}]
    }
    if depth.auto:
        pipelines["auto"] = [{"attack": "auto", **budget, **steps, "queries": queries}]
    if queries:
        # For the comparison alone: `auto` has its own, with every query.
        pipelines["square"] = [{"attack": "square", **budget, "steps": min(queries, _SQUARE)}]
    if depth.transfer:
        pipelines["transfer"] = [{"attack": "transfer", **budget, "surrogate": before}]
    severities = [*depth.severities]
    return pipelines | {name: [{"perturb": name, "severity": severities}] for name in _DEGRADATIONS}


def _before(loaded: FineTuning) -> dict[str, Any]:
    spec = placed(loaded)
    name = spec.name or (Path(str(spec.path)).stem if spec.path is not None else str(spec.id))
    said = spec.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return {**said, "name": f"{name} (before)" if name == loaded.name else name}


def _data(loaded: FineTuning) -> dict[str, Any]:
    """Return the data section of the file with absolute paths."""
    data = loaded.data
    said = data.model_dump(
        mode="json", exclude_none=True, exclude_unset=True, exclude={"validation", "limit"}
    )
    if data.source is not None:
        said["source"] = _placed(data.source, loaded.folder)
    for part in said.get("sources", []):
        part["source"] = _placed(part["source"], loaded.folder)
    return said


def _placed(source: str, folder: Path) -> str:
    local = (folder / source).expanduser()
    return str(local.resolve()) if source not in BUILT_IN and local.exists() else source
