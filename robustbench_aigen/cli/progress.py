"""The progress of a command: a bar on a terminal, lines in a log."""

import sys
from typing import TYPE_CHECKING

from robustbench_aigen.cli.collector import resume_collector
from robustbench_aigen.cli.console import is_live
from robustbench_aigen.cli.progress_log import ProgressLog

if TYPE_CHECKING:
    from robustbench_aigen.cli.progress_bar import ProgressBar


def shown_progress() -> "ProgressBar | ProgressLog":
    """Return a bar where standard error is a terminal, and otherwise lines for a log; the command's work begins."""
    resume_collector()
    if not is_live(sys.stderr):
        return ProgressLog()
    from robustbench_aigen.cli.progress_bar import ProgressBar  # With rich.

    return ProgressBar()
