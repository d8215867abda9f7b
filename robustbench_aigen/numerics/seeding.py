"""Random streams that depend only on (seed, sample, stage, restart).

Batch size, order, device, shard and resume must not change a result, so noise is never drawn from a global
generator: every image has a counter-based stream (Philox, Salmon et al. 2011) of its own, keyed by those four
values and drawn on the CPU in float64. Library attacks, which do draw from global generators, run under
:func:`library_randomness`, which answers their per-image draws from the same streams.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class SampleStreams:
    """A random stream for each image of a batch.

    Parameters
    ----------
    seed
        The scenario's seed.
    samples
        The sample ids of the batch, in its order.
    stage
        Position of the stage in its pipeline. Two cells that differ in a parameter alone share their noise,
        which makes the comparison between them a paired one.
    restart
        Number of the random restart, from 0.
    step
        Number of the operation in a stage that is a chain of them, from 0.
    """

    seed: int
    samples: tuple[str, ...]
    stage: int
    restart: int = 0
    step: int = 0
    _steps: dict[int, "SampleStreams"] = field(default_factory=dict, compare=False, repr=False)
    _generators: dict[int, np.random.Generator] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def select(self, rows: Sequence[int]) -> "SampleStreams":
        """Return new streams for some of the images."""
        samples = tuple(self.samples[row] for row in rows)
        return SampleStreams(self.seed, samples, self.stage, self.restart, self.step)

    def for_restart(self, restart: int) -> "SampleStreams":
        """Return new streams of the same images for another restart."""
        return SampleStreams(self.seed, self.samples, self.stage, restart, self.step)

    def for_step(self, step: int) -> "SampleStreams":
        """Return the streams of another operation of the same stage; they continue after their last draw."""
        if step == self.step:
            return self
        if step not in self._steps:
            self._steps[step] = SampleStreams(self.seed, self.samples, self.stage, self.restart, step)
        return self._steps[step]

    def generator(self, row: int) -> np.random.Generator:
        """Return the generator of one image; it continues after its last draw."""
        if row not in self._generators:
            key = f"{self.seed}\0{self.samples[row]}\0{self.stage}\0{self.restart}".encode()
            if self.step:
                key += f"\0{self.step}".encode()
            digest = int.from_bytes(blake2b(key, digest_size=16).digest(), "little")
            self._generators[row] = np.random.Generator(np.random.Philox(key=digest))
        return self._generators[row]

    def uniform(
        self, low: float, high: float, shape: Sequence[int], rows: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Draw uniform numbers in [low, high), an array of ``len(self)`` × ``shape``, or for some images alone."""
        rows = range(len(self)) if rows is None else rows
        unit = np.stack([self.generator(row).random(tuple(shape)) for row in rows])
        return low + (high - low) * unit

    def normal(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Draw standard normal numbers, an array of ``len(self)`` × ``shape``, or for some images alone."""
        rows = range(len(self)) if rows is None else rows
        return np.stack([self.generator(row).standard_normal(tuple(shape)) for row in rows])


def draw_padded(
    streams: SampleStreams,
    shape: Sequence[int],
    sizes: Tensor | None,
    draw: Callable[[SampleStreams, Sequence[int]], NDArray[np.float64]],
) -> Tensor:
    """Draw noise of the images' own sizes from their own streams: N×3×H×W float32 on the CPU, zero in the padding.

    Parameters
    ----------
    streams
        The images' streams.
    shape
        3×H×W.
    sizes
        N×2 heights and widths where the images differ; None where all are H×W.
    draw
        (streams, 3×h×w) → an array of ``len(streams)`` × 3×h×w.
    """
    if sizes is None:
        return torch.from_numpy(draw(streams, shape)).float()
    noise = torch.zeros((len(streams), *shape))
    for row, (height, width) in enumerate(sizes.tolist()):
        drawn = draw(streams.select([row]), (3, height, width))
        noise[row, :, :height, :width] = torch.from_numpy(drawn[0])
    return noise


class _TorchDraws(TorchFunctionMode):
    """Answers the batch-shaped draws of torch code from per-image streams."""

    def __init__(self, streams: SampleStreams) -> None:
        super().__init__()
        self.streams = streams

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            if self._is_batch(args[0].shape):
                return self._fill(func, *args, **kwargs)
        elif func in (torch.rand_like, torch.randn_like):
            result = torch.empty_like(*args, **kwargs)
            if self._is_batch(result.shape):
                return self._fill(_IN_PLACE[func], result)
        elif func in (torch.rand, torch.randn) and "generator" not in kwargs:
            result = torch.empty(*args, **kwargs)
            if self._is_batch(result.shape):
                return self._fill(_IN_PLACE[func], result)
        return func(*args, **kwargs)

    def _is_batch(self, shape: torch.Size) -> bool:
        return len(shape) > 0 and shape[0] == len(self.streams)

    def _fill(self, func: Callable[..., Any], tensor: Tensor, *args: float, **kwargs: float) -> Tensor:
        shape = tensor.shape[1:]
        if func is torch.Tensor.uniform_:
            low = float(args[0]) if args else float(kwargs.get("from", 0))
            high = float(args[1]) if len(args) > 1 else float(kwargs.get("to", 1))
            drawn = self.streams.uniform(low, high, shape)
        else:
            mean = float(args[0]) if args else float(kwargs.get("mean", 0))
            std = float(args[1]) if len(args) > 1 else float(kwargs.get("std", 1))
            drawn = mean + std * self.streams.normal(shape)
        with torch.no_grad():
            return tensor.copy_(torch.from_numpy(drawn))


_IN_PLACE = {
    torch.rand_like: torch.Tensor.uniform_,
    torch.rand: torch.Tensor.uniform_,
    torch.randn_like: torch.Tensor.normal_,
    torch.randn: torch.Tensor.normal_,
}


class _NumpyDraws:
    """Answers the batch-shaped draws of NumPy code that uses the global ``numpy.random`` functions."""

    def __init__(self, streams: SampleStreams) -> None:
        self.streams = streams
        self._originals = {name: getattr(np.random, name) for name in ("uniform", "normal", "randn")}

    def __enter__(self) -> None:
        np.random.uniform = self._uniform
        np.random.normal = self._normal
        np.random.randn = self._randn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, original in self._originals.items():
            setattr(np.random, name, original)

    def _is_batch(self, size: Any) -> bool:
        return isinstance(size, tuple) and len(size) > 0 and size[0] == len(self.streams)

    def _uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        if self._is_batch(size) and np.isscalar(low) and np.isscalar(high):
            return self.streams.uniform(float(low), float(high), size[1:])  # type: ignore[arg-type]
        return self._originals["uniform"](low, high, size)

    def _normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        if self._is_batch(size):
            return loc + scale * self.streams.normal(size[1:])
        return self._originals["normal"](loc, scale, size)

    def _randn(self, *size: int) -> Any:
        return self.streams.normal(size[1:]) if self._is_batch(size) else self._originals["randn"](*size)


@contextmanager
def preserved_global_rng() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch after a block."""
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


def global_states() -> dict[str, Any]:
    """Return the states of the global generators of Python, NumPy and torch, by library."""
    numpy_state = np.random.get_state(legacy=False)
    return {"Python": random.getstate(), "NumPy": numpy_state, "torch": torch.get_rng_state()}


def changed_generators(before: dict[str, Any]) -> list[str]:
    """Return the libraries whose global generator is no longer in the state that it was in."""
    return [library for library, state in global_states().items() if not _equal(state, before[library])]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    return bool(one == other)


@contextmanager
def seeded_global_rng(key: str) -> Iterator[None]:
    """Seed the global generators by ``key`` inside a block, and restore them afterwards."""
    with preserved_global_rng():
        seed = int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "little")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


@contextmanager
def library_randomness(streams: SampleStreams) -> Iterator[None]:
    """Run third-party code whose global draws are answered from per-image streams.

    A draw whose first dimension is the batch (starts, noise, radii) comes from the images' own streams. Any other
    draw comes from the global generators, seeded by the same key, so that it repeats for equal batches. The
    global generators are put back afterwards.
    """
    with preserved_global_rng():
        seed = int(streams.for_restart(streams.restart).generator(0).integers(2**31))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        with _NumpyDraws(streams), _TorchDraws(streams):
            yield
