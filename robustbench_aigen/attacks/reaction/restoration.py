"""Gradients through code that has none: the values of a module, with a gradient that was restored where it was lost.

Backward Pass Differentiable Approximation (Athalye, Carlini and Wagner 2018, Obfuscated Gradients Give a False Sense of
Security, section 4.1) without knowledge of the defence. Two mechanisms find the places where a gradient is lost:

- functions of torch without a useful derivative (rounding, comparisons, ``detach``, ``no_grad``) are intercepted, and
  get the derivative of the identity, or of a sigmoid;
- modules whose input has a gradient and whose output, or the input of a module inside, has none: there an image's values
  before and after are fitted by a linear map over its pixels, whose derivative takes the place of the lost one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from robustbench_aigen.detectors.hidden_networks import hidden_networks

_RIDGE = 1e-4
"""Share of the mean square that keeps a fit of grey images solvable."""
_STEEPNESS = 10.0
"""Of the sigmoid in place of a comparison, in units of 1 over the deviation of the compared values."""

Seen = Callable[[str, Tensor], None]
"""Called with the name of a module and its output, N×D with a gradient."""


class Parts(NamedTuple):
    """The modules of a network with their names, those that torch does not see included."""

    modules: tuple[tuple[str, nn.Module], ...]

    @classmethod
    def of(cls, network: nn.Module) -> "Parts":
        """Find the modules of a network."""
        found = dict(network.named_modules())
        for place, hidden in enumerate(hidden_networks(network)):
            found |= {f"hidden {place}: {name}": inner for name, inner in hidden.named_modules()}
        return cls(tuple(found.items()))


@contextmanager
def restored_gradients(parts: Parts, seen: Seen | None = None) -> Iterator[None]:
    """Restore lost gradients in a network while the block lasts.

    Parameters
    ----------
    parts
        The network's. It is called inside the block, on inputs that require a gradient; its values do not change.
    seen
        Told of outputs inside the network, N×D with a gradient.
    """
    with ExitStack() as stack:
        watch = _ModuleWatch(seen)
        for name, inner in parts.modules:
            for handle in watch.hooks(name, inner):
                stack.callback(handle.remove)
        stack.enter_context(_Functions())
        yield


def stand_in(before: Tensor, after: Tensor) -> Tensor:
    """Return the values of one stack of images with the gradient of another, through a linear map of its pixels.

    Parameters
    ----------
    before
        N×C×H×W with a gradient.
    after
        N×D×h×w without a gradient: what was made of it. The map of C to D channels is fitted to each image.

    Returns
    -------
    Tensor
        The values of ``after``.
    """
    sized = before
    if before.shape[2:] != after.shape[2:]:
        sized = functional.interpolate(before, after.shape[2:], mode="bilinear", align_corners=False)
    values, wanted = sized.detach().flatten(2).double(), after.detach().flatten(2).double()
    ones = torch.ones_like(values[:, :1])
    rows = torch.cat([values, ones], dim=1)
    square = rows @ rows.transpose(1, 2)
    ridge = _RIDGE * square.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    square = square + ridge.view(-1, 1, 1) * torch.eye(rows.shape[1], dtype=torch.double, device=rows.device)
    slopes = torch.linalg.solve(square, rows @ wanted.transpose(1, 2))[:, :-1]
    smooth = torch.einsum("ncd,nchw->ndhw", slopes.to(sized.dtype), sized)
    return smooth + (after.detach() - smooth.detach())


def _is_lost(before: object, after: object) -> bool:
    """Whether images with a gradient became images without one."""
    return (
        isinstance(before, Tensor)
        and isinstance(after, Tensor)
        and before.requires_grad
        and not after.requires_grad
        and after.is_floating_point()
        and before.dim() == after.dim() == 4
        and len(before) == len(after)
    )


class _ModuleWatch:
    """Hooks that see what goes into modules and comes out, innermost last."""

    def __init__(self, seen: Seen | None) -> None:
        self._seen = seen
        self._inputs: list[object] = []

    def hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Yield the handles of the hooks on one module."""

        def entered(_: nn.Module, given: tuple[object, ...]) -> tuple[object, ...] | None:
            first = given[0] if given else None
            outer = self._inputs[-1] if self._inputs else None
            if _is_lost(outer, first):
                with _uninterrupted():
                    first = stand_in(outer, first)  # type: ignore[arg-type]
                self._inputs.append(first)
                return (first, *given[1:])
            self._inputs.append(first)
            return None

        def left(_: nn.Module, __: object, output: object) -> object:
            before = self._inputs.pop() if self._inputs else None
            if _is_lost(before, output):
                with _uninterrupted():
                    return stand_in(before, output)  # type: ignore[arg-type]
            if self._seen is not None and isinstance(output, Tensor) and output.requires_grad:
                self._seen(name, output)
            return None

        yield module.register_forward_pre_hook(entered)
        yield module.register_forward_hook(left)


def _uninterrupted() -> Any:
    """Return a block in which functions do what they always do."""
    return torch._C.DisableTorchFunction()  # noqa: SLF001


_ROUNDING = {
    *(getattr(torch, name) for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn")),
    *(getattr(Tensor, name) for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn")),
}
_ROUNDING_IN_PLACE = {
    getattr(Tensor, name): getattr(Tensor, name.removesuffix("_"))
    for name in ("round_", "floor_", "ceil_", "trunc_", "sign_")
}
_DETACHING = {torch.detach, Tensor.detach, Tensor.data.__get__}  # type: ignore[attr-defined]
_RISING = {torch.gt, torch.ge, Tensor.gt, Tensor.ge, Tensor.__gt__, Tensor.__ge__}
_FALLING = {torch.lt, torch.le, Tensor.lt, Tensor.le, Tensor.__lt__, Tensor.__le__}
_CASTS = {Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.to, Tensor.type, Tensor.type_as}
_INTEGERS = {Tensor.byte, Tensor.int, Tensor.long, Tensor.short, Tensor.char, Tensor.bool}
_LEAVING = {Tensor.numpy, Tensor.__array__, Tensor.tolist}


_WITHOUT_DERIVATIVE = {*_DETACHING, *_LEAVING, *_ROUNDING, *_ROUNDING_IN_PLACE}


def _derived(func: Any, first: Tensor, more: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function without a derivative on a tensor with a gradient."""
    if func in _DETACHING:
        return first
    if func in _LEAVING:
        with _uninterrupted():
            return func(first.detach(), *more, **kwargs)
    with _uninterrupted():
        rounded = _ROUNDING_IN_PLACE.get(func, func)(first.detach(), *more, **kwargs)
    return _through(first, rounded)


class _Functions(TorchFunctionMode):
    """Gives functions of torch without a useful derivative one; values stay the same."""

    def __init__(self) -> None:
        super().__init__()
        self._smooth = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:  # noqa: SLF001  How ``torch.no_grad`` arrives here.
            return None
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            return func(*args, **kwargs)
        if func in _RISING or func in _FALLING:
            return self._compared(func, first, args, kwargs)
        if first.requires_grad and func in _WITHOUT_DERIVATIVE:
            return _derived(func, first, args[1:], kwargs)
        return self._cast(func, first, args, kwargs)

    def _compared(self, func: Any, first: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        result: Tensor = func(*args, **kwargs)
        other = args[1] if len(args) > 1 else kwargs.get("other")
        has_gradient = first.requires_grad or (isinstance(other, Tensor) and other.requires_grad)
        if has_gradient and first.is_floating_point() and other is not None:
            difference = first - other if func in _RISING else other - first
            width = difference.detach().std().clamp(min=1e-12)
            self._smooth[result] = torch.sigmoid(_STEEPNESS * difference / width)
        return result

    def _cast(self, func: Any, first: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or result.requires_grad:
            return result
        smooth = self._smooth.get(first)
        if smooth is None and first.requires_grad and func in {*_CASTS, *_INTEGERS}:
            smooth = first  # A cast to whole numbers.
        if smooth is None or smooth.numel() != result.numel():
            return result
        if not result.is_floating_point():
            # Views, shapes and devices of whole numbers keep what they came from.
            self._smooth[result] = smooth.reshape(result.shape) if smooth.shape != result.shape else smooth
            return result
        if func in _CASTS or result.shape == smooth.shape:
            return _through(smooth.reshape(result.shape), result)
        return result


def _through(smooth: Tensor, values: Tensor) -> Tensor:
    """Return values with the gradient of others."""
    smooth = smooth.to(values.dtype)
    with _uninterrupted():  # Their difference has no gradient.
        rest = values.detach() - smooth.detach()
    return smooth + rest
