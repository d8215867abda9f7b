"""Metadata of an image file about its origin."""

import re
from typing import NamedTuple

from PIL import Image

_SOFTWARE_TAG, _ORIENTATION_TAG = 0x0131, 0x0112
_CREATOR_TOOL = re.compile(rb"CreatorTool(?:=[\"']|>)([^\"'<]+)")
_LONGEST = 40


class Metadata(NamedTuple):
    """Which metadata a file has, and the software that it names.

    ``text`` are PNG's text chunks (generators leave their prompt there), ``comment`` is a JPEG's or a GIF's, ``c2pa`` a
    manifest of content credentials.
    """

    exif: bool
    xmp: bool
    icc: bool
    text: bool
    comment: bool
    c2pa: bool
    software: str | None


def read_metadata(image: Image.Image, encoded: bytes) -> Metadata:
    """Read the metadata of an opened image, before its pixels are decoded."""
    info = image.info
    segments: list[tuple[str, bytes]] = getattr(image, "applist", None) or []
    xmp = _xmp(info, segments)
    texts = (
        {str(name): str(value) for name, value in info.items() if isinstance(value, str)}
        if image.format == "PNG"
        else {}
    )
    return Metadata(
        exif="exif" in info,
        xmp=bool(xmp),
        icc="icc_profile" in info,
        text=any(name != "XML:com.adobe.xmp" for name in texts),
        comment="comment" in info,
        c2pa=_has_c2pa(image, encoded, segments),
        software=_software(image, texts, xmp),
    )


def _xmp(info: dict[str | tuple[int, int], object], segments: list[tuple[str, bytes]]) -> bytes:
    found = info.get("xmp", b"")
    packets = [found.encode() if isinstance(found, str) else found] if found else []
    packets += [data for name, data in segments if name == "APP1" and data.startswith(b"http://ns.adobe.com")]
    return b"".join(packet for packet in packets if isinstance(packet, bytes))


def _software(image: Image.Image, texts: dict[str, str], xmp: bytes) -> str | None:
    """The program that wrote a file, else the text chunk that a generator writes."""
    names = [str(_exif_tag(image, _SOFTWARE_TAG) or "").strip("\0"), texts.get("Software", "")]
    named = _CREATOR_TOOL.search(xmp)
    names.append(named.group(1).decode("utf-8", "replace") if named else "")
    # Stable Diffusion web UI and ComfyUI name themselves by the chunks they write.
    names += [f"text '{name}'" for name in ("parameters", "prompt", "workflow") if name in texts]
    return next((name for text in names if (name := " ".join(text.split())[:_LONGEST])), None)


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether EXIF says that an opened image is to be turned by a quarter."""
    return _exif_tag(image, _ORIENTATION_TAG) in (5, 6, 7, 8)


def _exif_tag(image: Image.Image, tag: int) -> object:
    if "exif" not in image.info:
        return None
    try:
        return image.getexif().get(tag)
    except Exception:  # noqa: BLE001  Damaged EXIF raises struct's, Pillow's and other errors; it says nothing.
        return None


def _has_c2pa(image: Image.Image, encoded: bytes, segments: list[tuple[str, bytes]]) -> bool:
    """Look where the C2PA specification (2.1, A.3) puts a manifest store in each format."""
    if image.format in ("JPEG", "MPO"):
        return any(name == "APP11" and b"c2pa" in data for name, data in segments)
    if image.format == "PNG":
        return any(chunk[0] == b"caBX" for chunk in getattr(image, "private_chunks", ()))
    if image.format == "WEBP":
        return b"C2PA" in _riff_chunks(encoded)
    return False


def _riff_chunks(encoded: bytes) -> set[bytes]:
    names, place = set(), 12
    while place + 8 <= len(encoded):
        names.add(encoded[place : place + 4])
        length = int.from_bytes(encoded[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return names
