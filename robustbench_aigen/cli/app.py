"""The ``robust-aigen`` command."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

from robustbench_aigen.cli import (
    audit,
    cross_generator,
    data,
    finetune,
    gate,
    listing,
    predict,
    report,
    run,
    train,
    validate,
)
from robustbench_aigen.errors import UserError

app = typer.Typer(
    name="robust-aigen",
    help="How much of a detector's accuracy survives attacks, image processing and unseen generators.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _InterruptedError(Exception):
    """Ctrl-C, kept from typer, which would end without a word."""


class _ReaderGoneError(Exception):
    """A closed pipe (``robust-aigen list … | head``), kept from typer, which would exit with 1: the gate's code."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise _InterruptedError from None
        except BrokenPipeError:
            raise _ReaderGoneError from None

    return guarded


app.command("run")(_guarded(run.run))
app.command("train")(_guarded(train.train))
app.command("cross-generator")(_guarded(cross_generator.cross_generator))
app.command("finetune")(_guarded(finetune.finetune))
app.command("validate")(_guarded(validate.validate))
app.command("predict")(_guarded(predict.predict))
app.command("audit")(_guarded(audit.audit))
app.command("list")(_guarded(listing.list_things))
app.command("gate")(_guarded(gate.gate))
app.command("report")(_guarded(report.report))
_data = typer.Typer(help="Make data sets ready.")
_data.command("prepare")(_guarded(data.prepare))
app.add_typer(_data, name="data")

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
    # What Pillow warns of is said in plainer words: an image that is skipped is named, with the reason.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except UserError as error:
        _fail(f"error: {error}", 2)
    except _InterruptedError:
        _fail("interrupted; what is finished is kept, and the same command goes on from there", 3)
    except _ReaderGoneError:
        # Nobody is left to tell, and the interpreter's last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(3)
    except typer.Abort:
        _fail("aborted", 3)
    except Exception as error:  # noqa: BLE001  Whatever it is, it ends in one line and exit code 3.
        if hasattr(error, "format_message"):  # A usage error, of click or of the copy inside typer.
            _fail(f"error: {error.format_message()}\n  robust-aigen COMMAND --help shows what there is", 2)
        reason = " ".join(str(error).split())
        _fail(
            f"error: {type(error).__name__}: {reason}\n  robust-aigen --debug COMMAND … shows the traceback",
            3,
        )


def _fail(text: str, code: int) -> NoReturn:
    if _debug.get():
        traceback.print_exc()
    print(text, file=sys.stderr)
    sys.exit(code)
