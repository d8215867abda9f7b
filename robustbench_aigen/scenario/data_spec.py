"""The ``data`` section of a scenario: sources, meaning of folders and labels, selection."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from robustbench_aigen.documents.document import Section, not_a_boolean, show
from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.scenario.words import folded, printable
from robustbench_aigen.stages.masks import read_mask, starting_at

ROLES = ("class", "split", "generator", "category")
"""Roles of a level of folders; a category has no effect."""
NAMED_LAYOUTS = {
    "genimage": "generator/split/class",
    "tiny-genimage": "generator/split/class",
    "cifake": "split/class",
    "forensynths": "generator/category/class",
}
"""The roles of the levels of folders in known data sets."""
Column = Literal["image", "label", "generator", "split", "sample"]
ClassName = Literal["real", "fake"]


def is_roles(layout: str) -> bool:
    """Whether a layout names the role of each level of folders: ``generator/split/class``."""
    return set(layout.split("/")) <= set(ROLES)


def _layout(value: object) -> object:
    if isinstance(value, str) and is_roles(value):
        roles = value.split("/")
        if any(roles.count(role) > 1 for role in ROLES if role != "category"):
            raise ValueError(f"'{value}' names a level twice: only category may be repeated")
    return value


def read_label_meanings(value: object) -> object:
    """Return the meanings of labels by their folded names; raise ValueError for another form."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"must give the meaning of each label, such as {{0: fake, 1: real}}, not {show(value)}"
        )
    wrong = [key for key, meaning in value.items() if meaning not in ("real", "fake")]
    if wrong:
        raise ValueError(f"'{wrong[0]}' must be real or fake, not {show(value[wrong[0]])}")
    return {folded(str(key)): meaning for key, meaning in value.items()}


def _masks(value: object) -> object:
    """Read one or several masks; paths of files start at the folder of the scenario, which is not known here."""
    masks = value if isinstance(value, list) else [value]
    for mask in masks:
        read_mask(mask)
    return masks


class _SourceKeys(Section):
    """Keys that declare a source, besides ``source`` itself.

    Parameters
    ----------
    layout
        Resolves an ambiguous layout: a registered layout, the name of a known data set, or the role of each level of
        folders, such as ``generator/split/class``.
    labels
        Maps the labels or class folders of the source to real and fake.
    label
        The class of a source with only one class.
    generator
        Replaces the generators of the source.
    columns
        Names the columns of a table with unusual names.
    """

    layout: Annotated[str | None, BeforeValidator(_layout)] = None
    labels: Annotated[dict[str, ClassName], BeforeValidator(read_label_meanings)] | None = None
    label: ClassName | None = None
    generator: Annotated[str, Field(min_length=1)] | None = None
    columns: dict[Column, str] | None = None


class SourceSpec(_SourceKeys):
    """One source of images, or a bare string.

    Parameters
    ----------
    source
        ``minigen``, ``hf://org/name``, or the path of a folder, a Parquet, Arrow, CSV or tar file.
    """

    source: str

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"source": value} if isinstance(value, str) else value


class DataSpec(_SourceKeys):
    """Images of a scenario: one source with its keys, or several ``sources``.

    Parameters
    ----------
    source
        ``minigen``, ``hf://org/name``, or the path of a folder, a Parquet, Arrow, CSV or tar file.
    sources
        Several sources, instead of ``source``.
    split
        One of the splits, or ``all``.
    limit
        The largest number of images, stratified by generator and label.
    mix
        One or several masks: each photograph is evaluated also with a generated region of that shape, and the fakes are
        used for the regions alone.
    """

    source: str | None = None
    sources: Annotated[list[SourceSpec], Field(min_length=1)] | None = None
    split: str = "test"
    limit: Annotated[PositiveInt, BeforeValidator(not_a_boolean)] | None = None
    mix: Annotated[list[str], BeforeValidator(_masks), Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"source": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_one_or_several(self) -> Self:
        if (self.source is None) == (self.sources is None):
            raise ValueError("needs a 'source', or several under 'sources'")
        said = self.model_fields_set & set(_SourceKeys.model_fields)
        if self.sources is not None and said:
            raise ValueError(
                f"'{min(said)}' belongs to one source: write it in the list, {{source: …, {min(said)}: …}}"
            )
        return self

    @property
    def parts(self) -> dict[Path_, SourceSpec]:
        """The sources, each by the path of its ``source`` key inside the section."""
        if self.sources is not None:
            return {("sources", place, "source"): part for place, part in enumerate(self.sources)}
        said = {key: getattr(self, key) for key in ("source", *_SourceKeys.model_fields)}
        return {("source",): SourceSpec.model_validate({k: v for k, v in said.items() if v is not None})}

    def starting_here(self) -> Self:
        """Return the same with relative paths made absolute, from the current folder: a scenario's start at its file."""
        mix = {} if self.mix is None else {"mix": self.regions(Path.cwd())}
        if self.sources is None:
            return self.model_copy(update={"source": _absolute(self.source or ""), **mix})
        sources = [part.model_copy(update={"source": _absolute(part.source)}) for part in self.sources]
        return self.model_copy(update={"sources": sources, **mix})

    def regions(self, folder: Path) -> list[str]:
        """Return the masks of ``mix``, with files that start at a folder."""
        return [str(starting_at(mask, folder)) for mask in self.mix or ()]

    @property
    def title(self) -> str:
        """The sources as they are named in tables and reports."""
        return " + ".join(printable(part.source) for part in self.parts.values())


def _absolute(source: str) -> str:
    if source == "minigen" or "://" in source:
        return source
    return str(Path(source).expanduser().resolve())
