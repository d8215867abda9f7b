"""``report.html``: one file that needs nothing else, for a screen of any size, light or dark."""

import base64
import json
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

import jinja2

from robustbench_aigen.errors import printable
from robustbench_aigen.runs.info import HardwareInfo
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.text import counted
from robustbench_aigen.views.conditions import describe
from robustbench_aigen.views.evidence import NOTHING_FOUND, evidence, not_checked
from robustbench_aigen.views.figure import Drawn
from robustbench_aigen.views.table import Table

_LONG = 60
"""Rows above which a table is folded away."""


def html_report(
    joined: JoinedRuns,
    tables: Sequence[Table],
    figures: Sequence[Drawn],
    explanations: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page. Names and paths from files are text in the page, never markup.

    ``explanations`` are names and addresses of pages of detectors, which are linked.
    """
    runs = [
        {
            "label": label,
            "summary": run.info.scenario.summary,
            "lines": describe(run),
            "info": run.info,
            "hardware": _hardware(run.info.hardware),
            "packages": {name: version for name, version in run.info.packages.items() if version},
            "scenario": printable(json.dumps(run.info.scenario.to_dict(), indent=2, ensure_ascii=False)),
        }
        for label, run in zip(joined.labels, joined.runs, strict=True)
    ]
    return rendered(
        "report.html.j2",
        title=", ".join(joined.labels),
        runs=runs,
        tables=tables,
        figures=figures,
        evidence=evidence(joined),
        nothing_found=NOTHING_FOUND,
        not_checked=not_checked(joined),
        without_records=joined.without_records,
        long=_LONG,
        explanations=explanations,
    )


def rendered(template: str, *, also: str = "", **content: object) -> str:
    """Return a page made of a template, with the style and the script of reports.

    ``also`` is the name of a script that is added to that of reports.
    """
    script = _source("sorting.js") + (_source(also) if also else "")
    # With this policy the page loads nothing, and runs no other script than its own.
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("robustbench_aigen.views"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(
        **content, script=script, digest=digest, style=_source("report.css")
    )


def _hardware(machine: HardwareInfo) -> list[str]:
    counts = (
        (machine.processors, "processor", None),
        (machine.threads, "thread of torch", "threads of torch"),
        (machine.image_threads, "thread for images", "threads for images"),
    )
    numbers = [counted(count, one, several) for count, one, several in counts if count is not None]
    return [text for text in (machine.platform, *numbers, machine.device, machine.device_name) if text]


def _source(name: str) -> str:
    return (files("robustbench_aigen.views") / "templates" / name).read_text(encoding="utf-8")
