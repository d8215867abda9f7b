"""The Parquet files of the package: lossless PNG, the same encoder for every row, deterministic bytes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.minigen.allocation import SPLITS, Counts, digest
from benchmarks.minigen.sampling import REAL, load_samples

ROWS_PER_GROUP = 500
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("generator", pa.string()),
        ("sample", pa.string()),
    ],
    metadata={
        "huggingface": json.dumps(
            {
                "info": {
                    "features": {
                        "image": {"_type": "Image"},
                        "label": {"names": ["real", "ai_generated"], "_type": "ClassLabel"},
                        "generator": {"dtype": "string", "_type": "Value"},
                        "sample": {"dtype": "string", "_type": "Value"},
                    }
                }
            }
        )
    },
)


class Row(NamedTuple):
    """One image of a split."""

    png: bytes
    label: int
    generator: str
    sample: str


def encode_png(image: np.ndarray) -> bytes:
    """Lossless PNG of a uint8 H×W×3 image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Uint8 H×W×3 pixels of a PNG."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def shipped_images(work: Path, names: list[str], split: str, counts: Counts) -> dict[str, np.ndarray]:
    """The first images of each generator's split and as many reals in all, by generator."""
    each = counts.shipped(split)
    sizes = {REAL: each * len(names), **dict.fromkeys(names, each)}
    return {name: load_samples(work, name)[split][:size] for name, size in sizes.items()}


def _rows(images: dict[str, np.ndarray], split: str) -> Iterator[Row]:
    for name, stack in images.items():
        for number, image in enumerate(stack):
            yield Row(encode_png(image), int(name != REAL), name, f"{split}/{name}/{number:05d}")


def write_split(path: Path, images: dict[str, np.ndarray], split: str) -> int:
    """Write one split and return its size in bytes.

    Rows are ordered by the sha256 of the sample id, so that any prefix is a mixture.
    """
    rows = sorted(_rows(images, split), key=lambda row: hashlib.sha256(row.sample.encode()).digest())
    table = pa.table(
        [
            pa.array(
                [{"bytes": row.png, "path": f"{row.sample}.png"} for row in rows], SCHEMA.field("image").type
            ),
            pa.array([row.label for row in rows], pa.int64()),
            pa.array([row.generator for row in rows], pa.string()),
            pa.array([row.sample for row in rows], pa.string()),
        ],
        schema=SCHEMA,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(
        table,
        temporary,
        compression="NONE",
        use_dictionary=["generator"],
        write_statistics=False,
        row_group_size=ROWS_PER_GROUP,
    )
    temporary.replace(path)
    return path.stat().st_size


def read_split(path: Path) -> list[Row]:
    """The rows of a written split, in file order."""
    table = pq.read_table(path)
    columns = (table[name].to_pylist() for name in ("image", "label", "generator", "sample"))
    return [
        Row(image["bytes"], label, generator, sample)
        for image, label, generator, sample in zip(*columns, strict=True)
    ]


def check_disjoint(splits: dict[str, dict[str, np.ndarray]], sources: np.ndarray) -> None:
    """No image twice, within or across splits, and no source of a reconstruction among them."""
    seen = {digest(image): "a reconstruction's source" for image in sources}
    for split, images in splits.items():
        for name, stack in images.items():
            for number, image in enumerate(stack):
                where = f"{split}/{name}/{number:05d}"
                other = seen.setdefault(digest(image), where)
                if other != where:
                    raise ValueError(f"{where} has the same pixels as {other}")


def write_splits(
    work: Path, folder: Path, names: list[str], counts: Counts, sources: np.ndarray
) -> dict[str, int]:
    """Check and write the three splits; return their sizes in bytes."""
    splits = {split: shipped_images(work, names, split, counts) for split in SPLITS}
    check_disjoint(splits, sources)
    return {
        split: write_split(folder / f"{split}.parquet", images, split) for split, images in splits.items()
    }
