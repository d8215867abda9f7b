"""Images below a folder, found by suffix or content."""
# ruff: noqa: PTH116, PTH122, PTH123  Paths are text here: a folder may have 100,000 files.

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from robustbench_aigen.data.file_search import Walk, in_order
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jfif", ".mpo"}
)
"""Suffixes of images; an unreadable file with such a suffix is reported."""
_ANNOTATIONS = frozenset(
    [
        ".txt",
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".xml",
        ".yaml",
        ".yml",
        ".md",
        ".html",
        ".htm",
        ".log",
        ".py",
        ".ipynb",
        ".sh",
        ".pdf",
        ".npy",
        ".npz",
        ".pt",
        ".pth",
        ".pkl",
        ".mat",
        ".parquet",
        ".arrow",
        ".tar",
        ".zip",
        ".gz",
        ".h5",
        ".hdf5",
        ".mp4",
        ".avi",
        ".mov",
        ".wav",
        ".mp3",
        ".safetensors",
        ".onnx",
        ".bin",
        ".db",
        ".ini",
    ]
)
"""Suffixes of files that are seldom images: of many such files a sample is read, and all files if the sample has an image."""
_LOOKED_INTO = 32
_RAW = frozenset([".nef", ".cr2", ".cr3", ".dng", ".arw", ".orf", ".rw2", ".pef", ".raf", ".srw"])
"""Raw photographs: Pillow would read the preview in them."""
_HEAD = 32
_CERTAIN = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\xff\x4f\xff\x51",
)
_LIKELY = (b"BM", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF", b"8BPS", b"DDS ", b"icns", b"qoif")
"""Ambiguous signatures, for which Pillow reads the file."""
_FOREIGN = (b"\xff\x0a", b"\0\0\0\x0cJXL ", b"FUJIFILMCCD-RAW")
_FOREIGN_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"crx "})


class ImageFiles(NamedTuple):
    """Images below a folder, sorted.

    ``same`` has, for files that stand at several places through links, the places of each: indices into ``files``.
    """

    files: list[Path]
    same: list[list[int]]
    notices: list[str]


def find_images(folder: Path) -> ImageFiles:
    """Find the images below a folder at any depth, at each place that links give them.

    Raises
    ------
    UserError
        If there are no images, or a folder cannot be read.
    """
    walk = Walk(folder)
    linked = {file.path for file in walk.files if file.is_linked}
    listed: list[str] = []
    others: dict[str, list[str]] = defaultdict(list)
    for file in walk.files:
        suffix = os.path.splitext(file.name)[1].lower()
        if suffix in SUFFIXES:
            listed.append(file.path)
        else:
            others[suffix].append(file.path)
    notices: list[str] = []
    kinds = {suffix: _sorted_out(suffix, paths) for suffix, paths in others.items()}
    found = [path for images, _ in kinds.values() for path in images]
    if found:
        counts = {suffix: len(images) for suffix, (images, _) in kinds.items()}
        notices.append(
            f"{counted(len(found), 'image is', 'images are')} without a usual suffix, recognised by content: {_counted(counts)}"
        )
    unread = {suffix: count for suffix, (_, count) in kinds.items() if count}
    if unread:
        notices.append(
            f"{counted(sum(unread.values()), 'picture is', 'pictures are')} left out, in formats that Pillow cannot read: {_counted(unread)}"
        )
    notices += _of_walk(walk)
    files = in_order([*listed, *found])
    if not files:
        raise UserError(
            f"no images in {folder}",
            hint="; ".join(notices)
            or f"looked for {', '.join(sorted(SUFFIXES))}, and for content of images, at any depth",
        )
    return ImageFiles(files, _same(files, linked), notices)


def _sorted_out(suffix: str, paths: list[str]) -> tuple[list[str], int]:
    """Return the images among files that are not called so, and how many pictures Pillow cannot read."""
    if suffix in _ANNOTATIONS and len(paths) > _LOOKED_INTO:
        some = sorted(paths)[:: -(-len(paths) // _LOOKED_INTO)]
        if not any(_content(path) for path in some):
            return [], 0
    found = {path: _content(path) for path in paths}
    return [path for path, kind in found.items() if kind == "image"], sum(
        kind == "foreign" for kind in found.values()
    )


def _content(path: str) -> str:
    """Tell from its first bytes whether a file is an ``image``, a ``foreign`` one that Pillow cannot read, or neither."""
    try:
        with open(path, "rb", buffering=0) as stream:
            head = stream.read(_HEAD)
    except OSError:
        return ""
    suffix = os.path.splitext(path)[1].lower()
    is_foreign = head.startswith(_FOREIGN) or (head[4:8] == b"ftyp" and head[8:12] in _FOREIGN_BRANDS)
    if is_foreign or (suffix in _RAW and head[:4] in (b"II*\0", b"MM\0*", b"IIRO", b"IIU\0")):
        return "foreign"
    if head.startswith(_CERTAIN) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head.startswith(_LIKELY) or head[4:8] in (b"jP  ", b"ftyp") or suffix in Image.registered_extensions():
        return "image" if _opens(path) else ""
    return ""


def _opens(path: str) -> bool:
    try:
        with Image.open(path):
            return True
    except Exception:  # noqa: BLE001  Pillow's readers raise many kinds of errors.
        return False


def _of_walk(walk: Walk) -> list[str]:
    notices = []
    hidden = {place: sum(counts[suffix] for suffix in SUFFIXES) for place, counts in walk.hidden.items()}
    hidden = {place: count for place, count in hidden.items() if count}
    if hidden:
        notices.append(
            f"{counted(sum(hidden.values()), 'image is', 'images are')} left out, in hidden folders or files: {_counted(hidden)}"
        )
    if walk.loops:
        notices.append(
            f"{counted(len(walk.loops), 'link is', 'links are')} not followed, back to a folder above: {_shown(walk.loops)}"
        )
    if walk.dangling:
        notices.append(
            f"{counted(len(walk.dangling), 'link leads', 'links lead')} to nothing: {_shown(walk.dangling)}"
        )
    return notices


def _same(files: list[Path], linked: set[str]) -> list[list[int]]:
    """Group the places of one file: of those that a link leads to, and of those with several names."""
    identities: list[tuple[int, int] | None] = []
    several: set[tuple[int, int]] = set()
    for file in files:
        try:
            facts = os.stat(file)
        except OSError:
            identities.append(None)
            continue
        identity = (facts.st_dev, facts.st_ino) if facts.st_ino else None
        identities.append(identity)
        if identity is not None and (facts.st_nlink > 1 or str(file) in linked):
            several.add(identity)
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    if several:
        for index, identity in enumerate(identities):
            if identity in several:
                places[identity].append(index)
    return [group for group in places.values() if len(group) > 1]


def _counted(counts: dict[str, int]) -> str:
    parts = [
        f"{name or 'no suffix'} {count}"
        for name, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))
        if count
    ]
    return ", ".join(parts[:5]) + (" …" if len(parts) > 5 else "")


def _shown(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (" …" if len(ordered) > 3 else "")
