"""``robust-aigen list``."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, print_table, say, say_notice
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.stages.parameters import Parameter
    from robustbench_aigen.stages.recipe import Kind as RecipeKind


_ABOUT = "summary and parameters"


class Kind(StrEnum):
    """Kinds of objects to list."""

    attacks = "attacks"
    perturbations = "perturbations"
    detectors = "detectors"
    scenarios = "scenarios"
    protocols = "protocols"
    finetunings = "finetunings"
    data = "data"
    runs = "runs"


def list_things(
    kind: Annotated[Kind, typer.Argument(help="The kind of things to list.")],
    source: Annotated[
        str | None,
        typer.Argument(help="For data: the source to describe, a folder, a file or hf://org/name."),
    ] = None,
    output: Annotated[str, typer.Option(help="Results folder, for runs.")] = "results",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    _plugin: Plugins = None,
) -> None:
    """List attacks, detectors, scenarios, protocols, data and runs."""
    from robustbench_aigen.errors import UserError

    if source is not None:
        if kind is not Kind.data:
            raise UserError(f"list {kind.value} takes no source", hint="list data SOURCE describes a source")
        _show_source(source, json_output)
        return
    if kind is Kind.runs:
        _show_runs(output, json_output)
        return
    tables = {
        Kind.attacks: lambda: _recipes("attack"),
        Kind.perturbations: lambda: _recipes("perturb"),
        Kind.detectors: _detectors,
        Kind.scenarios: _scenarios,
        Kind.protocols: _protocols,
        Kind.finetunings: _finetunings,
        Kind.data: _data,
    }
    table = tables[kind]()
    if json_output:
        print_json(table.to_dict(orient="records"))
    elif table.empty:
        say(f"no {kind.value}")
    else:
        if kind is Kind.attacks:
            # One column of prose, so that the others stand unbroken in a narrow terminal.
            about = table["summary"] + " " + table["parameters"]
            table = table[["name", "norms", "access", "backends"]].assign(**{_ABOUT: about})
        print_table(table, kind.value)
        if kind is Kind.detectors:
            print_table(_published_detectors(), "published detectors: downloaded once")
            print_table(_detector_kinds(), "your own detectors: in a scenario, or with --detector")


def _detector_kinds() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.detectors.format import DETECTOR_FORMATS

    return pd.DataFrame(
        [
            {
                "write": kind.written,
                "what": kind.what,
                "gradients": kind.gradients,
                "--trust-code": kind.trust,
            }
            for kind in DETECTOR_FORMATS
        ]
    )


def _published_detectors() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.detectors.published import PUBLISHED

    return pd.DataFrame(
        [
            {
                "name": name,
                "source": published.source,
                "licence": ", ".join(dict.fromkeys(file.licence for file in published.files)),
            }
            for name, published in PUBLISHED.items()
        ]
    )


def _recipes(kind: "RecipeKind") -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.stages.recipe import AttackRecipe
    from robustbench_aigen.stages.recipe_files import known_recipes

    rows = []
    for recipe in known_recipes(kind):
        own = [(name, p) for name, p in recipe.parameters.items() if name not in ("backend", "norm", "mask")]
        row = {"name": recipe.name, "summary": recipe.summary}
        row["parameters"] = ", ".join(_parameter(name, p) for name, p in own)
        if isinstance(recipe, AttackRecipe):
            row |= {
                "norms": ", ".join(recipe.norms),
                "access": recipe.access,
                "backends": ", ".join(recipe.backends.names()),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _parameter(name: str, parameter: "Parameter") -> str:
    from robustbench_aigen.stages.models import MODEL_FORMS

    if parameter.default is not None:
        return f"{name}={_default(parameter)}"
    if parameter.kind == "model":
        return f"{name}={MODEL_FORMS} (required)"
    if parameter.minimum is None or parameter.maximum is None:
        return name
    return f"{name} {parameter.minimum:g} to {parameter.maximum:g}"


def _default(parameter: "Parameter") -> str:
    others = [f"{norm}: {parameter.write(value)}" for norm, value in [*parameter.by_norm.items()][1:]]
    return parameter.write(parameter.default) + (f" ({', '.join(others)})" if others else "")


def _detectors() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.detectors.card import read_card
    from robustbench_aigen.detectors.shipped import shipped_detectors
    from robustbench_aigen.views.table import percent

    rows = []
    for name, file in shipped_detectors().items():
        card = read_card(file)
        declared = card.model_extra or {}
        rows.append(
            {
                "name": name,
                "architecture": card.arch,
                "trained on": f"{declared['data']}: {', '.join(declared['generators'])}",
                "clean test accuracy": percent(declared["clean_test"]["accuracy"]),
            }
        )
    return pd.DataFrame(rows)


def _scenarios() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.catalogue import shipped_files
    from robustbench_aigen.scenario.scenario import load_scenario

    scenarios = {name: load_scenario(file) for name, file in shipped_files("scenarios").items()}
    return pd.DataFrame([{"name": name, "summary": scenario.summary} for name, scenario in scenarios.items()])


def _protocols() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.catalogue import shipped_files
    from robustbench_aigen.scenario.scenario import load_scenario

    rows = []
    for name, file in shipped_files("protocols").items():
        loaded = load_scenario(file)
        assert loaded.protocol is not None, "every shipped protocol has its source"
        rows.append({"name": name, "summary": loaded.summary, "source": loaded.protocol.source})
    return pd.DataFrame(rows)


def _finetunings() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.catalogue import shipped_files
    from robustbench_aigen.training.adversarial.file import load_finetuning

    files = {name: load_finetuning(file) for name, file in shipped_files("finetunings").items()}
    return pd.DataFrame([{"name": name, "summary": tuning.summary} for name, tuning in files.items()])


def _data() -> "pd.DataFrame":
    import pandas as pd

    from robustbench_aigen.data.opening import BUILT_IN

    return pd.DataFrame([{"name": name, "summary": summary} for name, summary in BUILT_IN.items()])


def _show_source(text: str, json_output: bool) -> None:
    from pathlib import Path

    import pandas as pd

    from robustbench_aigen.data.inventory import take_stock
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.scenario.data_argument import read_data

    source = open_data(read_data(text), Path())
    rows = [stock._asdict() for stock in take_stock(source.samples)]
    if json_output:
        print_json({"name": source.name, "layout": source.layout, "notices": source.notices, "images": rows})
        return
    table = pd.DataFrame(rows).assign(split=lambda frame: frame["split"].fillna(""))
    print_table(table, f"{source.name}: {source.layout}, {counted(len(source.samples), 'image')}")
    for notice in source.notices:
        say_notice(notice)


def _show_runs(output: str, json_output: bool) -> None:
    """Print the runs below a results folder, newest first, and name what cannot be read."""
    import pandas as pd

    from robustbench_aigen.runs.run import find_runs

    runs, broken = find_runs(output)
    rows = [_run_row(run) for run in runs]
    if json_output:
        refused = [{"folder": str(folder), "error": " ".join(str(error).split())} for folder, error in broken]
        print_json([*rows, *refused])
        return
    if rows:
        print_table(pd.DataFrame(rows).drop(columns="folder"), f"runs in {output}, newest first; per cent")
    elif not broken:
        say(f"no runs in {output}")
    for _, error in broken:
        say(f"not listed: {error.message}")


def _run_row(run: "Run") -> dict[str, object]:
    from robustbench_aigen.views.table import percent

    overall, info = run.overall(), run.info
    worst = overall.sort_values("accuracy", kind="stable").iloc[0]
    flags = sorted({flag for text in overall["trust"].dropna() for flag in text.split()} - {"ok"})
    return {
        "scenario": info.scenario.name,
        "run": run.path.name,
        "started": info.started[:16].replace("T", " "),
        "source": f"{info.data.source} ({info.data.split})",
        "images": info.data.images,
        "cells": len(overall),
        "clean": percent(worst["clean_accuracy"]),
        "lowest": percent(worst["accuracy"]),
        "of": f"{worst['detector']} · {worst['pipeline']}",
        "trust": " ".join(flags) or "ok",
        "folder": str(run.folder),
    }
