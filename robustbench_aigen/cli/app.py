"""The ``robust-aigen`` command."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Annotated

import typer

from robustbench_aigen.cli import (
    audit,
    benchmark,
    cross_generator,
    data,
    explain,
    export,
    finetune,
    gate,
    leaderboard,
    listing,
    picture_page,
    predict,
    report,
    run,
    submit,
    train,
    validate,
    verify,
)
from robustbench_aigen.cli.collector import paused_collector
from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.stopping import StoppedError, stopping_on_signals
from robustbench_aigen.cli.streams import tolerant_streams
from robustbench_aigen.errors import UserError

app = typer.Typer(
    name="robust-aigen",
    help="Measure how much accuracy a detector keeps under attacks, image processing and unseen generators.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Boxes cut words off where the terminal is narrow.
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _InterruptedError(Exception):
    """Ctrl-C, which typer would handle without a message."""


def _guarded(command: Callable[..., None], *, resumes: bool = False) -> Callable[..., None]:
    @wraps(command)
    def guarded(*arguments: object, **options: object) -> None:
        _resumes.set(resumes)
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            raise _InterruptedError from None

    return guarded


_debug = ContextVar("debug", default=False)
_resumes = ContextVar("resumes", default=False)
"""Whether the command continues where it was stopped when it is given again."""

app.command("run")(_guarded(run.run, resumes=True))
app.command("train")(_guarded(train.train, resumes=True))
app.command("cross-generator")(_guarded(cross_generator.cross_generator, resumes=True))
app.command("finetune")(_guarded(finetune.finetune, resumes=True))
app.command("validate")(_guarded(validate.validate))
app.command("benchmark")(_guarded(benchmark.benchmark, resumes=True))
app.command("predict")(_guarded(predict.predict))
app.command("explain")(_guarded(explain.explain))
app.command("app")(_guarded(picture_page.app))
app.command("audit")(_guarded(audit.audit))
app.command("list")(_guarded(listing.list_things))
app.command("gate")(_guarded(gate.gate))
app.command("report")(_guarded(report.report))
app.command("export")(_guarded(export.export))
app.command("submit")(_guarded(submit.submit))
app.command("verify")(_guarded(verify.verify))
app.command("leaderboard")(_guarded(leaderboard.leaderboard))
_data = typer.Typer(help="Prepare data sets.", rich_markup_mode=None)
_data.command("prepare")(_guarded(data.prepare))
app.add_typer(_data, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"robust-aigen {version('robustbench-aigen')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback after an error.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    _debug.set(debug)


def main() -> None:
    """Run the command line and exit: 0 fine, 1 the gate or a verification failed, 2 wrong input, 3 a fault of the program.

    A signal that ends the command exits with 128 and its number, as shells and schedulers expect.
    """
    # Large tensors in pages of 2 MiB; torch reads this at its first tensor, and only Linux has such pages. With small
    # pages, the system takes up to 40 % of the processor time of a training step at 224 pixels.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # The package reports what Pillow warns of in plainer words: a skipped image is named, with the reason.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with tolerant_streams(), paused_collector():
        code = _exit_code()
    sys.exit(code)


def _exit_code() -> int:
    try:
        with stopping_on_signals():
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
            sys.stdout.flush()
            return int(code or 0)
    except (_InterruptedError, StoppedError, typer.Abort) as stopped:
        return _fail(f"{_cause(stopped)}; {_what_remains()}", getattr(stopped, "code", 3))
    except UserError as error:
        return _fail(f"error: {error}", 2)
    except Exception as error:  # noqa: BLE001  Every other error ends in one line and exit code 3.
        if hasattr(error, "format_message"):  # A usage error, of click or of the copy inside typer.
            return _fail(
                f"error: {error.format_message()}\n  robust-aigen COMMAND --help lists the options", 2
            )
        reason = " ".join(str(error).split())
        return _fail(
            f"error: {type(error).__name__}: {reason}\n  robust-aigen --debug COMMAND … shows the traceback",
            3,
        )


def _cause(stopped: BaseException) -> str:
    return f"stopped by {stopped}" if isinstance(stopped, StoppedError) else "interrupted"


def _what_remains() -> str:
    if _resumes.get():
        return "finished work is kept, and the same command continues from there"
    return "the same command starts again"


def _fail(text: str, code: int) -> int:
    if _debug.get():
        traceback.print_exc()
    say(text, err=True)
    return code
