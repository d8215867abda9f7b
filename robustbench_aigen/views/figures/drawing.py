"""Style and saving of figures: colour-blind safe, readable in grey, on paper and on a dark page."""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from robustbench_aigen.errors import shortened
from robustbench_aigen.views.figure import Drawn

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "--")
MOST_DETECTORS = 6
"""Detectors in a grid of panels; curves and heat maps have all of them."""
MOST_PIPELINES = 5
"""Pipelines in a grid of panels."""
MOST_ROWS = 24
"""Pipelines below one another, in bars and in a heat map."""
OF_SWEEPS = "for a sweep, the value with the largest drop"

INK, PAPER, GRID, FAINT = "#1b1f23", "#fefefe", "#d4d8dd", "#868c93"
"""Text and axes, background, grid, lines for orientation. Nothing else in a figure has these very colours, so that an
embedded SVG can turn them around on a dark page."""
_HEAT = mpl.colormaps["cividis"]
_ON_DARK = {INK: "#e6e8ea", PAPER: "#16191d", GRID: "#3a4047", FAINT: "#9aa1a8", "#0173b2": "#3d9bdc"}
"""What they turn into; the darkest colour of the palette becomes lighter as well."""


def first_of(most: int, count: int, what: str) -> str:
    """Return a text if only some are shown; else empty."""
    return f" The first {most} of {count} {what}." if count > most else ""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of reports."""
    with (
        warnings.catch_warnings(),
        mpl.rc_context(
            {
                **sns.axes_style("whitegrid"),
                "font.size": 9,
                "axes.titlesize": 9,
                "axes.labelsize": 9,
                "xtick.labelsize": 8,
                "ytick.labelsize": 8,
                "legend.fontsize": 8,
                "text.color": INK,
                "axes.labelcolor": INK,
                "axes.titlecolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "axes.edgecolor": FAINT,
                "grid.color": GRID,
                "axes.facecolor": PAPER,
                "figure.facecolor": PAPER,
                "savefig.facecolor": PAPER,
                "legend.facecolor": PAPER,
                "legend.edgecolor": GRID,
                "hatch.linewidth": 0.6,
                "pdf.fonttype": 42,
                "svg.hashsalt": "robust-aigen",
                "image.composite_image": False,
            }
        ),
    ):
        # A letter that the font lacks is a box in the figure; tables and page have the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def save(figure: Figure, folder: Path, name: str, caption: str) -> Drawn:
    """Write ``NAME.pdf`` and ``NAME.png``; the embedded copy is an SVG that follows the reader's colour scheme."""
    save_files(figure, folder, name)
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    svg = _shortened(_for_both_schemes(sink.getvalue()))
    return Drawn(name, caption, "data:image/svg+xml," + quote(svg, safe=" !$&'()*+,-./:;=?@[]_~"))


def save_files(figure: Figure, folder: Path, name: str) -> None:
    """Write ``NAME.pdf`` and ``NAME.png``."""
    # It is laid out once, and not for every file.
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    # Without a date in it the same table gives the same file.
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    painted = io.BytesIO()
    figure.savefig(painted, format="png", dpi=120)
    in_palette(Image.open(painted)).save(folder / f"{name}.png", optimize=True)


def in_palette(painted: Image.Image) -> Image.Image:
    """Return a drawing with its 256 most telling colours, in which it takes a third of the space.

    Drawings have few colours beside the shades at the edges of letters; pictures and photographs are left out.
    """
    return painted.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def _for_both_schemes(svg: str) -> str:
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in _ON_DARK.items()
        for what in ("fill", "stroke")
    )
    sheet = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + sheet, svg, count=1)


def _shortened(svg: str) -> str:
    """Round coordinates to hundredths of a point and take out line ends: a third of the file."""

    def round_numbers(match: re.Match[str]) -> str:
        return re.sub(
            r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), match[0]
        )

    svg = re.sub(r'\b(?:d|points|x|y)="[^"]*"|translate\([^)]*\)', round_numbers, svg)
    return re.sub(r"\s+", " ", svg)


def annotated_heat_map(axis: Axes, table: pd.DataFrame, digits: int, size: int) -> None:
    """Draw a table of per cent as a heat map, each number in black or white, whichever is easier to read."""
    sns.heatmap(
        table,
        ax=axis,
        vmin=0,
        vmax=100,
        cmap=_HEAT,
        annot=True,
        fmt=f".{digits}f",
        annot_kws={"size": size},
        cbar=False,
        linewidths=0.5,
    )
    axis.set_facecolor("none")
    # seaborn goes to black too late for grey-yellow; here the two are equally far at the luminance where it changes.
    for text in axis.texts:
        text.set_color("#000000" if luminance(_HEAT(float(text.get_text()) / 100)) > 0.179 else "#ffffff")


def luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB colour in [0, 1], as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def plain(name: object) -> str:
    """Return a name as a label: not read as a formula, not left out of a legend, not longer than a panel."""
    text = shortened(" ".join(str(name).split()), 44).replace("$", r"\$")
    return f"\u200a{text}" if text.startswith("_") else text


def wrapped(name: object, width: int) -> str:
    """Return a name as a label of several lines, for the side of a small panel."""
    return "\n".join(textwrap.wrap(plain(name), width))


def colours(count: int) -> list[tuple[float, float, float]]:
    """Return ``count`` colours that colour-blind readers can distinguish, repeated after ten."""
    return list(sns.color_palette("colorblind", count))
