"""The request for an image: its encoding, and the parts of the request around it."""

import base64
import io
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, features
from torch import Tensor

from robustbench_aigen.detectors.remote.credentials import Credentials
from robustbench_aigen.errors import Source
from robustbench_aigen.scenario.http_spec import HttpSpec, ImageSpec, named_texts, parameters


class SentImage(NamedTuple):
    """A 3×H×W uint8 image, and the EXIF of its file; empty for none."""

    levels: Tensor
    exif: bytes = b""

    @property
    def key(self) -> str:
        """The sha256 of levels and EXIF; not of a file."""
        content = self.levels.contiguous().numpy().tobytes()
        return sha256(f"{tuple(self.levels.shape)}".encode() + content + self.exif).hexdigest()


def encoded(sent: SentImage, spec: ImageSpec) -> bytes:
    """Return an image as a file; PNG and WebP are lossless."""
    image = Image.fromarray(np.ascontiguousarray(sent.levels.permute(1, 2, 0).numpy()))
    stream = io.BytesIO()
    options: dict[str, Any] = {"png": {}, "webp": {"lossless": True}, "jpeg": {"quality": spec.quality}}
    if sent.exif:
        options[spec.format]["exif"] = sent.exif
    image.save(stream, spec.format, **options[spec.format])
    return stream.getvalue()


def codec(spec: ImageSpec) -> str:
    """Return the version of a codec that decides the image that arrives; empty for lossless formats."""
    return f"jpeg={features.version_codec('jpg')}" if spec.format == "jpeg" else ""


def request_parts(spec: HttpSpec, credentials: Credentials, image: bytes) -> dict[str, Any]:
    """Return the arguments of :meth:`httpx.Client.stream` for the image's file."""
    mime = f"image/{spec.image.format}"
    headers = {name: credentials.filled(value) for name, value in spec.headers.items()}
    if spec.send == "multipart":
        files = {spec.field: (f"image.{spec.image.format}", image, mime)}
        return {"headers": headers, "files": files, "data": credentials.filled(spec.fields)}
    if spec.send == "json":
        text = base64.b64encode(image).decode()
        prefix = f"data:{mime};base64," if spec.data_url else ""
        # The image is filled in last: base64 holds no variables, and is long.
        body = credentials.filled(spec.fields)
        return {"headers": headers, "json": spec.put(body, prefix + text)}
    named = {name.lower() for name in headers}
    return {
        "headers": headers if "content-type" in named else {"Content-Type": mime, **headers},
        "content": image,
    }


def texts_with_variables(address: str, spec: HttpSpec) -> Iterator[tuple[str, str, Source | None]]:
    """Yield every text of a description that may name environment variables, with its name and its place."""
    for name, text in parameters(address):
        yield name, text, spec.where()
    for name, text in spec.headers.items():
        yield name, text, spec.where("headers", name)
    for name, value in spec.fields.items():
        for inner, text in named_texts(name, value):
            yield inner, text, spec.where("fields", name)
