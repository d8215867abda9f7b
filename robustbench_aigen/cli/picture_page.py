"""``robust-aigen app``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.plugin_option import Plugins


def app(
    detectors: Annotated[
        list[str] | None,
        typer.Argument(help="Detectors on offer, as for explain; by default those that are shipped."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 7860,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than 127.0.0.1 let other machines use the page.")
    ] = "127.0.0.1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    _plugin: Plugins = None,
) -> None:
    """Serve a local page: drop a picture, choose detectors, attack and process the picture, see scores and maps.

    Every view comes with the scenario that gives the same scores. The page needs no network. It ends with Ctrl-C.
    """
    import tempfile
    from pathlib import Path

    from robustbench_aigen.app.page import PicturePage, serve
    from robustbench_aigen.detectors.shipped import shipped_detectors
    from robustbench_aigen.numerics.precision import resolve_device

    resolve_device(device)
    with tempfile.TemporaryDirectory() as folder:
        page = PicturePage(detectors or [*shipped_detectors()], Path(folder), device, trust_code=trust_code)
        for name in detectors or []:
            # A wrong name is refused here, and not when it is chosen.
            page.load(name)
        serve(page, host, port, told=lambda address: say(f"open {address}; Ctrl-C ends it"))
