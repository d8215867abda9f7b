"""The card of fine-tuned weights: loading and provenance."""

from pathlib import Path
from typing import Any

from robustbench_aigen.detectors.card import DetectorCard, read_card
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.scenario.detector_spec import DetectorSpec, PreprocessingSpec
from robustbench_aigen.training.adversarial.file import FineTuning


def card_of(loaded: FineTuning, detector: Detector, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the card of fine-tuned weights.

    Weights of a named architecture stand on their own. Those of anything else are filled into the detector that
    they were made from, which the card names as ``base``.
    """
    tuning, original = loaded, _card_before(loaded)
    arch = tuning.detector.arch or original.arch
    if arch is None:
        how: dict[str, Any] = {"base": placed(loaded).model_dump(mode="json", exclude_unset=True)}
    else:
        said = {name: getattr(detector.preprocessing, name) for name in PreprocessingSpec.model_fields}
        options = {**(original.arch_options or {}), **(tuning.detector.arch_options or {})}
        how = {"arch": arch, "arch_options": options, **said}
    kept = ("epoch_kept", "epochs_run", "before", "kept", "collapse", "seconds", "precision", "train_images")
    return {
        "id": tuning.name,
        **how,
        "generators": (original.model_extra or {}).get("generators", []),
        "finetuned": {
            "from": {"detector": detector.name, "sha256": detector.weights_sha256},
            **tuning.model_dump(mode="json", exclude={"detector", "report"}),
            **{name: metrics[name] for name in kept},
        },
    }


def placed(loaded: FineTuning) -> DetectorSpec:
    """Return the detector section of the file with absolute paths."""
    spec = loaded.detector
    if spec.path is not None:
        return spec.model_copy(update={"path": str((loaded.folder / spec.path).expanduser().resolve())})
    return spec.model_copy(update={"id": DetectorSpec.from_text(str(spec.id), None, loaded.folder).id})


def _card_before(loaded: FineTuning) -> DetectorCard:
    spec = loaded.detector
    file = shipped_detectors().get(spec.id or "")
    if file is None and spec.path is not None:
        file = (loaded.folder / spec.path).expanduser()
    return DetectorCard() if file is None or not Path(file).is_file() else read_card(file)
