"""The pages of ``docs/reference``, written by ``make docs`` from the code: schemas, commands, stages, Python names."""

import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from robustbench_aigen.stages.catalogue import ATTACK_ARGUMENTS
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.stages.recipe_files import shipped_recipes

_HEAD = "<!-- Written by make docs from {}. -->\n\n"
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_WORDS = {str: "text", int: "whole number", float: "number", Decimal: "number", bool: "true or false"}
_SECTION = re.compile(r"^(Parameters|Attributes)\n-{3,}\n", re.MULTILINE)


def markdown(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    titles = list(titles)
    lines = [titles, *map(list, rows)]
    texts = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(titles), *texts[1:]])


def in_markdown(docstring: str) -> str:
    """Return the text of a docstring with Markdown's marks for code, in one line for each paragraph."""
    text = _ROLE.sub(r"``\1``", inspect.cleandoc(docstring)).replace("``", "`")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def escaped(text: str) -> str:
    """Return a text of the command line or of a recipe, in which nothing is a mark of Markdown or HTML."""
    return text.replace("<", "&lt;").replace("*", r"\*")


def described(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring before its sections, and the texts of its parameters by name."""
    head, *rest = _SECTION.split(inspect.cleandoc(docstring or ""), maxsplit=1)
    found: dict[str, list[str]] = {}
    for line in re.split(r"\n\w+\n-{3,}\n", rest[-1])[0].splitlines() if rest else []:
        if line.startswith("    ") and found:
            found[next(reversed(found))].append(line)
        elif re.fullmatch(r"[\w, ]+", line):
            found[line] = []
        elif line:
            break
    texts = {names: in_markdown("\n".join(lines)) for names, lines in found.items()}
    return in_markdown(head), {name: text for names, text in texts.items() for name in names.split(", ")}


# The scenario file.


def models_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a model and the models of its sections, each with the path of its key; each model once."""
    waiting, seen = [(path, model)], {model}
    while waiting:
        path, model = waiting.pop(0)
        yield path, model
        for name, field in model.model_fields.items():
            for inner in _models_in(field.annotation):
                if inner not in seen:
                    seen.add(inner)
                    waiting.append((f"{path}.{name}".strip("."), inner))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def type_text(annotation: Any, sections: Mapping[type[BaseModel], str]) -> str:
    """Return a type in words; a section is a link to its heading."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(parts[0], sections)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(part, sections) for part in parts if part is not type(None))
    if origin in (list, tuple, dict):
        return _collection(
            origin, parts, [type_text(part, sections) for part in parts if part is not Ellipsis]
        )
    if annotation in sections:
        return (
            f"[{sections[annotation] or 'scenario'}](#{sections[annotation].replace('.', '') or 'scenario'})"
        )
    return _WORDS.get(annotation, "value")


def _collection(origin: type, parts: tuple[Any, ...], texts: list[str]) -> str:
    if origin is dict:
        return "mapping" if parts[1] is object else f"mapping from {' to '.join(texts)}"
    return f"list of {texts[0]}" if origin is list or Ellipsis in parts else f"{len(parts)} × {texts[0]}"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    meanings: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith("robustbench_aigen"):
            meanings |= described(each.__dict__.get("__doc__"))[1]
    return meanings


def default_text(field: Any) -> str:
    """Return the default of a field as written in YAML."""
    value = field.default_factory() if field.default_factory is not None else field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        value = next(iter(value.model_dump().values()))
    if value in (None, "", [], {}, ()):
        return ""
    shown = write_pixels(value) if isinstance(value, float) else str(value)
    return f"`{shown.lower() if isinstance(value, bool) else shown}`".replace("'", "")


def scenario_page() -> str:
    """Return the page of the keys of a scenario.

    Raises
    ------
    ValueError
        If the docstring of a section lacks a key.
    """
    from robustbench_aigen.scenario.scenario import Scenario

    sections = {model: path for path, model in models_of(Scenario)}
    lines = [
        _HEAD.format("the models in robustbench_aigen/scenario") + "# Scenario schema",
        (
            "The keys of a scenario file. [Scenarios](../SCENARIOS.md) has examples. The parameters of the stages in "
            "`pipelines` are those of the [attacks](attacks.md) and of the [perturbations](perturbations.md)."
        ),
    ]
    for model, path in sections.items():
        summary = described(model.__doc__)[0]
        meanings = _meanings(model)
        missing = sorted(model.model_fields.keys() - meanings.keys())
        if missing:
            raise ValueError(f"the docstring of {model.__name__} lacks {', '.join(missing)}")
        rows = (
            (f"`{name}`", type_text(field.annotation, sections), default_text(field), meanings[name])
            for name, field in sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
        )
        title = f"`{path}`" if path else "Scenario"
        lines += [f"## {title}", summary, markdown(("key", "type", "default", "meaning"), rows)]
    return "\n\n".join(lines) + "\n"


# The records of a run.


def records_page() -> str:
    """Return the page of the columns of ``records.parquet``."""
    from robustbench_aigen.metrics.summary import COLUMNS
    from robustbench_aigen.runs.records import RECORDS

    rows = [
        ("`detector`", "str", "name of the detector"),
        ("`pipeline`", "str", "name of the pipeline, with the swept values in brackets"),
        *((f"`{each.name}`", each.dtype, each.meaning) for each in RECORDS),
    ]
    return (
        _HEAD.format("robustbench_aigen/runs/records.py")
        + "# Records schema\n\n"
        + "`records.parquet` of a run folder has a row for each detector, pipeline and image.\n\n"
        + markdown(("column", "dtype", "meaning"), rows)
        + "\n\nRankings and verdicts rest on the log-odds, because the float32 `score` is 1.0 from 17 nats on.\n\n"
        + "## Columns of `summary.csv`\n\n"
        + "A row for each detector, pipeline and generator, and for all images. "
        + "[Statistics](../STATISTICS.md#metrics) defines the columns:\n\n"
        + ", ".join(f"`{name}`" for name in COLUMNS)
        + ".\n"
    )


# The command line.


def commands_page() -> str:
    """Return the page of the command line: each command with its arguments and options."""
    import typer.main

    from robustbench_aigen.cli.app import app

    root: Any = typer.main.get_command(app)
    lines = [
        _HEAD.format("the commands in robustbench_aigen/cli") + "# Command line",
        f"{root.help} `robust-aigen COMMAND --help` prints the same texts.",
        markdown(("option of all commands", "meaning"), _options(root)),
    ]
    for name, command in _commands(root):
        arguments = [each for each in command.params if not each.opts[0].startswith("-")]
        usage = " ".join(
            each.name.upper() if each.required else f"[{each.name.upper()}]" for each in arguments
        )
        text = escaped(in_markdown(command.help or ""))
        lines += [f"## `{name}`", text, f"Usage: `{f'robust-aigen {name} {usage}'.strip()} [OPTIONS]`"]
        if rows := [(f"`{each.name.upper()}`", escaped(each.help or "")) for each in arguments]:
            lines.append(markdown(("argument", "meaning"), rows))
        if rows := list(_options(command)):
            lines.append(markdown(("option", "meaning"), rows))
    lines += [
        "## Exit codes",
        markdown(
            ("code", "meaning"),
            (
                ("0", "done"),
                ("1", "the gate or a verification failed"),
                ("2", "wrong input"),
                ("3", "a fault of the program"),
                ("128 + N", "ended by the signal N: 130 for Ctrl-C, 143 for SIGTERM"),
            ),
        ),
    ]
    return "\n\n".join(lines) + "\n"


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        elif not command.hidden:
            yield f"{prefix}{name}", command


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for each in command.params:
        if each.opts[0].startswith("-") and not each.hidden:
            names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
            text = escaped(each.help or "")
            if each.required:
                text += " Required."
            elif each.default not in (None, False, True, [], ()):
                text += f" Default: `{each.default}`."
            yield names, text.strip()


# Attacks and perturbations.


def stages_page(kind: str) -> str:
    """Return the page of all attacks or of all perturbations, with their parameters."""
    module = import_module(f"robustbench_aigen.{'attacks' if kind == 'attack' else 'perturbations'}")
    folder = module.__name__.rpartition(".")[2]
    lines = [
        _HEAD.format(f"the recipes in {folder}/") + f"# Parameters of {folder}",
        (
            f"In a scenario, a stage is `{{{kind}: NAME, PARAMETER: VALUE}}`; in Python, `{folder}.NAME(PARAMETER=VALUE)`. "
            "A list of values is a sweep."
        ),
    ]
    if kind == "attack":
        lines.append(markdown(("parameter of all attacks", "values"), _rows(_OF_ATTACKS)))
    for name, recipe in shipped_recipes().items():
        if recipe.kind == kind:
            meanings = described(getattr(module, name).__doc__)[1]
            rows = _rows({each: text for each, text in meanings.items() if _OF_ATTACKS.get(each) != text})
            lines += [
                f"## `{name}`",
                escaped(recipe.summary),
                escaped(recipe.source and f"Source: {recipe.source}"),
            ]
            lines += [markdown(("parameter", "values"), rows)] if rows else []
    return "\n\n".join(line for line in lines if line) + "\n"


def _rows(meanings: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", escaped(text)) for name, text in meanings.items()]


_OF_ATTACKS = {name: text for name, (text, _) in ATTACK_ARGUMENTS.items()}

# The Python interface.


def python_page() -> str:
    """Return the page of the public Python names, which mkdocstrings fills from the docstrings."""
    import robustbench_aigen as package

    lines = [
        _HEAD.format("the public names; mkdocstrings fills it") + "# Python reference",
        (
            "The public names, with the text of their docstrings. On a repository's host, this page has the names alone: "
            "`make site` builds the site. [Python interface](../PYTHON.md) has examples. "
            "[Attacks](attacks.md) and [perturbations](perturbations.md) have pages of their own."
        ),
        "## `robustbench_aigen`",
    ]
    own = [getattr(package, name) for name in package.__all__ if name != "__version__"]
    modules = [each for each in own if inspect.ismodule(each)]
    lines += [_directive(each) for each in own if not inspect.ismodule(each)]
    for module in modules:
        if module.__name__.rpartition(".")[2] in ("attacks", "perturbations"):
            continue
        lines += [f"## `{module.__name__}`", described(module.__doc__)[0]]
        lines += [_directive(getattr(module, name), _home(module, name)) for name in _public(module)]
    return "\n\n".join(lines) + "\n"


def _public(module: types.ModuleType) -> list[str]:
    if "__getattr__" in vars(module):
        return sorted(dir(module))
    own = vars(module).items()
    return [
        name
        for name, each in own
        if name[0] != "_" and inspect.isfunction(each) and each.__module__ == module.__name__
    ]


def _home(module: types.ModuleType, name: str) -> str:
    """Return the place of a name that is not the place of its definition: a decorator that another function made."""
    return f"{getattr(module, '_HOMES', {}).get(name, module.__name__)}.{name}"


def _directive(each: Any, home: str = "") -> str:
    return f"::: {home if '<locals>' in each.__qualname__ else f'{each.__module__}.{each.__qualname__}'}"
