"""Cards made of runs: what is incomplete is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import JsonValue

from robustbench_aigen.detectors.card import read_card
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.published import PUBLISHED
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.errors import UserError
from robustbench_aigen.leaderboard.card import Card, write_entry
from robustbench_aigen.leaderboard.verdicts import verdicts_of
from robustbench_aigen.runs.folder import RECORDS
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.detector_spec import DetectorSpec, is_address, library_prefix
from robustbench_aigen.suites.suite import Suite, suite_files, suite_of
from robustbench_aigen.text import counted

_FIXED = {"objective": "both", "mode": "accuracy", "share_sweeps": True}
"""Settings of every benchmark."""
_PACKAGE_LICENCE = "MIT"


@dataclass(frozen=True)
class Disclosed:
    """What a submitter says of a detector; None where the card beside the weights says it, or the zoo.

    Parameters
    ----------
    data
        Name of the training data.
    generators
        Generators of the training fakes.
    hyperparameters
        Hyper-parameters of the training, by name.
    licence
        Licence of the weights.
    link
        Address of further evidence: a paper, a log, the run folder.
    """

    data: str | None = None
    generators: Sequence[str] = ()
    hyperparameters: Mapping[str, JsonValue] | None = None
    licence: str | None = None
    link: str | None = None


def submit(
    run: Run,
    folder: str | Path = "results/leaderboard",
    disclosed: Disclosed | None = None,
    *,
    trust_code: bool = False,
) -> Path:
    """Write the card of a benchmark run into a folder, and return its file.

    Parameters
    ----------
    run
        A run of ``robust-aigen benchmark``, in its folder.
    folder
        The folder of cards.
    disclosed
        What neither the run nor the card beside the weights says.
    trust_code
        Allow detectors' files that can run code when they are loaded.

    Raises
    ------
    UserError
        If the run is not a whole run of a suite, the detector cannot be loaded from its declaration, or a disclosure
        is missing.
    """
    suite = _suite(run)
    spec = _spec(run)
    if is_address(library_prefix(spec.id or "")):
        raise UserError(
            f"the service '{spec.text}' shows no weights, and a card needs their hash",
            hint="submit a detector whose weights can be loaded",
        )
    detector = load_detector(spec, device="cpu", trust_code=trust_code)
    (info,) = run.info.detectors
    if detector.weights_sha256 != info.weights_sha256:
        raise UserError(
            f"the weights of '{spec.text}' have changed since the run", hint="run the benchmark again"
        )
    rule = run.info.scenario.threshold if isinstance(run.info.scenario.threshold, str) else None
    if rule is None and info.threshold != detector.threshold.score:
        raise UserError(
            f"the threshold {info.threshold:g} is neither the detector's own nor fitted by a rule",
            hint="robust-aigen benchmark DETECTOR --threshold youden fits it on the validation split",
        )
    own = disclosed or Disclosed()
    known = _known(spec)
    training = {
        "data": own.data or known.data,
        "generators": list(own.generators or known.generators),
        "hyperparameters": dict(own.hyperparameters or known.hyperparameters or {}),
    }
    licence = own.licence or known.licence
    _check_disclosed(training, licence)
    log_odds = info.threshold_log_odds
    verdicts = verdicts_of(run)
    content = {
        "format": 1,
        "detector": {
            "name": info.name,
            "spec": _portable(spec),
            "architecture": info.architecture,
            "weights_sha256": info.weights_sha256,
            "preprocessing": info.seen,
            "parameters": parameters_of(detector),
        },
        "training": training,
        "licence": licence,
        "suite": {
            "name": suite.name,
            "sha256": suite.sha256,
            "fingerprint": run.info.data.fingerprint,
            "data": _own_images(run) if suite.takes_own_images else None,
        },
        "threshold": {
            "score": info.threshold,
            "log_odds": detector.threshold.log_odds if log_odds is None else log_odds,
            "rule": rule,
        },
        "run": {
            "run_id": run.info.run_id,
            "started": run.info.started,
            "precision": run.info.precision,
            "device": run.info.hardware.device_name,
            "revision": run.info.git_revision,
            "packages": run.info.packages,
            "records_sha256": run.digests[RECORDS],
            "link": own.link,
        },
        "flags": [
            {"flag": each.flag, "pipeline": each.pipeline, "evidence": each.evidence}
            for each in run.info.trust.flags
        ],
        "results": verdicts.numbers(suite),
    }
    return write_entry(Path(folder), validated_values(Card, content, "a card"), verdicts)


def read_hyperparameters(text: str) -> dict[str, JsonValue]:
    """Read hyper-parameters in braces, as YAML: ``{epochs: 10, optimizer: adamw}``.

    Raises
    ------
    UserError
        If the text is not a mapping.
    """
    hint = "write '{epochs: 10, optimizer: adamw}', with a space after each colon"
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError("--hyperparameters is not valid YAML", hint=hint) from error
    if not isinstance(content, dict) or not content or any(value is None for value in content.values()):
        raise UserError("--hyperparameters is not a mapping of names to values", hint=hint)
    return cast(dict[str, JsonValue], json.loads(json.dumps(content, default=str)))


def parameters_of(detector: Detector) -> int | None:
    """Return the number of parameters of a detector, of an ensemble those of all members; None without any."""
    members = detector.members if isinstance(detector, Ensemble) else [detector]
    count = sum(
        each.numel() for member in members for network in member.networks() for each in network.parameters()
    )
    return count or None


def _suite(run: Run) -> Suite:
    """Return the suite of a run after checking that the run is a whole run of it."""
    info, again = run.info, "robust-aigen benchmark DETECTOR makes such a run"
    if run.folder is None or RECORDS not in run.digests or not run.has_records:
        raise UserError(f"the run '{run.place}' has no folder with records", hint=again)
    name = info.scenario.name
    if name not in suite_files():
        raise UserError(f"the run '{run.place}' is '{name}', which is not a whole run of a suite", hint=again)
    suite = suite_of(name)
    if len(run.detectors) != 1:
        raise UserError(f"the run '{run.place}' has {len(run.detectors)} detectors, not one", hint=again)
    differing = [key for key, value in _FIXED.items() if getattr(info.scenario, key) != value]
    differing += ["seed"] if info.seed != suite.scenario.seed else []
    differing += ["pipelines"] if list(info.pipelines) != list(suite.pipelines.values()) else []
    differing += ["trust"] if info.scenario.trust == "off" else []
    if differing:
        raise UserError(f"the run '{run.place}' differs from {name} in {', '.join(differing)}", hint=again)
    if suite.takes_own_images:
        _check_own_images(run, suite)
    elif info.data.fingerprint != suite.fingerprint or info.data.unreadable:
        raise UserError(f"the images of the run '{run.place}' are not those of {name}", hint=again)
    return suite


def _own_images(run: Run) -> dict[str, str]:
    return {"name": run.info.data.source, "split": run.info.data.split}


def _check_own_images(run: Run, suite: Suite) -> None:
    """Refuse images that another machine could not select again."""
    unreadable = run.info.data.unreadable
    if unreadable:
        raise UserError(
            f"{counted(len(unreadable), 'image')} of the run '{run.place}' could not be read",
            hint=f"remove them from the images, and run robust-aigen benchmark --suite {suite.name} again",
        )


def _spec(run: Run) -> DetectorSpec:
    declared = run.info.scenario.detectors
    first = declared[0] if isinstance(declared, list) and len(declared) == 1 else None
    if not isinstance(first, dict) or "memory" in first:
        raise UserError(
            f"the detector of the run '{run.place}' was in memory, and a card could not load it",
            hint="save it, and benchmark the file: robust-aigen benchmark FILE --arch NAME",
        )
    return validated_values(DetectorSpec, first, "a detector")


def _portable(spec: DetectorSpec) -> dict[str, JsonValue]:
    """Return the keys of a detector without folders of this machine: a file is expected beside the card."""
    changes: dict[str, object] = {}
    if spec.path is not None:
        changes["path"] = Path(spec.path).name
    prefix = library_prefix(spec.id or "")
    if prefix and not is_address(prefix):
        place = str(spec.id).removeprefix(prefix)
        changes["id"] = f"{prefix}{Path(place).name if Path(place).is_absolute() else place}"
    portable = spec.model_copy(update=changes)
    return cast(dict[str, JsonValue], portable.model_dump(mode="json", exclude_unset=True, exclude_none=True))


def _known(spec: DetectorSpec) -> Disclosed:
    """Return what the package, or the card beside the weights, says of a detector."""
    shipped = shipped_detectors().get(spec.id or "")
    published = PUBLISHED.get(spec.id or "")
    if published is not None:
        return Disclosed(licence=", ".join(dict.fromkeys(file.licence for file in published.files)))
    weights = shipped or (None if spec.path is None else Path(spec.path))
    said = {} if weights is None else read_card(weights).model_extra or {}
    # A fine-tuned detector's card has the settings of the fine-tuning.
    generators, training = said.get("generators"), said.get("training", said.get("finetuned"))
    return Disclosed(
        data=_text(said.get("data")),
        generators=[str(each) for each in generators] if isinstance(generators, list) else (),
        hyperparameters=training if isinstance(training, dict) else None,
        licence=_PACKAGE_LICENCE if shipped else _text(said.get("licence")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _check_disclosed(training: Mapping[str, object], licence: str | None) -> None:
    """Refuse a card without a disclosure, and name the options of all that are missing."""
    given = {
        "--data NAME": training["data"],
        "--generator NAME": training["generators"],
        "--hyperparameters '{epochs: 10}'": training["hyperparameters"],
        "--licence NAME": licence,
    }
    missing = [option for option, value in given.items() if not value]
    if missing:
        words = {"--data": "training data", "--generator": "training generators", "--licence": "licence"}
        names = [words.get(option.partition(" ")[0], "hyper-parameters") for option in missing]
        raise UserError(f"the card lacks {', '.join(names)}", hint=f"add {' '.join(missing)}")
