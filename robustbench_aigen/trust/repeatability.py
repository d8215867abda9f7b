"""Repeatability of a detector: equal margins in every call and every batch.

Batch norm in training mode, statistics over the batch and dynamic quantisation make the answer depend on the batch;
dropout that is left on, noise and counters make it depend on the call.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robustbench_aigen.detectors.contract import FAKE, REAL, Detector, scores
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import preserved_global_rng

_FLOAT32 = 1e-3
"""Tolerated change of a margin, in logits: in a deep network, another order of sums changes margins by up to 1e-4."""
_EPSILONS = 4
"""The same of networks that compute in half precision, in units of its last place."""
_LEAST, _LEAST_SCORE = 1e-5, 1e-5
"""What no score shows: nats, and differences of a probability that the logarithm makes large."""
_CALLS = 3
_FEWEST = 4
"""Images in a batch, filled up with changed copies."""


class Repeated(NamedTuple):
    """The answers to N images of one size.

    Parameters
    ----------
    margin
        Margin of every image alone, fake over real, in nats.
    by_call, by_batch
        By how many nats it moves from call to call, and from the image alone to the image among others.
    moved_by_call, moved_by_batch
        Where that is more than the order of a sum explains.
    """

    margin: Tensor
    by_call: Tensor
    by_batch: Tensor
    moved_by_call: Tensor
    moved_by_batch: Tensor

    @classmethod
    def joined(cls, parts: "list[Repeated]") -> "Repeated":
        """Put the answers to images of several sizes into one."""
        return cls(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def repeat(detector: Detector, levels: Tensor, device: torch.device, among: int = 0) -> Repeated:
    """Ask a detector several times for the same images: alone, together, in another order.

    An answer counts as another one where the margin moves by more than 0.001 of the image's own logits (or of the
    median image's, where these are larger), by 4 units in the last place of the half precision that the network
    computes in, and by more than 1e-5 nats. Of probabilities the score has to move by 1e-5, too.

    Parameters
    ----------
    detector
        The detector, on ``device``.
    levels
        N×3×H×W uint8.
    device
        The device of the detector.
    among
        Least number of images in a batch, as in a run.
    """
    count, pixels = len(levels), to_pixels(levels.to(device))
    batch = torch.cat([pixels, *_changed_copies(pixels)])
    more = batch.flip(2)
    larger = torch.cat([batch, *[more] * (among // len(batch))])[: max(among, len(batch))]
    with preserved_global_rng():
        precision = _precision(detector, pixels[:1])
        together = [_asked(detector, batch)[:count] for _ in range(_CALLS - 1)]
        reverse = _asked(detector, larger.flip(0)).flip(0)[:count]
        alone = torch.cat([_asked(detector, image[None]) for image in pixels])
        # The last of all calls, so that what drifts from call to call has drifted.
        together.append(_asked(detector, batch)[:count])
    # An image whose answer is NaN every time moves by 0; there is no size to allow anything by.
    size = alone.abs().amax(dim=1).nan_to_num(0.0)
    size = torch.maximum(size, size.median())
    allowed = (precision * size).clamp(min=_LEAST)
    calls = [_moved(together[0], other) for other in together[1:]]
    others = [_moved(alone, other) for other in (together[0], reverse)]
    by_call = torch.stack([nats for nats, _ in calls]).amax(dim=0)
    by_batch = torch.stack([nats for nats, _ in others]).amax(dim=0)
    # What moves from call to call moves between batches as well.
    least = torch.maximum(allowed, 4 * by_call.amax())
    is_probability = detector.preprocessing.outputs != "logits"
    seen_by_call, seen_by_batch = (
        torch.stack([score for _, score in found]).amax(dim=0) > (_LEAST_SCORE if is_probability else -1.0)
        for found in (calls, others)
    )
    return Repeated(
        _margin(alone),
        by_call,
        by_batch,
        ~(by_call <= allowed) & seen_by_call,
        ~(by_batch <= least) & seen_by_batch,
    )


def _asked(detector: Detector, pixels: Tensor) -> Tensor:
    """Return N×2 logits on the CPU."""
    logits: Tensor = detector(pixels)
    return logits.detach().float().cpu()


def _margin(logits: Tensor) -> Tensor:
    return logits[:, FAKE] - logits[:, REAL]


def _moved(logits: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the margins and the scores of N images differ; NaN twice is no difference."""
    both = logits.isnan().any(dim=1) & other.isnan().any(dim=1)
    nats, score = (_margin(logits) - _margin(other)).abs(), (scores(logits) - scores(other)).abs()
    return nats.masked_fill(both, 0.0), score.nan_to_num(1.0).masked_fill(both, 0.0)


def _changed_copies(pixels: Tensor) -> Iterator[Tensor]:
    """Yield further images of other brightness, for batches of at least four."""
    yield 1 - pixels[:1]
    if len(pixels) < _FEWEST:
        yield from (pixels.flip(3), 0.3 * pixels, 1 - pixels)


class _Dtypes(TorchDispatchMode):
    """Notes the floating types of what operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out torch's guard against its compiler: nothing is compiled here, and the guard imports all of it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        self.seen.update(each.dtype for each in (result, *args) if isinstance(each, Tensor))
        return result


def _precision(detector: Detector, pixels: Tensor) -> float:
    """Return the tolerated change of a margin, relative to the logits, for the precision of a network."""
    noted = _Dtypes()
    try:
        with noted:
            detector(pixels)
    except Exception:  # noqa: BLE001  Not every runtime lets itself be watched; the answers themselves come next.
        return _FLOAT32
    half = [torch.finfo(kind).eps for kind in noted.seen & {torch.float16, torch.bfloat16}]
    return max([_FLOAT32, *(_EPSILONS * epsilon for epsilon in half)])
