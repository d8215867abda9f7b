"""Detectors prepared for gradients: the same function, computed faster."""

from collections.abc import Callable
from copy import deepcopy
from typing import Literal, cast

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.depthwise import keep_depthwise_float32
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.folding import fold_batch_norms_backwards, fold_batch_norms_forwards
from robustbench_aigen.detectors.mean_in_tiles import MeanInTiles
from robustbench_aigen.detectors.outputs import as_columns
from robustbench_aigen.detectors.remembering import remembered
from robustbench_aigen.detectors.rewriting import rewritten_modules, unshuffle_stems, with_the_same_weights
from robustbench_aigen.numerics.precision import gradient_precision
from robustbench_aigen.numerics.seeding import preserved_global_rng


def prepare(detector: Detector, precision: Literal["fp32", "bf16"]) -> Detector:
    """Return a copy of a detector that is faster: batch norms folded, stem rewritten, memory laid out, precision set.

    Parameters
    ----------
    detector
        The copy is made again where its weights have changed since.
    precision
        Of convolutions and products. The resize, the normalisation and the logits are float32 either way. In float32
        the answers are the detector's own up to round-off.
    """
    if not detector.differentiable:
        return detector
    return remembered(detector, ("prepared", precision), lambda: _prepared(detector, precision))


def _prepared(detector: Detector, precision: Literal["fp32", "bf16"]) -> Detector:
    if isinstance(detector, Ensemble):
        return detector.of([prepare(member, precision) for member in detector.members])
    kept = {id(detector.network): None}  # Copied below, and only where it can be.
    with borrowed(detector):
        prepared = deepcopy(detector, kept)
        prepared.network = _fastest(detector, precision, deepcopy)
        prepared.borrows = False
        prepared.eval()
        prepared.requires_grad_(False)
    return prepared


class FollowingDetector:
    """A prepared detector that follows the weights of one in training, without being traced again.

    It is always in evaluation mode, and shares the parameters and buffers of the other.

    Parameters
    ----------
    detector
        A detector on its device; not an ensemble.
    precision
        As :func:`prepare` takes it.

    Attributes
    ----------
    prepared
        The detector that is differentiated.
    """

    def __init__(self, detector: Detector, precision: Literal["fp32", "bf16"]) -> None:
        self.prepared = cast(Detector, with_the_same_weights(detector)).eval()
        self.prepared.network = _fastest(self.prepared, precision, with_the_same_weights)
        self.prepared.eval()
        self._rewritten = rewritten_modules(self.prepared)

    def refresh(self) -> Detector:
        """Copy the current weights and running statistics, and return the prepared detector."""
        for module in self._rewritten:
            module.refresh()
        return self.prepared


def _fastest(
    detector: Detector, precision: Literal["fp32", "bf16"], copy: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """Return the network in the fastest form in which it still is the same function.

    Networks from elsewhere may fix their strides or their types, or compute on copies of their own: each form is
    tried, forwards and backwards, and compared; the network as it is always works.
    """
    probes = detector.probes()
    probe = detector.preprocessing.order(detector.preprocessing.fit(probes))
    output = detector.preprocessing.output
    expected = _values_and_gradient(detector.network, probe, output)
    if expected is None:
        return detector.network
    forms: list[tuple[Literal["fp32", "bf16"], bool]] = [(precision, True), (precision, False)]
    forms += [("fp32", False)] if precision != "fp32" else []
    for form_precision, channels_last in forms:
        network = _copied(detector.network, copy)
        if network is None:
            break
        for part in [module for module in network.modules() if isinstance(module, MeanInTiles)]:
            part.body = _rewritten(part.body, lambda body: body(probe))
        rewritten = _rewritten(network, lambda whole: as_columns(whole(probe), "", len(probe), output))
        if form_precision == "bf16" and probe.device.type == "cpu":
            keep_depthwise_float32(rewritten)
        form = _Prepared(rewritten, form_precision, channels_last=channels_last)
        form.eval()
        if _is_same(expected, _values_and_gradient(form, probe, output), form_precision):
            return form
    return _Prepared(detector.network, "fp32", channels_last=False)


class _Prepared(nn.Module):
    def __init__(
        self, network: nn.Module, precision: Literal["fp32", "bf16"], *, channels_last: bool
    ) -> None:
        super().__init__()
        self.precision = precision
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout) if channels_last else network

    def forward(self, images: Tensor) -> object:
        with gradient_precision(self.precision, images.device):
            return self.network(images.contiguous(memory_format=self.layout))


_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
"""Relative to the largest logit. bfloat16 has 8 bits of mantissa, and errors add up over layers."""


def _copied(network: nn.Module, copy: Callable[[nn.Module], nn.Module]) -> nn.Module | None:
    """Return a copy, None of what cannot be copied: a foreign network may hold a file or a session."""
    try:
        # Copies of some libraries' layers draw random numbers.
        with preserved_global_rng():
            return copy(network)
    except Exception:  # noqa: BLE001  Copying fails in as many ways as there are libraries.
        return None


def _values_and_gradient(
    network: nn.Module, probe: Tensor, output: str | None
) -> tuple[Tensor, Tensor] | None:
    """Return a network's answers and the gradient of their sum to the probe, None where that fails."""
    leaf = probe.clone().requires_grad_()
    try:
        with torch.enable_grad():
            values = as_columns(network(leaf), "", len(leaf), output)
            gradient = (
                torch.autograd.grad(values.square().sum(), leaf, allow_unused=True)[0]
                if values.requires_grad
                else None
            )
    except Exception:  # noqa: BLE001  A layout or a precision that a network cannot take.
        return None
    return values.detach(), torch.zeros_like(probe) if gradient is None else gradient


def _is_same(
    expected: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor] | None, precision: Literal["fp32", "bf16"]
) -> bool:
    if found is None or found[0].shape != expected[0].shape:
        return False
    scale = max(float(expected[0].abs().max()), torch.finfo(torch.float32).tiny)
    same = float((found[0] - expected[0]).abs().max()) <= _TOLERANCE[precision] * scale
    # A form that loses the gradient on the way is not the same function to an attack.
    return same and bool(found[1].isfinite().all()) and bool(found[1].any()) == bool(expected[1].any())


def _rewritten(network: nn.Module, answers: Callable[[nn.Module], Tensor]) -> nn.Module:
    """Return the network with all rewritings that keep its answers."""
    for rewrite in (fold_batch_norms_backwards, fold_batch_norms_forwards, unshuffle_stems):
        changed = rewrite(network)
        if changed is network:
            continue
        with torch.no_grad():
            before, after = answers(network), answers(changed)
        if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
            network = changed
    return network
