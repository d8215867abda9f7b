"""``robust-aigen data``."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, print_table, say, say_notice
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from robustbench_aigen.data.preparing import Prepared


class Encoding(StrEnum):
    """Output formats of images."""

    png = "png"
    jpeg = "jpeg"


def prepare(
    src: Annotated[str, typer.Argument(help="A folder or file, or hf://org/name.")],
    out: Annotated[str, typer.Argument(help="The new folder.")],
    crop_bottom: Annotated[
        str | None, typer.Option(help="Crop this much from the lower edge: pixels (24) or per cent (8%).")
    ] = None,
    split_grid: Annotated[
        str | None, typer.Option(help="Then cut every image into a grid: rows x columns (2x2).")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Cut only images whose path below SRC matches this pattern: 'ai/grids/*'."),
    ] = None,
    splits: Annotated[
        str | None, typer.Option(help="Shares of train, val and test: 80/10/10, unless SRC has splits.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 42,
    encoding: Annotated[
        Encoding | None,
        typer.Option(
            "--format", help="Format of all images; by default png if anything is cut, else unchanged."
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Quality of --format jpeg; 95 unless given.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Crop watermarks, cut grids apart and make splits.

    Near-duplicates stay in one split. SRC is not changed.
    """
    from pathlib import Path

    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.data.preparing import Preparation
    from robustbench_aigen.data.preparing import prepare as prepare_data
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.data_argument import read_data

    wanted = Preparation.read(
        crop_bottom=crop_bottom,
        split_grid=split_grid,
        only=only,
        splits=splits,
        seed=seed,
        encoding=None if encoding is None else encoding.value,
        quality=quality,
    )
    target = Path(out).expanduser()
    if target.resolve().is_relative_to(Path(src).expanduser().resolve()):
        raise UserError(f"'{out}' lies inside '{src}'", hint=f"choose a folder outside '{src}'")
    source = open_data(read_data(src), Path())
    with shown_progress() as bar:
        bar.start(len(source.samples))
        prepared = prepare_data(source, target, wanted, lambda: bar.advance(1))
    _show(prepared, json_output)


def _show(prepared: "Prepared", json_output: bool) -> None:
    rows = [
        {"split": split, "class": name, "generator": generator, "images": count}
        for (split, name, generator), count in sorted(prepared.counts.items())
    ]
    if json_output:
        print_json(
            {
                "folder": str(prepared.folder),
                "images": rows,
                "unusable": prepared.unusable,
                "notices": prepared.notices,
            }
        )
        return
    print_table(rows, f"{counted(sum(prepared.counts.values()), 'image')} in {prepared.folder}")
    for name, reason in list(prepared.unusable.items())[:10]:
        say(f"left out: {name}: {reason}")
    if len(prepared.unusable) > 10:
        say(f"and {len(prepared.unusable) - 10} more, listed in {prepared.folder / 'prepared.json'}")
    for notice in prepared.notices:
        say_notice(notice)
