"""Checks before a fine-tuning: detector, images, scenario."""

from typing import TYPE_CHECKING

from robustbench_aigen.data.opening import not_looked_at, open_data
from robustbench_aigen.data.samples import ImageSource
from robustbench_aigen.detectors.checking import KnownDetector, check_detector
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.scenario import Scenario, load_scenario
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.splits import split_source

if TYPE_CHECKING:
    import torch

    from robustbench_aigen.detectors.contract import Detector


def trainable_detector(
    loaded: FineTuning, device: "torch.device | str", *, trust_code: bool = False
) -> "Detector":
    """Load the detector, in evaluation mode, its weights free.

    Raises
    ------
    UserError
        If it cannot be loaded, has no weights, takes images of any size, or lets no gradient through to the pixels.
    """
    from robustbench_aigen.detectors.loading import load_detector

    _require_single(loaded)
    spec = loaded.detector
    try:
        detector = load_detector(spec, folder=loaded.folder, device=device, trust_code=trust_code)
        _require_training(detector)
    except UserError as error:
        raise error.at(loaded.where("detector")) from error
    for parameter in detector.network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return detector


def _require_single(loaded: FineTuning) -> None:
    spec = loaded.detector
    if spec.wrap is not None or spec.ensemble is not None:
        text = "one detector is fine-tuned at a time, without a defence around it"
        hint = "leave 'wrap' out, or name a member of the ensemble; use 'wrap' and ensembles in a scenario afterwards"
        raise UserError(text, source=loaded.where("detector"), hint=hint)


def _require_training(detector: "Detector") -> None:
    if not any(parameter.is_floating_point() for parameter in detector.network.parameters()):
        raise UserError(f"'{detector.name}' has no weights that could be trained")
    input_size_of(detector)
    if detector.preprocessing.has_views:
        raise UserError(
            f"'{detector.name}' combines several views of an image, and training batches have one view an image",
            hint="fine-tune with crop: center, and evaluate with crop: five or crop: tiles afterwards",
        )
    if not detector.differentiable:
        raise UserError(f"'{detector.name}' has no gradient to the pixels, which fine-tuning needs")


def input_size_of(detector: "Detector") -> tuple[int, int]:
    """Return the height and width of training images.

    Raises
    ------
    UserError
        If the detector takes any.
    """
    size = detector.preprocessing.input_size
    if size is None:
        raise UserError(
            f"'{detector.name}' takes images of any size, and training batches need one size",
            hint="give it input_size: [height, width]",
        )
    return size


def opened_source(loaded: FineTuning) -> ImageSource:
    """Open the data of a fine-tuning, one source or several."""
    return open_data(loaded.data, loaded.folder)


def own_scenario(loaded: FineTuning) -> Scenario | None:
    """Read the scenario that is to be run before and after, where the file names one."""
    name = loaded.report.scenario
    if name is None:
        return None
    try:
        return load_scenario(loaded.folder / name if (loaded.folder / name).is_file() else name)
    except UserError as error:
        raise error.at(loaded.where("report", "scenario")) from error


def check_finetuning(loaded: FineTuning) -> tuple[int | None, str]:
    """Check all that can be checked without training or downloading.

    Returns
    -------
    tuple
        The number of training images, and an empty string; None and why, where they would have to be downloaded.

    Raises
    ------
    UserError
        If the file, its detector, its data or its scenario are wrong.
    """
    try:
        checked = check_detector(loaded.detector, folder=loaded.folder)
    except UserError as error:
        raise error.at(loaded.where("detector")) from error
    if isinstance(checked, KnownDetector):
        _require_single(loaded)
    elif not isinstance(checked, str):
        trainable_detector(loaded, "cpu")
    own_scenario(loaded)
    missing = not_looked_at(loaded.data)
    if missing:
        return None, missing
    source = opened_source(loaded)
    try:
        splits = split_source(source, loaded.data.validation, loaded.data.limit)
    except UserError as error:
        raise error.at(loaded.where("data")) from error
    return len(splits.train), ""
