"""What can be wrong with a fine-tuning before it starts: its detector, its images, its scenario."""

import torch

from robustbench_aigen.data.samples import ImageSource
from robustbench_aigen.data.selection import open_source, select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.schema import LoadedScenario, load_scenario
from robustbench_aigen.training.adversarial.file import LoadedFineTuning


def trainable_detector(loaded: LoadedFineTuning, device: torch.device) -> Detector:
    """Load the detector, in evaluation mode, its weights free.

    Raises
    ------
    UserError
        If it cannot be loaded, has no weights, takes images of any size, or lets no gradient through to the pixels.
    """
    try:
        detector = load_detector(loaded.tuning.detector, folder=loaded.folder, device=device)
        _require_training(detector, device)
    except UserError as error:
        raise loaded.located(error, ("detector",)) from error
    for parameter in detector.network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return detector


def _require_training(detector: Detector, device: torch.device) -> None:
    if not any(parameter.is_floating_point() for parameter in detector.network.parameters()):
        raise UserError(f"'{detector.name}' has no weights that could be trained")
    size = input_size_of(detector)
    pixels = torch.full((2, 3, *size), 0.5, device=device).requires_grad_()
    value = detector(pixels).sum()
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, pixels, allow_unused=True)
    if gradient is None:
        raise UserError(f"'{detector.name}' lets no gradient through to the pixels: it cannot be fine-tuned")


def input_size_of(detector: Detector) -> tuple[int, int]:
    """Return the height and width that images are brought to.

    Raises
    ------
    UserError
        If the detector takes any.
    """
    size = detector.preprocessing.input_size
    if size is None:
        raise UserError(
            f"'{detector.name}' takes images of any size, and the batches of a training need one",
            hint="give it input_size: [height, width]",
        )
    return size


def opened_source(loaded: LoadedFineTuning) -> ImageSource:
    """Open the data of a fine-tuning."""
    try:
        return open_source(loaded.tuning.data.source, loaded.folder)
    except UserError as error:
        raise loaded.located(error, ("data", "source")) from error


def own_scenario(loaded: LoadedFineTuning) -> LoadedScenario | None:
    """Read the scenario that is to be run before and after, where the file names one."""
    name = loaded.tuning.report.scenario
    if name is None:
        return None
    try:
        return load_scenario(loaded.folder / name if (loaded.folder / name).is_file() else name)
    except UserError as error:
        raise loaded.located(error, ("report", "scenario")) from error


def check_finetuning(loaded: LoadedFineTuning) -> int:
    """Check all that can be checked without training, and return the number of training images.

    Raises
    ------
    UserError
        For whatever is wrong with the file, its detector, its data or its scenario.
    """
    trainable_detector(loaded, torch.device("cpu"))
    own_scenario(loaded)
    source = opened_source(loaded)
    try:
        return len(select(source, "train", loaded.tuning.data.limit).indices)
    except UserError as error:
        raise loaded.located(error, ("data", "source")) from error
