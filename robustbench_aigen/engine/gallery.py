"""Gallery of a run: a few adversarial images for the report.

They are the very images that were judged, not made again afterwards: which other images shared their batch, or had
fallen at a smaller eps, decides what an attack leaves. So a shard's records carry them, and the cache gives both back.
"""

import io
from collections.abc import Iterable, Sequence
from itertools import chain

import pandas as pd
from PIL import Image
from torch import Tensor

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import in_turns
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.engine.shards import Shard
from robustbench_aigen.numerics.decoding import decode

_CANDIDATES = 8
"""Images per class that shards keep: an accuracy run leaves those alone that are misjudged without an attack."""
_SHOWN = 3
"""Images per class and cell in ``gallery.parquet``, chosen from the kept images."""
_SIDE = 256
"""Larger images are cut to their middle, so that what is kept stays small."""


def gallery_candidates(samples: Iterable[Sample]) -> frozenset[str]:
    """Choose the gallery samples by ids and labels alone, before any attack.

    Of both classes the same number; the generators of a class take turns.
    """
    return frozenset(chain(*in_turns(samples, _CANDIDATES).values()))


def encode_png(levels: Tensor, *, whole: bool = False, exif: bytes = b"") -> bytes:
    """Encode a uint8 3×H×W image losslessly, cut to its middle where it is larger than 256 pixels a side and not ``whole``."""
    height, width = levels.shape[1:]
    top, left = max(0, height - _SIDE) // 2, max(0, width - _SIDE) // 2
    shown = levels if whole else levels[:, top : top + _SIDE, left : left + _SIDE]
    cut = shown.permute(1, 2, 0).contiguous().cpu().numpy()
    sink = io.BytesIO()
    Image.fromarray(cut).save(sink, format="PNG", exif=exif)
    return sink.getvalue()


def choose_gallery(kept: pd.DataFrame, shards: Sequence[Shard]) -> pd.DataFrame:
    """Return the gallery of a run: of each cell up to three images per class, or all where shards keep all.

    Attacked images go first, then the fixed pseudo-random order of the ids. Images that withstood the attack are shown
    as well.

    Parameters
    ----------
    kept
        Records of the kept images, their PNG in ``image``.
    shards
        The shards of the run, for the source images.

    Returns
    -------
    DataFrame
        The records with the columns ``original`` and ``image``, PNGs both.
    """
    is_whole = any(shard.whole for shard in shards)
    order = kept.assign(_order=kept["sample"].map(order_key)).sort_values(
        ["attacked", "_order"], ascending=[False, True]
    )
    cells = order.groupby(["detector", "pipeline", "label"], sort=False)
    rows = (order if is_whole else cells.head(_SHOWN)).sort_index()
    originals = _originals(shards, set(rows["sample"]))
    chosen = rows.drop(columns="_order").reset_index(drop=True)
    chosen.insert(len(chosen.columns) - 1, "original", chosen["sample"].map(originals))
    return chosen


def _originals(shards: Sequence[Shard], wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for shard in shards:
        for place, sample in enumerate(shard.samples):
            if sample.id in wanted:
                found[sample.id] = encode_png(decode(shard.encoded(place)), whole=shard.whole)
    return found
