"""The views as files: everything of a page in one archive, which is a scenario with its data."""

import io
import zipfile

from PIL import Image

from robustbench_aigen.app.uploads import Upload
from robustbench_aigen.app.views import Levels, Views

SCENARIO = "picture.yaml"


def archive(upload: Upload, views: Views) -> bytes:
    """Return a ZIP file with the scenario, the picture where the scenario wants it, and all views as PNGs.

    ``robust-aigen run picture.yaml`` in the unpacked folder gives the scores of the page.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(SCENARIO, views.scenario)
        file.writestr(views.picture, upload.encoded)
        for number, each in enumerate(views.detectors, 1):
            folder = f"views/{number}-{_plain(each.detector)}"
            for view in each.views:
                file.writestr(f"{folder}/{view.pipeline}.png", png(view.levels))
                if view.overlay is not None:
                    file.writestr(f"{folder}/{view.pipeline}-map.png", png(view.overlay))
            if each.difference is not None:
                file.writestr(f"{folder}/difference.png", png(each.difference))
    return buffer.getvalue()


def png(levels: Levels) -> bytes:
    """Return a picture H×W×3 uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.@+" else "_" for letter in name)
