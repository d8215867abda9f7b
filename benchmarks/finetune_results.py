"""Fine-tunes the reference detectors by every method, and writes ``results/finetune``.

    python -m benchmarks.finetune_results [CIFAKE] [--only minigen/cifake_cnn_pgd_eps2 …] [--limit 500] [--queries 1000]

``CIFAKE`` is a copy of the data set; without it the fine-tunings on it are left out. What is done of each is kept,
trainings and attacks alike: stopped, the same command goes on. ``finetune_results.yaml`` lists them.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.committed_page import write_readme
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.digests import read_sealed
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.training.adversarial.after_report import report_on
from robustbench_aigen.training.adversarial.file import load_finetuning
from robustbench_aigen.training.adversarial.tuning import finetune
from robustbench_aigen.views.formats.markdown import markdown_frame
from robustbench_aigen.views.table import percent

_LIST = Path(__file__).with_suffix(".yaml")
_HEAD = """# Adversarial fine-tuning, method by method

Written by `python -m benchmarks.finetune_results CIFAKE`. Numbers are per cent of test images, of both classes in equal
numbers, *before* for the original detector and *after* for the fine-tuned detector. `auto` is APGD-CE, APGD-margin, FAB
and Square, each on the survivors of the attacks before. The column *transfer* has images crafted on the original
detector. The column *degraded* has the mean over JPEG, resize, blur and noise at severities 1, 3 and 5.

The epoch was selected on validation images only. Epoch 0 is the original detector, and is kept if no other epoch is
better. Each report has intervals, both classes, degradations and trust flags.
"""


@dataclass(frozen=True)
class Planned:
    """One fine-tuning of the list.

    Parameters
    ----------
    data
        ``minigen`` or ``cifake``: what it trains on, and whose ``cifake_cnn`` it starts from.
    file
        Name of the shipped file.
    epochs
        Instead of the file's; None for the file's own.
    limit
        Images of each split at most; None for all. The number becomes part of the name.
    """

    data: str
    file: str
    epochs: int | None = None
    limit: int | None = None

    @property
    def id(self) -> str:
        """The detector that it starts from."""
        return f"{self.data}/cifake_cnn"

    @property
    def method(self) -> str:
        """``pgd_eps2``."""
        name = self.file.removeprefix("finetune_").removeprefix("cifake_")
        return name if self.limit is None else f"{name}_{self.limit}_images"

    @property
    def called(self) -> str:
        """What its weights are called: ``cifake_cnn_pgd_eps2``."""
        return f"cifake_cnn_{self.method}"

    @property
    def name(self) -> str:
        """Its folder: ``minigen/cifake_cnn_pgd_eps2``."""
        return f"{self.data}/{self.called}"


def main() -> None:
    """Parse the command line; fine-tune, report, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cifake", nargs="?", type=Path, help="a copy of CIFAKE")
    parser.add_argument("--only", nargs="*", help="such as minigen/cifake_cnn_pgd_eps2")
    parser.add_argument("--limit", type=int, default=500, help="test images that are attacked")
    parser.add_argument("--queries", type=int, default=1000, help="of Square inside auto")
    parser.add_argument("--tuned", type=Path, default=Path("results/finetuned"), help="where weights land")
    parser.add_argument("--target", type=Path, default=Path("results/finetune"))
    arguments = parser.parse_args()
    planned = read_list()
    for each in planned:
        if (each.data == "cifake" and arguments.cifake is None) or (
            arguments.only and each.name not in arguments.only
        ):
            continue
        _finetune(each, arguments)
    write_page(arguments.target, planned)


def read_list() -> list[Planned]:
    """Return the fine-tunings of the list."""
    return [Planned(**run) for run in yaml.safe_load(_LIST.read_text(encoding="utf-8"))]


def _finetune(planned: Planned, arguments: argparse.Namespace) -> None:
    changes: dict[str, Any] = {
        "name": planned.called,
        "detector": {"id": planned.id},
        "report": {"images": arguments.limit, "queries": arguments.queries},
    }
    data = {"source": "minigen" if planned.data == "minigen" else str(arguments.cifake.resolve())}
    if planned.data == "cifake" or planned.limit is not None:
        changes["data"] = data if planned.limit is None else {**data, "limit": planned.limit}
    if planned.epochs is not None:
        changes["budget"] = {"epochs": planned.epochs}
    loaded = load_finetuning(shipped_files("finetunings")[planned.file]).replaced(changes)
    with shown_progress() as progress:
        tuned = finetune(
            loaded,
            arguments.tuned.resolve() / planned.data,
            device="auto",
            half=True,
            fresh=False,
            progress=progress,
        )
        report = report_on(tuned, device="auto", progress=progress)
    folder = arguments.target / planned.name
    folder.mkdir(parents=True, exist_ok=True)
    summary = tuned.folder / "runs" / f"{planned.called}_before_after" / "latest" / "summary.csv"
    # What is committed names no folders of the machine that it was made on.
    places = {str(arguments.tuned.resolve()): "finetuned"}
    if planned.data == "cifake":
        places[str(arguments.cifake.resolve())] = "CIFAKE"
    for source in (report, tuned.folder / "history.csv", tuned.folder / "metrics.json", summary):
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".json":
            # With the places changed, the digests would not fit.
            text = json.dumps(read_sealed(source)[0], indent=2) + "\n"
        for place, name in places.items():
            text = text.replace(place, name)
        (folder / source.name).write_text(text, encoding="utf-8")


def write_page(target: Path, planned: list[Planned]) -> None:
    """Write ``README.md`` and ``results.csv`` from the folders of the fine-tunings that are there."""
    there = [each for each in planned if (target / each.name / "summary.csv").is_file()]
    table = pd.DataFrame([_row(each, target / each.name) for each in there])
    table.to_csv(target / "results.csv", index=False)
    measured = [column for column in table if column.endswith((" before", " after"))]
    shown = table.assign(**{column: table[column].map(percent) for column in measured})
    parts = [_HEAD]
    for detector, rows in shown.groupby("detector", sort=False):
        links = [f"[{each.called}]({each.name}/report.md)" for each in there if each.id == detector]
        parts += [f"\n## {detector}\n", markdown_frame(rows.drop(columns="detector"))]
        parts += ["\nReports:\n", *(f"- {link}" for link in links)]
    write_readme(target, parts, missing=[each.name for each in planned if each not in there])


def _row(planned: Planned, folder: Path) -> dict[str, object]:
    summary = pd.read_csv(folder / "summary.csv")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    overall = summary[summary["generator"] == ALL_GENERATORS]
    before, after = (
        part.set_index("pipeline")["accuracy"] for _, part in overall.groupby("detector", sort=False)
    )
    threat = metrics["finetuning"]["threat"]
    own = f"pgd[eps={round(threat['eps'] * 255)}/255]"
    flags = overall[overall["detector"] == metrics["name"]]["trust"]
    row: dict[str, object] = {"detector": planned.id, "fine-tuning": planned.method}
    for name, pipeline in (("clean", "clean"), ("PGD-20", own), ("auto", "auto")):
        row |= {f"{name} before": before[pipeline], f"{name} after": after[pipeline]}
    row |= {f"{name} after": after[name] for name in ("square", "transfer")}
    degraded = after.index[after.index.str.contains("severity")]
    row |= {"degraded before": before[degraded].mean(), "degraded after": after[degraded].mean()}
    return row | {
        "flags": ", ".join(sorted({flag for cell in flags.dropna() for flag in cell.split(", ")} - {"ok"})),
        "n": int(overall["n"].iloc[0]),
        "epochs": f"{metrics['epoch_kept']} of {metrics['epochs_run']}",
        "minutes": round(metrics["seconds"] / 60, 1),
        "collapse": "" if metrics["collapse"] is None else metrics["collapse"]["kind"],
    }


if __name__ == "__main__":
    main()
