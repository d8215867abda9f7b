"""The pictures of a page with their captions, as HTML that needs nothing else."""

import base64
import html
import io

from PIL import Image

from robustbench_aigen.app.views import Levels, Views

_SMALLEST, _LARGEST = 192, 1024
"""Sides between which a picture is shown on a page."""
_FIGURE = (
    '<figure style="margin:0"><img alt="{caption}" src="data:image/png;base64,{data}" '
    'style="width:100%;image-rendering:{rendering}"><figcaption style="font-size:.85em">{caption}</figcaption></figure>'
)
_GRID = '<div style="display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(150px,1fr))">{figures}</div>'


def captioned(views: Views) -> list[tuple[Image.Image, str]]:
    """Return the pictures of a page with their captions; small ones are enlarged by a whole factor, large ones reduced."""
    pictures = []
    for each in views.detectors:
        for view in each.views:
            said = f"score {view.score:.3f} ({view.verdict})"
            pictures.append((_shown(view.levels), f"{each.detector}, {view.pipeline}: {said}"))
            if view.overlay is not None:
                pictures.append((_shown(view.overlay), f"{each.detector}, {view.pipeline}: map"))
        if each.difference is not None:
            said = f"change × {each.amplification:.3g}, at most {each.linf:.3g}/255"
            pictures.append((_shown(each.difference), f"{each.detector}, {said}"))
    return pictures


def gallery(views: Views) -> str:
    """Return the pictures of a page as HTML; names are text in it, never markup."""
    figures = []
    for image, caption in captioned(views):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        figures.append(
            _FIGURE.format(
                caption=html.escape(caption),
                data=base64.b64encode(buffer.getvalue()).decode(),
                rendering="pixelated" if max(image.size) < 2 * _SMALLEST else "auto",
            )
        )
    return _GRID.format(figures="".join(figures))


def _shown(levels: Levels) -> Image.Image:
    image, longest = Image.fromarray(levels), max(levels.shape[:2])
    if longest > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
        return image
    factor = max(1, -(-_SMALLEST // longest))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
