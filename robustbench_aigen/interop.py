"""Detectors for other libraries, and their attacks for ours. Each library is imported when it is first needed."""

from typing import Any

from torch import Tensor, nn

from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.imports import import_library
from robustbench_aigen.stages.parameters import Norm, Parameter, read_fraction
from robustbench_aigen.stages.recipe import AttackRecipe, Backends, LibraryCall
from robustbench_aigen.stages.stage import Attack


class _Deployed(nn.Module):
    """A detector with its threshold inside the logits, as other libraries take it: argmax is the verdict."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.deployed = DeployedDetector(detector, detector.threshold)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits (real, fake) for N×3×H×W pixels in [0, 1]."""
        logits: Tensor = self.deployed(pixels)
        return logits


def as_torchattacks(detector: Any) -> nn.Module:
    """Return a module that torchattacks attacks: ``torchattacks.PGD(as_torchattacks(detector), eps=4/255)``.

    Pixels in [0, 1] go in, two logits (real, fake) come out, whose argmax is the verdict at the detector's threshold.
    """
    return _Deployed(load_detector(detector, device="auto"))


def as_art(detector: Any, input_shape: tuple[int, int, int] | None = None) -> Any:
    """Return a ``PyTorchClassifier`` of the Adversarial Robustness Toolbox.

    Parameters
    ----------
    detector
        A ``Detector``, an ``nn.Module``, an id, or a file.
    input_shape
        3×H×W of the images that will be attacked; by default the detector's input size.
    """
    loaded = load_detector(detector, device="auto")
    size = loaded.preprocessing.input_size
    if input_shape is None and size is None:
        raise UserError("the detector takes any size, and ART needs one", hint="input_shape=(3, 224, 224)")
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=_Deployed(loaded),
        loss=nn.CrossEntropyLoss(),
        input_shape=input_shape or (3, *(size or (0, 0))),
        nb_classes=2,
        clip_values=(0.0, 1.0),
        device_type="cpu" if loaded.device.type == "cpu" else "gpu",
    )


def as_foolbox(detector: Any) -> Any:
    """Return a ``PyTorchModel`` of foolbox with bounds (0, 1)."""
    foolbox = import_library("foolbox", extra="bench", what="as_foolbox")
    loaded = load_detector(detector, device="auto")
    return foolbox.PyTorchModel(_Deployed(loaded).eval(), bounds=(0, 1), device=loaded.device)


def from_torchattacks(
    attack: type | str, *, norm: Norm = "linf", eps: float | str, **arguments: Any
) -> Attack:
    """Return an attack of torchattacks, verified as all attacks are.

    Parameters
    ----------
    attack
        A class of torchattacks or its name: ``from_torchattacks(torchattacks.Jitter, eps=4/255, steps=10)``.
    norm, eps
        The budget that is checked.
    arguments
        Of its constructor, beside the detector; ``eps`` is given where it takes one.
    """
    return _from_library("torchattacks", attack, norm, eps, arguments)


def from_art(attack: type | str, *, norm: Norm = "linf", eps: float | str, **arguments: Any) -> Attack:
    """Return an evasion attack of ART, verified as all attacks are; the parameters are those of :func:`from_torchattacks`."""
    return _from_library("art", attack, norm, eps, arguments)


def _from_library(
    library: str, attack: type | str, norm: Norm, eps: float | str, arguments: dict[str, Any]
) -> Attack:
    from inspect import signature

    from robustbench_aigen.attacks.libraries import library_class, library_module

    name = attack if isinstance(attack, str) else attack.__name__
    budget = read_fraction(eps)
    if budget is None or budget <= 0:
        raise UserError(f"eps must be a length in pixel units, not {eps!r}", hint="eps=4/255")
    made = library_class(library_module(library), LibraryCall.model_validate({"class": name}))
    taken = signature(made.__init__).parameters
    unknown = [key for key in arguments if key not in taken and "kwargs" not in taken]
    if unknown:
        raise UserError(f"{name} takes no '{unknown[0]}'", hint=did_you_mean(unknown[0], [*taken][1:]))
    given = {**({"eps": "$eps"} if "eps" in taken else {}), **arguments}
    call = LibraryCall.model_validate({"class": name, "args": given})
    backends = Backends.model_validate({library: {norm: call}})
    recipe = AttackRecipe(
        kind="attack", name=name.lower(), summary=f"{name} of {library}", norms=(norm,),
        params={"eps": Parameter(kind="pixels", default=budget)}, backends=backends,
    )  # fmt: skip
    return Attack(recipe, {"eps": budget})
