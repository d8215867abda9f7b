"""A real server on the loopback interface that scores images, counts what it is asked, and fails on demand."""

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from starlette.requests import Request

_MAKE = 271
"""EXIF tag of the maker of a camera."""


def checkerboard_score(levels: np.ndarray) -> float:
    """The probability of fake by the faint checkerboard of conftest.write_image."""
    rows, columns = np.indices(levels.shape[:2])
    signs = (((rows + columns) % 2) * 2 - 1)[..., None]
    return float(1 / (1 + np.exp(-((levels.astype(float) * signs).mean() - 3))))


class Service:
    """What the server was asked, and how it answers next.

    ``faults`` are answers for the next requests: a status, ``(status, headers)``, ``(status, headers, body)``, ``"cut"``
    for half an answer, ``"drip"`` for single bytes every 0.05 seconds, or a number of seconds to sleep before the answer. ``answer`` makes the JSON of a score. The first answer waits, at most
    20 seconds, until ``together`` requests have been open at once. ``camera_score`` is the score of a file whose EXIF names
    a camera, where it is given.
    """

    def __init__(self) -> None:
        self.reset()
        self.address = ""

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.times: list[float] = []
        self.faults: deque[Any] = deque()
        self.answer: Callable[[float], Any] = lambda score: {"result": {"score": score}}
        self.delay = 0.0
        self.together = 0
        self.now, self.most_at_once = 0, 0
        self.requests: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.camera_score: float | None = None

    @property
    def total(self) -> int:
        return self.asked.total()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        with self.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
            self.times.append(time.monotonic())
            fault = self.faults.popleft() if self.faults else None
        try:
            await self._answer(request, send, fault)
        finally:
            with self.lock:
                self.now -= 1

    async def _wait(self) -> None:
        import asyncio

        if self.delay:
            await asyncio.sleep(self.delay)
        # A busy machine may send the next request late.
        for _ in range(200):
            if self.total < 2 or self.most_at_once >= self.together:
                break
            await asyncio.sleep(0.1)

    async def _answer(self, request: Request, send: Any, fault: Any) -> None:
        import asyncio

        kind = request.headers.get("content-type", "")
        note: dict[str, Any] = {
            "path": request.url.path,
            "query": str(request.url.query),
            "method": request.method,
        }
        if kind.startswith("multipart/"):
            form = await request.form()
            note["fields"] = {name: value for name, value in form.items() if isinstance(value, str)}
            name, file = next((name, value) for name, value in form.items() if not isinstance(value, str))
            note |= {"name": name, "type": file.content_type}
            data = await file.read()
        elif kind.startswith("application/json"):
            note["json"] = json.loads(await request.body())
            data = base64.b64decode(_longest(note["json"]).partition(";base64,")[2] or _longest(note["json"]))
        else:
            data = await request.body()
            note["type"] = kind
        image = Image.open(io.BytesIO(data))
        levels = np.asarray(image.convert("RGB"))
        digest = hashlib.sha256(f"{levels.shape}".encode() + levels.tobytes()).hexdigest()
        note |= {"image": digest, "format": image.format, "headers": dict(request.headers), "levels": levels}
        note |= {"file": data, "camera": dict(image.getexif()).get(_MAKE)}
        has_camera = self.camera_score is not None and note["camera"] is not None
        with self.lock:
            self.asked[digest] += 1
            self.requests.append(note)
        await self._wait()
        status, headers, body = (
            200,
            dict(self.headers),
            json.dumps(self.answer(self.camera_score if has_camera else checkerboard_score(levels))).encode(),
        )
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        elif isinstance(fault, int):
            status, body = fault, b'{"error": "no"}'
        elif isinstance(fault, tuple):
            status, headers, *rest = fault
            body = rest[0] if rest else b'{"error": "no"}'
        length = len(body) + (50 if fault == "cut" else 0)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw += [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if fault == "drip":
            for place in range(len(body)):
                await send({"type": "http.response.body", "body": body[place : place + 1], "more_body": True})
                await asyncio.sleep(0.05)
            body = b""
        await send({"type": "http.response.body", "body": body, "more_body": fault == "cut"})
        if status == 200 and fault != "cut":
            with self.lock:
                self.finished[digest] += 1


def _longest(value: Any) -> str:
    if isinstance(value, str):
        return value
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return max(map(_longest, below), key=len, default="")


@contextmanager
def serving(service: Service, host: str = "127.0.0.1") -> Iterator[Service]:
    """Serve in a thread until the block ends."""
    config = uvicorn.Config(service, host=host, port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    service.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        yield service
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
