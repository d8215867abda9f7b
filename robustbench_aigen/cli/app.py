"""The ``robust-aigen`` command."""

import os
import sys
import traceback
from contextvars import ContextVar
from typing import Annotated

import typer

from robustbench_aigen.cli import listing, report, run, validate
from robustbench_aigen.errors import UserError

app = typer.Typer(
    name="robust-aigen",
    help="How much of a detector's accuracy survives attacks, image processing and unseen generators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("validate")(validate.validate)
app.command("list")(listing.list_things)
app.command("report")(report.report)

_debug = ContextVar("debug", default=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"robust-aigen {version('robustbench-aigen')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    _debug.set(debug)


def main() -> None:
    """Run the command line and exit: 0 fine, 1 the gate failed, 2 the input is at fault, 3 anything else."""
    try:
        app()
    except UserError as error:
        _fail(f"error: {error}", 2)
    except KeyboardInterrupt:
        _fail("interrupted; finished shards are kept, the same command goes on from there", 130)
    except BrokenPipeError:
        # The reader went away (`robust-aigen list … | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(3)
    except Exception as error:  # noqa: BLE001  Whatever it is, it ends in one line and exit code 3.
        reason = " ".join(str(error).split())
        _fail(f"error: {type(error).__name__}: {reason}\n  --debug shows the traceback", 3)


def _fail(text: str, code: int) -> None:
    if _debug.get():
        traceback.print_exc()
    print(text, file=sys.stderr)
    sys.exit(code)
