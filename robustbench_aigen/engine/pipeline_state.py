"""State of images inside a pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.threat_model import level_distances
from robustbench_aigen.engine.sizes import same_size
from robustbench_aigen.numerics.image_quality import psnr, ssim

_VALUES = 2**18
"""Size of the images that are compared together; they fit into a processor's cache."""


@dataclass
class PipelineState:
    """Images inside a pipeline, with the results of the attacks so far.

    ``log_odds`` are those of *fake* of the images as they are, None where the detector has not seen them yet.
    ``distance`` is that of :class:`~robustbench_aigen.attacks.execution.AttackOutcome`, NaN without one.
    ``chains`` are the perturbations that an attack chose for an image, as stages of a scenario, else empty;
    ``found_by`` names the part of an attack that made it.
    """

    levels: list[Tensor]
    log_odds: Tensor | None
    attacked: Tensor
    correct_float: Tensor
    linf: Tensor
    l2: Tensor
    distance: Tensor
    steps: Tensor
    queries: Tensor
    search_eps: Tensor
    psnr: Tensor
    ssim: Tensor
    masked_area: Tensor
    chains: list[str]
    found_by: list[str]
    files: dict[int, bytes] = field(default_factory=dict)
    """Encoded images of the last stage, by row, where it is a codec and whole images are kept."""

    @classmethod
    def before(cls, levels: list[Tensor], log_odds: Tensor | None) -> "PipelineState":
        """Return the state before the first stage, with the log-odds of the source images where they are known."""
        count = len(levels)
        return cls(
            list(levels),
            log_odds,
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count),
            torch.zeros(count),
            torch.full((count,), torch.nan),
            torch.zeros(count, dtype=torch.long),
            torch.zeros(count, dtype=torch.long),
            torch.full((count,), torch.nan),
            torch.full((count,), torch.nan),
            torch.full((count,), torch.nan),
            torch.full((count,), torch.nan),
            [""] * count,
            [""] * count,
        )

    @property
    def bytes(self) -> int:
        """Memory of the images."""
        return sum(image.numel() for image in self.levels)


def fallen(records: pd.DataFrame) -> Tensor:
    """Return which images of a cell fool the detector after an attack."""
    return torch.from_numpy((records["attacked"] & ~records["correct"]).to_numpy(bool).copy())


def copy_from(after: PipelineState, smaller_eps_records: pd.DataFrame, rows: Tensor) -> None:
    """Copy the results of some images from a smaller eps."""
    assert after.log_odds is not None
    for name in ("log_odds", "linf", "l2", "distance", "search_eps", "psnr", "ssim"):
        values = torch.from_numpy(smaller_eps_records[name].to_numpy(np.float32).copy())
        getattr(after, name)[rows] = values[rows]
    for name in ("steps", "queries"):
        values = torch.from_numpy(smaller_eps_records[name].to_numpy(np.int64).copy())
        getattr(after, name)[rows] = values[rows]
    for row in rows.nonzero().flatten().tolist():
        after.chains[row] = str(smaller_eps_records["chain"].iloc[row])
        after.found_by[row] = str(smaller_eps_records["found_by"].iloc[row])
    values = torch.from_numpy(smaller_eps_records["correct_float"].to_numpy(bool, na_value=True).copy())
    after.correct_float[rows] = values[rows]


def difference(before: list[Tensor], after: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return L∞ and L2 between images in pixel units; NaN where a size has changed."""
    linf, l2 = torch.full((len(before),), torch.nan), torch.full((len(before),), torch.nan)
    alike = [
        row for row, (one, other) in enumerate(zip(before, after, strict=True)) if one.shape == other.shape
    ]
    for group in same_size(before, alike):
        for rows in torch.tensor(group).split(max(1, _VALUES // before[group[0]].numel())):
            one, other = (torch.stack([images[row] for row in rows]) for images in (before, after))
            linf[rows], l2[rows] = level_distances(one, other)
    return linf, l2


def note_quality(
    state: PipelineState, rows: Sequence[int], before: list[Tensor], after: list[Tensor], measured: Tensor
) -> None:
    """Note PSNR and SSIM of some images, whose distances the state has; NaN where a size has changed.

    SSIM is noted for the rows in ``measured``, N bool.
    """
    alike = [place for place in range(len(rows)) if before[place].shape == after[place].shape]
    for group in same_size(before, alike):
        at = [rows[place] for place in group]
        state.psnr[at] = psnr(state.l2[at], before[group[0]].numel()).float()
        chosen = [place for place in group if measured[rows[place]]]
        if chosen:
            one, other = (torch.stack([images[place] for place in chosen]) for images in (before, after))
            state.ssim[[rows[place] for place in chosen]] = ssim(one, other)
