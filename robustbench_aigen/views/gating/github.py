"""Output of a gate for GitHub Actions: annotations on the log, and the summary of the step."""

import os
from pathlib import Path
from typing import TextIO

from robustbench_aigen.views.gating.result import GateResult, name_of, sentence

_ENDS = "%\r\n"
"""Characters that end a message, the per cent sign first: it begins the escapes of the others."""


def report_to_github(result: GateResult, stream: TextIO) -> None:
    """Write an annotation per failure, and append the table to the step's summary, where GitHub runs this.

    Parameters
    ----------
    result
        Result of the gate.
    stream
        The stream for annotations; the runner reads standard output and standard error.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for row in result.failures.to_dict(orient="records"):
            title = _escaped(f"robust-aigen: {name_of(row)}", _ENDS + ":,")
            print(f"::error title={title}::{_escaped(sentence(row), _ENDS)}", file=stream)
        for notice in result.notices:
            print(f"::notice title=robust-aigen::{_escaped(notice, _ENDS)}", file=stream)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(result.markdown() + "\n")


def _escaped(text: str, characters: str) -> str:
    """Write characters that end a workflow command as ``%25`` and so on."""
    for character in characters:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
