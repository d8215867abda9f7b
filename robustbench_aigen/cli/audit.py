"""``robust-aigen audit``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, say_notice
from robustbench_aigen.cli.plugin_option import Plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robustbench_aigen.data.audit.equalised_copy import Copy
    from robustbench_aigen.data.audit.inspection import Audit
    from robustbench_aigen.data.selection import Selection


def audit(
    source: Annotated[str, typer.Argument(help="minigen, a folder or file, or hf://org/name.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Examine at most this many images, stratified. Copies outside this part are not found.",
        ),
    ] = None,
    fix: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="Write an equalised copy to this new folder: both classes in one format, quality and size, no "
            "metadata, no copies across splits.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 1 if file properties separate the classes or copies cross splits."
        ),
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Measure how well file properties separate the classes.

    File properties are formats, qualities, sizes and metadata; copies are counted, too. The verdict is the accuracy
    of a small classifier on these properties only. The exit code is 0 for any verdict, unless you pass --strict.
    """
    from robustbench_aigen.cli.audit_tables import print_audit, print_copy
    from robustbench_aigen.data.audit.equalised_copy import check_target
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.data.selection import select
    from robustbench_aigen.scenario.data_argument import read_data

    if fix is not None:
        check_target(Path(fix), Path(source) if Path(source).exists() else None)
    opened = open_data(read_data(source), Path())
    for notice in opened.notices:
        say_notice(notice, err=True)
    selection = select(opened, split, limit)
    examined = _audited(selection)
    content = examined.as_dict()
    if not json_output:
        print_audit(examined, len(opened.samples))
    if fix is not None:
        copy, after = _fixed(examined, selection, Path(fix))
        content["fixed"] = _copy_as_dict(copy, after)
        if not json_output:
            print_copy(copy, after)
    if json_output:
        print_json(content)
    if strict and (examined.confounded or examined.leaks):
        raise typer.Exit(1)


def _audited(selection: "Selection") -> "Audit":
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.data.audit.inspection import audit as audit_selection

    with shown_progress() as progress:
        progress.start(len(selection.indices))
        progress.work_on(selection.source.name, "audit")
        return audit_selection(selection, progress.advance)


def _fixed(examined: "Audit", selection: "Selection", folder: Path) -> "tuple[Copy, Audit]":
    """Write the equalised copy, and audit it in turn."""
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.data.audit.equalised_copy import write_equalised
    from robustbench_aigen.data.opening import open_source
    from robustbench_aigen.data.selection import select

    with shown_progress() as progress:
        progress.start(len(selection.indices))
        progress.work_on(str(folder), "writing")
        copy = write_equalised(examined, selection, folder, progress.advance)
    return copy, _audited(select(open_source(str(folder), Path()), "all", None))


def _copy_as_dict(copy: "Copy", after: "Audit") -> "Mapping[str, object]":
    return {
        "folder": str(copy.folder),
        **copy.recipe._asdict(),
        "images": copy.images,
        "left_out": copy.left_out,
        "verdict": after.verdict.as_dict(),
        "leaks": after.leaks,
    }
