"""Writes the generated parts of documents: ``make docs``, or ``python -m benchmarks.documents``.

A generated part is between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in a document; whole files are in
:data:`FILES`. ``tests/test_generated_documents.py`` fails if a part is stale.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import reference_pages
from benchmarks.reference_pages import markdown
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.catalogue import stub_text
from robustbench_aigen.stages.recipe import AttackRecipe
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.trust.check import CHECKS, flags
from robustbench_aigen.trust.flags import UNCHECKED

ROOT = Path(__file__).resolve().parents[1]
_RESULTS = ROOT / "results"
_PART = re.compile(r"(?<=<!-- generated: )(\w+)( -->\n\n)(.*?)(?=\n\n<!-- end -->)", re.DOTALL)
_ALSO = {"transfer": ", and any other attack with `surrogate:`"}
_LIBRARIES = {"art": "ART"}
_KINDS = (
    "gradients",
    "minimum norm",
    "one perturbation for all images",
    "transfer from another detector",
    "scores only",
    "verdicts only",
)
_FIRST = ("fgsm", "bim", "pgd", "mifgsm", "apgd", "auto", "deepfool", "fab", "cw", "square", "simba")
"""Attacks at the beginning of a row; the others follow by name."""


def attacks() -> dict[str, AttackRecipe]:
    """Return the recipes of attacks by name."""
    return {name: recipe for name, recipe in shipped_recipes().items() if isinstance(recipe, AttackRecipe)}


def attack_kinds() -> str:
    """Return the table of attacks by access: a row for each kind, grouped by the default library."""
    rows: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in _KINDS}
    by_rank = sorted(
        attacks(), key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)
    )
    for name in by_rank:
        recipe = attacks()[name]
        rows[_kind(recipe)][recipe.backends.names()[0]].append(f"`{name}`{_ALSO.get(name, '')}")
    return markdown(
        ("kind", "attacks"),
        (
            (
                kind,
                "; ".join(
                    ("" if library == "native" else f"{_LIBRARIES.get(library, library)}: ")
                    + " ".join(libraries[library])
                    for library in ("native", "torchattacks", "art", "adv_lib", "foolbox")
                    if library in libraries
                ),
            )
            for kind, libraries in rows.items()
        ),
    )


def _kind(recipe: AttackRecipe) -> str:
    if recipe.access != "gradients":
        return {"scores": "scores only", "decisions": "verdicts only"}[recipe.access]
    if recipe.needs_surrogate:
        return "transfer from another detector"
    if recipe.name == "universal":
        return "one perturbation for all images"
    return "minimum norm" if recipe.minimum_norm else "gradients"


def attack_catalogue() -> str:
    """Return the table of all attacks with norms, needed outputs of the detector, and backends."""
    rows = (
        (f"`{name}`", ", ".join(recipe.norms), recipe.access, ", ".join(recipe.backends.names()))
        for name, recipe in attacks().items()
    )
    return markdown(("attack", "norms", "access", "backends"), rows)


def trust_flags() -> str:
    """Return the table of all flags with their conditions."""
    when = {each.name: each.when for each in CHECKS} | {
        UNCHECKED.name: "the scenario says `trust: off`, and the attack uses gradients; or the scores were imported"
    }
    return markdown(("flag", "raised when"), ((f"`{flag.name}`", when[flag.name]) for flag in flags()))


def architectures(present: str) -> str:
    """Return the table of the zoo's architectures; the columns study and architecture are written by hand."""
    import torch

    from robustbench_aigen.detectors.probe import LinearProbe
    from robustbench_aigen.detectors.published import PUBLISHED
    from robustbench_aigen.detectors.svm import FittedNetwork
    from robustbench_aigen.detectors.zoo import (
        architecture_names,
        architecture_options,
        build_architecture,
        default_input_size,
    )

    said, rows = _cells(present), []
    published = {each.architecture for each in PUBLISHED.values()}
    for name in architecture_names():
        with torch.device("meta"):
            network = build_architecture(name)
        is_fitted = isinstance(network, FittedNetwork)
        fitted = network.get_submodule("decision").buffers() if isinstance(network, FittedNetwork) else ()
        count = sum(tensor.numel() for tensor in (*network.parameters(), *fitted))
        size = default_input_size(name)
        source = "CLIP" if isinstance(network, LinearProbe) else "ImageNet"
        weights = [source] if "weights" in architecture_options(name) else []
        weights += ["fitted"] if is_fitted else []
        weights += ["its authors'"] if name in published else []
        rows.append(
            (
                f"`{name}`",
                *said.get(name, ("", ""))[:2],
                f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}",
                "any" if size is None else f"{size[0]}×{size[1]}",
                ", ".join(weights) or "none",
            )
        )
    return markdown(("id", "study", "architecture", "parameters", "input", "weights"), rows)


def report_tables(present: str) -> str:
    """Return the list of a report's tables in order; the columns 'rows' and 'columns' are written by hand."""
    from robustbench_aigen.views.table import TABLES

    said = _cells(present)
    makers = sorted(TABLES, key=lambda maker: maker.order)
    rows = ((f"`{maker.name}`", *said.get(maker.name, ("", ""))) for maker in makers)
    return markdown(("name", "rows", "columns"), rows)


def protocols() -> str:
    """Return the table of published protocols with their sources."""
    loaded = {name: load_scenario(file) for name, file in shipped_files("protocols").items()}
    rows = (
        (f"`{name}`", scenario.summary, scenario.protocol.source, scenario.protocol.ours)
        for name, scenario in loaded.items()
        if scenario.protocol is not None
    )
    return markdown(("protocol", "content", "source", "ours"), rows)


def defences() -> str:
    """Return the table of the broken defences: clean, and under the reference, PGD and auto."""
    import pandas as pd

    table = pd.read_csv(_RESULTS / "speed" / "defences.csv")
    rows = (
        (
            f"`{row.defence}`", str(row.source),
            *(f"{value:g}" for value in (row.clean, row.reference, row.pgd, row.auto)),
            ", ".join(f"`{flag}`" for flag in str(row.auto_trust).split()),
        )
        for row in table.itertuples()
    )  # fmt: skip
    return markdown(
        ("defence", "source", "clean", "adaptive attack", "PGD-50", "`auto`", "trust of `auto`"), rows
    )


def auto_effort() -> str:
    """Return the table of what ``auto`` costs when it gives up."""
    import pandas as pd

    table = pd.read_csv(_RESULTS / "speed" / "auto_effort.csv")
    rows = (
        (
            f"`{row.detector}`", str(row.attack).replace("auto,", "`auto`,"), f"{row.withstood} of {row.attacked}",
            f"{row.ratio:.2f}",
        )
        for row in table.itertuples()
    )  # fmt: skip
    return markdown(("detector", "attack", "withstood", "time / exhaustive `auto`"), rows)


def _cells(present: str) -> dict[str, tuple[str, ...]]:
    """Return the cells of a table by the name in its first column."""
    rows = [line.strip("| ").split(" | ") for line in present.splitlines()[2:]]
    return {cells[0].strip("`"): tuple(cells[1:]) for cells in rows}


PARTS: Mapping[str, Callable[[str], str]] = {
    "attack_kinds": lambda _: attack_kinds(),
    "attack_catalogue": lambda _: attack_catalogue(),
    "trust_flags": lambda _: trust_flags(),
    "architectures": architectures,
    "report_tables": report_tables,
    "protocols": lambda _: protocols(),
    "defences": lambda _: defences(),
    "auto_effort": lambda _: auto_effort(),
}
"""Functions that make a part from the existing part, by the name in the marker."""


def library_attacks() -> str:
    """Return the document of the attacks of libraries."""
    from benchmarks.library_attacks import document  # This module imports both libraries.

    return document()


FILES: Mapping[str, Callable[[], str]] = {
    "docs/LIBRARY_ATTACKS.md": library_attacks,
    "docs/reference/attacks.md": partial(reference_pages.stages_page, "attack"),
    "docs/reference/commands.md": reference_pages.commands_page,
    "docs/reference/perturbations.md": partial(reference_pages.stages_page, "perturb"),
    "docs/reference/python.md": reference_pages.python_page,
    "docs/reference/records.md": reference_pages.records_page,
    "docs/reference/scenario.md": reference_pages.scenario_page,
    "robustbench_aigen/attacks/__init__.pyi": partial(stub_text, "attack"),
    "robustbench_aigen/perturbations/__init__.pyi": partial(stub_text, "perturb"),
}
"""Functions that make a whole file."""


def with_parts(text: str) -> str:
    """Return a document with its generated parts updated."""
    return _PART.sub(lambda match: f"{match[1]}{match[2]}{PARTS[match[1]](match[3])}", text)


def documents() -> dict[str, str]:
    """Return the content of every generated file, and of every document with a generated part, by path."""
    made = {name: make() for name, make in FILES.items()}
    for file in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        name, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
        if name not in made and _PART.search(text):
            made[name] = with_parts(text)
    return made


def main() -> None:
    """Write the stale files, and print a line for each."""
    for name, text in documents().items():
        file = ROOT / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"written: {name}")


if __name__ == "__main__":
    main()
