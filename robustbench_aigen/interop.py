"""Detectors for other libraries, and their attacks for ours. Each library is imported when it is first needed."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, Self, cast, get_args

from torch import Tensor, nn

from robustbench_aigen.attacks.in_memory import FoolboxAttack, FunctionAttack, LibraryClass, queries_only
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.imports import import_library
from robustbench_aigen.stages.parameters import Norm, Parameter
from robustbench_aigen.stages.recipe import Access, Backends, LibraryCall, ObjectRecipe
from robustbench_aigen.stages.stage import Attack, Stage


class _Deployed(nn.Module):
    """A detector with its threshold inside the logits, for other libraries: argmax is the verdict.

    The module is always in evaluation mode. A module of the user is put into evaluation mode and frozen only during
    calls.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.deployed = DeployedDetector(detector, detector.threshold)
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: libraries switch modes without notice."""
        del mode
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Keep the gradient flags of the detector."""
        del requires_grad
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits (real, fake) for N×3×H×W pixels in [0, 1]."""
        with borrowed(self.deployed):
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
    from robustbench_aigen.attacks.libraries import library_module

    library_module("art")
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
    return foolbox.PyTorchModel(_Deployed(loaded), bounds=(0, 1), device=loaded.device)


def from_torchattacks(
    attack: type | str, *, norm: Norm = "linf", eps: float | str | Sequence[float | str], **arguments: Any
) -> Attack:
    """Return an attack of torchattacks, verified as all attacks are.

    Parameters
    ----------
    attack
        A class of torchattacks or its name: ``from_torchattacks(torchattacks.Jitter, eps=4/255, steps=10)``.
    norm, eps
        The budget that is verified; several values of eps are a sweep.
    arguments
        Arguments of the constructor besides the detector; ``eps`` is passed if the constructor takes it.
    """
    return _from_library("torchattacks", attack, norm, eps, arguments)


def from_art(
    attack: type | str, *, norm: Norm = "linf", eps: float | str | Sequence[float | str], **arguments: Any
) -> Attack:
    """Return an evasion attack of ART, verified as all attacks are; the parameters are those of :func:`from_torchattacks`."""
    return _from_library("art", attack, norm, eps, arguments)


def from_foolbox(attack: Any, *, eps: float | str | Sequence[float | str]) -> Attack:
    """Return an attack of foolbox, verified as all attacks are: ``from_foolbox(fb.attacks.LinfPGD(steps=10), eps=4/255)``.

    The norm follows from the attack's distance. An attack that looks for the smallest perturbation is limited to
    ``eps``. An attack that starts from an image with the wrong verdict gets such an image.

    Parameters
    ----------
    attack
        An object of ``foolbox.attacks``. Its class and attributes are its identity in a run.
    eps
        The budget that is verified, in pixel units; several values are a sweep.

    Raises
    ------
    UserError
        If the object is not an attack of foolbox, or its distance is not L∞, L2, L1 or L0.
    """
    foolbox = import_library("foolbox", extra="bench", what="from_foolbox")
    base = foolbox.attacks.base
    if isinstance(attack, type) and issubclass(attack, base.Attack):
        raise UserError(
            f"from_foolbox takes an attack, not the class {attack.__name__}",
            hint=f"from_foolbox({attack.__name__}(), eps=4/255)",
        )
    if not isinstance(attack, base.FixedEpsilonAttack | base.MinimizationAttack):
        raise UserError(
            f"{type(attack).__name__} is not an attack of foolbox with a distance",
            hint="from_foolbox(foolbox.attacks.LinfPGD(steps=10), eps=4/255)",
        )
    name = type(attack).__name__
    try:
        distance = str(attack.distance).partition(" ")[0].lower()
    except (AttributeError, ValueError):
        distance = "none"
    if distance not in ("linf", "l2", "l1", "l0"):
        raise UserError(
            f"foolbox's {name} has the distance {distance}, but budgets are in linf, l2, l1 or l0",
            hint=f"{name}(distance=foolbox.distances.linf) if the class takes a distance, or another attack",
        )
    asks = queries_only(attack)
    made = FoolboxAttack.of(attack)
    access: Access = "gradients" if not asks else "scores" if name == "GenAttack" else "decisions"
    summary, is_minimum = f"{name} of foolbox", not made.fills_budget
    return _in_memory(made, "foolbox", summary, cast(Norm, distance), eps, access, is_minimum)


def from_function(
    f: Callable[[nn.Module, Tensor, Tensor], Tensor],
    *,
    norm: Norm = "linf",
    eps: float | str | Sequence[float | str] | None = None,
    access: Access = "gradients",
    name: str | None = None,
) -> Attack:
    """Return a function as an attack, verified as all attacks are: ``from_function(my_attack, eps=4/255)``.

    ``f(module, pixels, labels)`` returns adversarial pixels. ``module`` maps N×3×H×W pixels in [0, 1] to N×2 logits
    (real, fake), whose argmax is the verdict at the detector's threshold; gradients flow through it. ``pixels`` is
    N×3×H×W float32, ``labels`` N whole numbers, 0 real and 1 fake. The result of ``f`` has the shape of ``pixels``,
    lies in [0, 1] and within ``eps`` of ``pixels``; it is then rounded to 8 bits inside the budget. Bind the eps of
    ``f`` yourself: ``from_function(partial(my_attack, eps=4/255), eps=4/255)``. Draws from global generators are seeded
    for each image.

    Parameters
    ----------
    f
        The function, or any callable object. Its source file, its defaults and the values that it uses are its identity
        in a run.
    norm
        ``linf``, ``l2``, ``l1``, ``l0`` or ``spatial``.
    eps
        The budget that is verified, in pixel units; for ``l0`` a number of pixel positions, left out for ``spatial``.
        Several values are a sweep: each verifies the same function.
    access
        ``gradients``; or ``scores`` or ``decisions`` for a function that only calls the module. It then gets one image
        at a time, and detectors without gradients are allowed.
    name
        Name of the attack in tables; by default the name of the function.

    Raises
    ------
    UserError
        If ``f`` is not callable or the budget is invalid. When the attack runs: if ``f`` fails, returns another shape,
        NaN, or pixels outside [0, 1] or the budget, or changes the module.
    """
    if not callable(f) or isinstance(f, type | Stage):
        shown = f"the class {f.__name__}" if isinstance(f, type) else type(f).__name__
        raise UserError(
            f"from_function takes a function of (module, pixels, labels), not {shown}",
            hint="from_function(my_attack, norm='linf', eps=4/255)",
        )
    try:
        signature(f).bind(None, None, None)
    except TypeError as error:
        raise UserError(
            f"the call f(module, pixels, labels) does not fit the function: {error}",
            hint="write def my_attack(module, pixels, labels); functools.partial sets other parameters",
        ) from None
    except ValueError:  # A compiled function has no signature to check.
        pass
    for what, value, known in (("norm", norm, get_args(Norm)), ("access", access, get_args(Access))):
        if value not in known:
            raise UserError(f"unknown {what} {value!r}", hint=did_you_mean(str(value), known))
    called = name or _function_name(f)
    return _in_memory(
        FunctionAttack(called, f), "function", "a function in memory", norm, eps, access, minimum_norm=False
    )


def _function_name(f: Any) -> str:
    inner = f.func if isinstance(f, partial) else f
    name = str(getattr(inner, "__name__", type(inner).__name__))
    return name if name.isidentifier() else "function"


def _in_memory(
    made: FunctionAttack | FoolboxAttack,
    backend: str,
    summary: str,
    norm: Norm,
    eps: object,
    access: Access,
    minimum_norm: bool,
) -> Attack:
    recipe = ObjectRecipe(
        kind="attack", name=made.name, summary=summary, norms=(norm,), params=_budget(norm), access=access,
        minimum_norm=minimum_norm, computed_by=backend, made_from=made,
    )  # fmt: skip
    return Attack(recipe, _given(norm, eps))


def _budget(norm: Norm) -> dict[str, Parameter]:
    """Return the budget parameter of an attack made from an object; no parameter for ``spatial``."""
    if norm == "l0":
        return {"eps": Parameter(kind="count", min=1)}
    return {} if norm == "spatial" else {"eps": Parameter(kind="pixels")}


def _given(norm: Norm, eps: object) -> dict[str, object]:
    if norm == "spatial" and eps is not None:
        raise UserError("a spatial attack has no budget, but eps was given", hint="leave eps out")
    if norm != "spatial" and eps is None:
        raise UserError(f"an attack in {norm} needs a budget", hint="eps=4/255")
    return {} if eps is None else {"eps": eps}


def _from_library(
    library: str,
    attack: type | str,
    norm: Norm,
    eps: float | str | Sequence[float | str],
    arguments: dict[str, Any],
) -> Attack:
    from robustbench_aigen.attacks.libraries import library_class, library_module

    if not isinstance(attack, type | str):
        raise UserError(
            f"from_{library} takes a class or its name, not {type(attack).__name__}",
            hint=f"from_{library}('PGD', eps=4/255)"
            if library == "torchattacks"
            else "pass the class, not an object",
        )
    name = attack if isinstance(attack, str) else attack.__name__
    if norm not in get_args(Norm):
        raise UserError(f"unknown norm {norm!r}", hint=did_you_mean(str(norm), get_args(Norm)))
    made = library_class(library_module(library), LibraryCall.model_validate({"class": name}))
    taken = signature(made.__init__).parameters
    unknown = [key for key in arguments if key not in taken and "kwargs" not in taken]
    if unknown:
        raise UserError(f"{name} takes no '{unknown[0]}'", hint=did_you_mean(unknown[0], [*taken][1:]))
    given = {**({"eps": "$eps"} if "eps" in taken else {}), **arguments}
    call = LibraryCall.model_validate({"class": name, "args": given})
    recipe = ObjectRecipe(
        kind="attack", name=name.lower(), summary=f"{name} of {library}", norms=(norm,), params=_budget(norm),
        backends=Backends.model_validate({library: {norm: call}}), computed_by=library,
        made_from=LibraryClass(name.lower(), (library, name, given)),
    )  # fmt: skip
    return Attack(recipe, _given(norm, eps))
