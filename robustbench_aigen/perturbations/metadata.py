"""Metadata of a camera: the EXIF of a photo, for detectors that read files."""

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational
from torch import Tensor

from robustbench_aigen.imports import import_function
from robustbench_aigen.stages.recipe import Operation


class _Camera(NamedTuple):
    """A camera: names as its files have them, f-number, focal length in mm, and that of a 35 mm film if it is written."""

    make: str
    model: str
    software: str | None
    lens_make: str | None
    lens: str
    f_number: float
    focal_length: float
    on_35_mm: int | None


_CAMERAS = {
    "canon_eos_r6": _Camera("Canon", "Canon EOS R6", None, None, "RF50mm F1.8 STM", 2.8, 50.0, None),
    "iphone_13": _Camera(
        "Apple", "iPhone 13", "15.4.1", "Apple", "iPhone 13 back dual wide camera 5.1mm f/1.6", 1.6, 5.1, 26
    ),
    "pixel_7": _Camera(
        "Google", "Pixel 7", None, "Google", "Pixel 7 back camera 6.81mm f/1.85", 1.85, 6.81, 24
    ),
}
_FIRST_DAY, _DAYS = datetime(2023, 1, 1), 700  # noqa: DTZ001  EXIF keeps the zone in a tag of its own.
"""Photos are dated on one of so many days, between 8 and 18 o'clock."""
_SPEEDS = (50, 60, 80, 100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000)
"""Exposure times: one second divided by these."""
_ISO = (100, 125, 160, 200, 250, 320, 400, 500, 640, 800)


def camera_metadata(levels: Tensor, *, camera: str) -> Tensor:
    """Return the images unchanged: :func:`camera_exif` is for their files."""
    del camera
    return levels


def camera_exif(levels: Tensor, *, camera: str) -> bytes:
    """Return the EXIF of a photo by a camera: tags of Exif 2.32, sections 4.6.4 and 4.6.5.

    Exposure time, sensitivity and date follow from a hash of the pixels, so that an image has the same values in every
    file. There are no maker notes, no thumbnail and no position.

    Parameters
    ----------
    levels
        3×H×W uint8.
    camera
        Name of the camera, a choice of the recipe.
    """
    made, (height, width) = _CAMERAS[camera], levels.shape[1:]
    content = f"{camera} {height} {width} ".encode() + levels.cpu().contiguous().numpy().tobytes()
    drawn = np.random.default_rng(list(sha256(content).digest()))
    speed, iso = int(drawn.choice(_SPEEDS)), int(drawn.choice(_ISO))
    taken = _FIRST_DAY + timedelta(
        days=int(drawn.integers(_DAYS)), seconds=int(drawn.integers(8 * 3600, 18 * 3600))
    )
    moment = taken.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif.update(
        {
            Base.Make: made.make, Base.Model: made.model, Base.Orientation: 1, Base.XResolution: IFDRational(72),
            Base.YResolution: IFDRational(72), Base.ResolutionUnit: 2, Base.DateTime: moment,
            Base.YCbCrPositioning: 1,
        }
    )  # fmt: skip
    if made.software is not None:
        exif[Base.Software] = made.software
    photo = exif.get_ifd(IFD.Exif)
    photo.update(
        {
            Base.ExposureTime: IFDRational(1, speed), Base.FNumber: IFDRational(round(100 * made.f_number), 100),
            Base.ExposureProgram: 2, Base.ISOSpeedRatings: iso, Base.ExifVersion: b"0232",
            Base.DateTimeOriginal: moment, Base.DateTimeDigitized: moment, Base.OffsetTimeOriginal: "+00:00",
            Base.SubsecTimeOriginal: f"{drawn.integers(1000):03}", Base.ExposureBiasValue: IFDRational(0),
            Base.MeteringMode: 5, Base.Flash: 16, Base.FocalLength: IFDRational(round(100 * made.focal_length), 100),
            Base.ColorSpace: 1, Base.ExifImageWidth: width, Base.ExifImageHeight: height, Base.ExposureMode: 0,
            Base.WhiteBalance: 0, Base.SceneCaptureType: 0, Base.LensModel: made.lens,
        }
    )  # fmt: skip
    if made.lens_make is not None:
        photo[Base.LensMake] = made.lens_make
    if made.on_35_mm is not None:
        photo[Base.FocalLengthIn35mmFilm] = made.on_35_mm
    return exif.tobytes()


def exif_of(operation: Operation) -> Callable[[Tensor], bytes] | None:
    """Return the function from 3×H×W uint8 to the EXIF that an operation writes into the file; None if it writes none."""
    if operation.recipe.exif is None:
        return None
    function, given = import_function(operation.recipe.exif), operation.recipe.arguments(operation.params)
    return lambda levels: function(levels, **given)
