"""The page of ``robust-aigen app``, by gradio: controls on one side, views on the other. It computes nothing itself."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigen.app.archive import archive
from robustbench_aigen.app.gallery import gallery
from robustbench_aigen.app.settings import (
    ATTACKS,
    MOST_EPS,
    MOST_NOISE,
    MOST_STEPS,
    NO_MAP,
    SMALLEST_SIZE,
    PictureSettings,
)
from robustbench_aigen.app.uploads import read_upload
from robustbench_aigen.app.views import Views, compute_views
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.mapping import METHODS
from robustbench_aigen.imports import import_library
from robustbench_aigen.scenario.words import shell_word
from robustbench_aigen.views.formats.markdown import escaped, markdown_frame

_KEPT = 20
"""Archives that stay downloadable."""
_MOST_BYTES = "256mb"
_TITLE = "robust-aigen: one picture"


class PicturePage:
    """What the page calls: settings in, views out; detectors are loaded when they are first chosen.

    Parameters
    ----------
    names
        The detectors on offer, as on a command line.
    folder
        A folder for downloads, which the caller removes.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    trust_code
        Whether files that can run code may be loaded.
    """

    def __init__(self, names: Sequence[str], folder: Path, device: str, *, trust_code: bool) -> None:
        self.names, self._folder, self._device, self._trust_code = list(names), folder, device, trust_code
        self._loaded: dict[str, Detector] = {}
        self._archives: list[Path] = []

    def show(
        self,
        file: str | None,
        label: str,
        chosen: Sequence[str],
        attack: str,
        eps: float,
        steps: float,
        size: float,
        noise: float,
        quality: float,
        method: str,
    ) -> tuple[str, str, str, str, str | None]:
        """Return a message or the table of scores, the pictures, the scenario, the commands and the archive."""
        try:
            if file is None:
                return "Drop a picture.", "", "", "", None
            settings = PictureSettings(
                label, attack, eps, int(steps), size / 100, noise, int(quality) or None, method
            )
            upload = read_upload(file)
            with tempfile.TemporaryDirectory() as folder:
                views = compute_views(
                    upload, {name: self.load(name) for name in chosen}, settings, Path(folder)
                )
        except UserError as error:
            said = f"{error.message}: {error.hint}" if error.hint else error.message
            return f"**{escaped(said)}**", "", "", "", None
        return (
            scores(views),
            gallery(views),
            views.scenario,
            views.commands,
            self._kept(archive(upload, views)),
        )

    def load(self, name: str) -> Detector:
        """Return a detector of the page, loaded at its first use.

        Raises
        ------
        UserError
            If it is not on offer, or cannot be loaded.
        """
        if name not in self.names:
            raise UserError(f"'{name}' is not on offer", hint=f"robust-aigen app {shell_word(name)}")
        if name not in self._loaded:
            self._loaded[name] = load_detector(name, device=self._device, trust_code=self._trust_code)
        return self._loaded[name]

    def _kept(self, content: bytes) -> str:
        """Write an archive, remove the oldest one, and return the path."""
        place = Path(tempfile.mkdtemp(dir=self._folder)) / "picture.zip"
        place.write_bytes(content)
        self._archives.append(place)
        while len(self._archives) > _KEPT:
            self._archives.pop(0).unlink(missing_ok=True)
        return str(place)


def scores(views: Views) -> str:
    """Return the table of scores in Markdown, and the notes below."""
    rows = [
        {
            "detector": each.detector,
            **{view.pipeline: f"{view.score:.4f} {view.verdict}" for view in each.views},
        }
        for each in views.detectors
    ]
    notes = [f"- {escaped(f'{each.detector}: {note}')}" for each in views.detectors for note in each.notes]
    explained = "Scores are probabilities of fake; the threshold is 0.5."
    return "\n\n".join([markdown_frame(pd.DataFrame(rows)), explained, "\n".join(notes)])


def build(page: PicturePage) -> Any:
    """Return the page as blocks of gradio.

    Raises
    ------
    UserError
        If gradio is not installed.
    """
    gradio = gradio_without_network()
    start = PictureSettings()
    with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gradio.Markdown(f"# {_TITLE}\nThe picture stays on this machine.")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                file = gradio.File(label="Picture", file_count="single", type="filepath", elem_id="picture")
                label = gradio.Radio(
                    [("AI-generated", "fake"), ("real", "real")], value=start.label, label="The picture is"
                )
                chosen = gradio.CheckboxGroup(page.names, value=page.names[:1], label="Detectors")
                attack = gradio.Dropdown(list(ATTACKS), value=start.attack, label="Attack")
                sliders = [
                    gradio.Slider(0, MOST_EPS, start.eps, step=0.5, label="eps (of 255)", elem_id="eps"),
                    gradio.Slider(1, MOST_STEPS, start.steps, step=1, label="Steps of PGD"),
                    gradio.Slider(100 * SMALLEST_SIZE, 100, 100, step=5, label="Size (%)"),
                    gradio.Slider(0, MOST_NOISE, 0, step=1, label="Noise (of 255)"),
                    gradio.Slider(0, 100, 0, step=1, label="JPEG quality (0: no JPEG)", elem_id="quality"),
                ]
                method = gradio.Dropdown([NO_MAP, *METHODS], value=start.method, label="Map")
                button = gradio.Button("Show", variant="primary", elem_id="show")
            with gradio.Column(scale=3, min_width=320):
                message = gradio.Markdown("Drop a picture.", elem_id="message")
                pictures = gradio.HTML(elem_id="views")
                scenario = gradio.Code(
                    label="The scenario with the same scores", language="yaml", elem_id="scenario"
                )
                commands = gradio.Code(label="The same maps", language="shell", lines=2, elem_id="commands")
                download = gradio.File(label="All of it: scenario, picture and views", elem_id="download")
        gradio.on(
            [button.click, file.upload, *(slider.release for slider in sliders)],
            page.show,
            [file, label, chosen, attack, *sliders, method],
            [message, pictures, scenario, commands, download],
            concurrency_limit=1,
            show_progress="minimal",
        )
    return blocks


def gradio_without_network() -> Any:
    """Import gradio without its requests to other machines: no analytics, no search for a newer version.

    Raises
    ------
    UserError
        If gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return import_library("gradio", extra="app", what="app")


def serve(page: PicturePage, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve the page until it is stopped.

    Parameters
    ----------
    page
        What the page calls.
    host, port
        Where it listens.
    told
        Called with the address once the page can be opened.

    Raises
    ------
    UserError
        If gradio is not installed, or the port is taken.
    """
    blocks = started(page, host, port)
    try:
        told(str(blocks.local_url))
        while True:
            time.sleep(3600)
    finally:
        blocks.close(verbose=False)


def started(page: PicturePage, host: str, port: int) -> Any:
    """Return the blocks of a page that is being served by other threads; ``close`` ends it.

    Raises
    ------
    UserError
        As :func:`serve` does.
    """
    blocks = build(page)
    _check_port(host, port)
    blocks.launch(
        server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, show_error=False, ssr_mode=False,
        prevent_thread_lock=True, footer_links=[], pwa=False, mcp_server=False, enable_monitoring=False,
        max_file_size=_MOST_BYTES,
    )  # fmt: skip
    return blocks


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {host} cannot be used: {error.strerror}", hint="choose another with --port"
            ) from error
