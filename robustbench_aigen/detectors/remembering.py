"""Cache of values computed from a detector, valid while its weights are the same."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector

T = TypeVar("T")


def remembered(detector: "Detector", what: Hashable, make: Callable[[], T]) -> T:
    """Return the cached result of ``make`` for a detector, made again if the detector has changed.

    Changes are seen by the version counters of floating-point parameters and buffers, and by their places in memory:
    an optimiser's step, ``load_state_dict``, another device, another layer. Whole numbers count calls. A value that is
    written in place through ``.data``, and other attributes than tensors, are not seen: :func:`forget` is for those.
    """
    kept = _KEPT.setdefault(detector, _Kept())
    if kept.state is None or not kept.state.is_of(detector, kept.networks(detector)):
        kept.values.clear()
    if what in kept.values:
        return cast(T, detector if kept.values[what] is _ITSELF else kept.values[what])
    made = make()
    # The first call of some networks makes parts of them.
    if kept.state is None or not kept.state.is_of(detector, kept.networks(detector)):
        kept.values.clear()
        kept.state = _State(detector, kept.networks(detector))
    kept.values[what] = _ITSELF if made is detector else made
    return made


def forget(detector: "Detector") -> None:
    """Discard everything computed from a detector."""
    _KEPT.pop(detector, None)


class _Kept:
    """The values of one detector, and the state of the detector that they were made of."""

    def __init__(self) -> None:
        self.state: _State | None = None
        self.values: dict[Hashable, Any] = {}
        self._networks: list[nn.Module] | None = None

    def networks(self, detector: "Detector") -> list[nn.Module]:
        """Return the networks of the detector; those that torch does not see are looked for once."""
        if self._networks is None or self._networks[0] is not detector.network:
            self._networks = detector.networks()
        return self._networks


_KEPT: WeakKeyDictionary["Detector", _Kept] = WeakKeyDictionary()
_ITSELF = object()
"""Stands for the detector, which a value here would keep alive."""


class _State:
    """Which modules and tensors some networks consist of, and how often each tensor has been written to."""

    def __init__(self, detector: "Detector", networks: Sequence[nn.Module]) -> None:
        self._preprocessing = detector.preprocessing
        self._modules = [ref(module) for network in networks for module in network.modules()]
        self._tensors = [(ref(tensor), _writes(tensor)) for tensor in _tensors(networks)]

    def is_of(self, detector: "Detector", networks: Sequence[nn.Module]) -> bool:
        """Whether nothing has changed."""
        modules = [module for network in networks for module in network.modules()]
        tensors = _tensors(networks)
        return (
            detector.preprocessing == self._preprocessing
            and len(modules) == len(self._modules)
            and len(tensors) == len(self._tensors)
            and all(held() is module for held, module in zip(self._modules, modules, strict=True))
            and all(
                held() is tensor and writes == _writes(tensor)
                for (held, writes), tensor in zip(self._tensors, tensors, strict=True)
            )
        )


def _tensors(networks: Sequence[nn.Module]) -> list[Tensor]:
    return [
        tensor
        for network in networks
        for module in network.modules()
        for held in (module._parameters, module._buffers)  # noqa: SLF001  Four times as fast as named_parameters().
        for tensor in held.values()
        if tensor is not None
    ]


def _writes(tensor: Tensor) -> tuple[object, ...]:
    """Return a value that changes when a tensor is written to, moved or replaced."""
    counts = tensor.is_floating_point() and not tensor.is_inference()
    try:
        place = tensor.data_ptr()
    except (RuntimeError, NotImplementedError):  # Sparse and packed tensors are in several places.
        place = 0
    return (tensor._version if counts else 0, place, tensor.dtype, tensor.device)  # noqa: SLF001  The only count of changes.
