"""Encoded images: decoding, and the reading of headers for the audit and for copies."""

import io
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.fuzzing.contract import Loader
from benchmarks.fuzzing.mutation import mutated, png_chunk
from benchmarks.fuzzing.structures import draws, one_of_many
from robustbench_aigen.numerics.decoding import UnreadableImageError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB"), "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"), "ICO": ("RGBA",), "PPM": ("1", "L", "RGB"), "TGA": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA"), "AVIF": ("RGB",), "PCX": ("L", "RGB"), "SGI": ("L", "RGB"), "IM": ("L", "F"),
    "DDS": ("RGB",), "EPS": ("RGB",), "MPO": ("RGB",), "QOI": ("RGB",),
}  # fmt: skip
_SIDES = (0, 1, 2, 7, 100, 7000, 7072, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def _load(content: bytes, folder: Path) -> None:
    from robustbench_aigen.data.audit.facts import facts_of
    from robustbench_aigen.data.near_duplicates import fingerprint
    from robustbench_aigen.numerics.decoding import decode

    problems = []
    for read in (facts_of, decode, fingerprint):
        try:
            read(content)
        except UnreadableImageError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _saved(format_: str, mode: str, **options: object) -> bytes:
    levels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    buffer = io.BytesIO()
    image = Image.fromarray(levels)
    image = image.convert("L").convert("I").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def _png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = b"".join(side.to_bytes(4, "big") for side in (width, height)) + bytes([depth, colour, 0, 0, 0])
    inner = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in inner)


def _seeds(folder: Path) -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "camera"
    found: list[bytes] = []
    for format_, modes in _FORMATS.items():
        for mode in modes:
            try:
                found.append(_saved(format_, mode))
            except (OSError, KeyError, ValueError):  # This Pillow has no such codec.
                continue
    found += [_saved("JPEG", "RGB", exif=exif, progressive=True), _saved("PNG", "RGB", exif=exif)]
    found += [_saved("WEBP", "RGB", exif=exif), _saved("TIFF", "RGB", exif=exif)]
    found += [
        _saved("TIFF", "RGB", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    ]
    frames = [Image.new("L", (5, 4), shade) for shade in range(5)]
    for format_ in ("GIF", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, format_, save_all=True, append_images=frames[1:])
        found.append(buffer.getvalue())
    bomb = zlib.compress(bytes(2**26), 9)
    found += [
        _png(7000, 7000, 8, 2, (b"IDAT", bomb)),
        _png(7000, 7000, 16, 0, (b"IDAT", bomb)),
        _png(7072, 7072, 8, 6, (b"IDAT", bomb)),
        _png(2**31 - 1, 1, 8, 2, (b"IDAT", bomb)),
        _png(4, 4, 8, 2, (b"zTXt", b"a\0\0" + bomb), (b"IDAT", bomb)),
        _png(4, 4, 8, 2, (b"iTXt", b"a\0\1\0\0\0" + bomb), (b"IDAT", bomb)),
        _png(4, 4, 8, 2, (b"iCCP", b"a\0\0" + bomb), (b"IDAT", bomb)),
    ]
    # The first byte is what mutations keep: a file's own would be lost less often than it should be.
    return found


def _structured(seeds: list[bytes]) -> "SearchStrategy[bytes]":
    from hypothesis import strategies as st

    kinds = st.sampled_from(
        [b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"pHYs"]
    )
    inner = st.one_of(st.binary(max_size=80), st.binary(max_size=2000).map(zlib.compress))
    chunks = st.lists(st.tuples(kinds, inner), max_size=5)

    def drawn(width: int, height: int, depth: int, colour: int, parts: list[tuple[bytes, bytes]]) -> bytes:
        return _png(width, height, depth, colour, *parts)

    pngs = st.builds(
        drawn, st.sampled_from(_SIDES), st.sampled_from(_SIDES), st.sampled_from([1, 2, 4, 8, 16, 3]),
        st.sampled_from([0, 2, 3, 4, 6, 5]), chunks,
    )  # fmt: skip

    def changed(content: bytes, draw: random.Random) -> bytes:
        return content[:1] + mutated(content, seeds, draw, len(content) + 4096)[1:]

    edits = st.builds(changed, one_of_many(seeds), draws())
    return st.one_of(pngs, edits, edits)


LOADER = Loader("image", _load, _seeds, _structured, errors=(UnreadableImageError,))
