"""Layouts of images on disk, and the registry of all layouts: built-in layouts and those of plugins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from robustbench_aigen.data.file_search import walked_once
from robustbench_aigen.data.joined import JoinedSource
from robustbench_aigen.data.samples import CLASS_NAMES, ImageSource, Sample
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.imports import source_files, users_code
from robustbench_aigen.registry import Registry
from robustbench_aigen.scenario.data_spec import NAMED_LAYOUTS, SourceSpec, is_roles

Function = TypeVar("Function", bound=Callable[[Path, SourceSpec], Any])


@dataclass(frozen=True)
class Layout:
    """A layout of images and labels in a file or a folder.

    Parameters
    ----------
    name
        The value of ``layout`` in scenarios: ``layout: csv``.
    function
        ``(path, spec) -> ImageSource``; ``spec`` is the declaration of the source in the scenario.
    recognise
        ``(path) -> str | None``, or ``(path, spec)`` if the result depends on the scenario: the reason why a path has
        this layout, such as ``3 parquet files``, or None. A layout without ``recognise`` is used only if it is named.
    built_in
        Whether the layout is part of this package.
    """

    name: str
    function: Callable[[Path, SourceSpec], Any]
    recognise: Callable[..., str | None] | None = None
    built_in: bool = False

    def open(self, path: Path, spec: SourceSpec) -> ImageSource:
        """Return the images of a file or a folder.

        Raises
        ------
        UserError
            If there are no images, or images cannot be read; if a plugin's function fails or returns no source.
        """
        if self.built_in:
            opened: ImageSource = self.function(path, spec)
            return opened
        return PluginSource(self, path, spec)

    def reason(self, path: Path, spec: SourceSpec) -> str | None:
        """Return the reason why a file or a folder has this layout, or None.

        Raises
        ------
        UserError
            If a plugin's function fails or does not return text.
        """
        if self.recognise is None:
            return None
        given = (path, spec)[: len(signature(self.recognise).parameters)]
        if self.built_in:
            return self.recognise(*given)
        with users_code(self._recogniser):
            found: object = self.recognise(*given)
        if found is not None and not isinstance(found, str):
            raise UserError(
                f"{self._recogniser} returns {shortened(repr(found))}",
                hint="return the reason why the path has this layout, as text, or None",
            )
        return found or None

    @property
    def _recogniser(self) -> str:
        return f"the function 'recognise' of the layout '{self.name}'"


LAYOUTS: Registry[Layout] = Registry("layout", "robustbench_aigen.data.layouts")


def layout(
    name: str, *, recognise: Callable[..., str | None] | None = None, order: float = 0
) -> Callable[[Function], Function]:
    """Register a function ``(path, spec) -> ImageSource`` as a layout; see :class:`Layout`.

    Raises
    ------
    UserError
        If the name is taken or has another meaning.
    """

    def decorator(function: Function) -> Function:
        if not isinstance(name, str) or not name or "/" in name or is_roles(name) or name in NAMED_LAYOUTS:
            raise UserError(
                f"a layout cannot be called {name!r}: this name describes levels of folders",
                hint="give it another name",
            )
        built_in = function.__module__.startswith(f"{LAYOUTS.folder}.")
        LAYOUTS.add(name, Layout(name, function, recognise, built_in), defined=function, order=order)
        return function

    return decorator


def recognised(path: Path, spec: SourceSpec) -> Mapping[str, str]:
    """Return the layouts that a file or a folder may have, each with its reason."""
    with walked_once():
        reasons = {each.name: each.reason(path, spec) for each in LAYOUTS}
    return {name: reason for name, reason in reasons.items() if reason}


def check_layout(name: str | None) -> None:
    """Raise UserError unless a layout has this name, or the name gives a role to each level of folders."""
    if name is not None and not is_roles(name) and name not in NAMED_LAYOUTS and name not in LAYOUTS:
        known = did_you_mean(name, [*LAYOUTS.names(), *NAMED_LAYOUTS])
        end = "" if known.endswith("?") else "."
        raise UserError(
            f"unknown layout '{shortened(name)}'",
            hint=f"{known}{end} Or name the role of each level of folders, such as layout: generator/split/class",
        )


class PluginSource:
    """The checked images of a plugin's layout.

    Parameters
    ----------
    layout, path, spec
        The layout, the opened path and its declaration. The function's source has ``samples`` and ``encoded(index)``;
        ``name``, ``notices`` and ``layout``, as in :class:`ImageSource`, are optional.

    Raises
    ------
    UserError
        If the function fails, or its samples make no sense.
    """

    def __init__(self, layout: Layout, path: Path, spec: SourceSpec) -> None:
        self._what = f"the layout '{layout.name}'"
        with users_code(self._what):
            self._source = layout.function(path, spec)
            samples = list(getattr(self._source, "samples", ()))
        if not callable(getattr(self._source, "encoded", None)):
            raise UserError(
                f"{self._what} returns {shortened(repr(self._source))}, not a source of images",
                hint="return an object with samples and encoded(index) -> bytes",
            )
        if not samples:
            raise UserError(f"{self._what} finds no images in {path}")
        self.samples = [self._checked(place, sample) for place, sample in enumerate(samples)]
        if len({sample.id for sample in self.samples}) < len(samples):
            raise UserError(
                f"{self._what} gives two images one id", hint="give every image of a source a different id"
            )
        self.name = str(getattr(self._source, "name", path.resolve().stem))
        self.notices = [str(notice) for notice in getattr(self._source, "notices", ())]
        self.layout = str(getattr(self._source, "layout", layout.name))
        self.files = source_files(layout.function)
        """The source files that decide the content of the images."""

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of ``samples[index]``."""
        lost: OSError | None = None
        content: object = None
        with users_code(f"{self._what}: {self.samples[index].id}"):
            try:
                content = self._source.encoded(index)
            except OSError as error:
                lost = error
        if lost is not None:
            raise lost  # A file that cannot be read is left out; the run lists these files.
        if not isinstance(content, bytes):
            raise UserError(
                f"{self._what} returns {type(content).__name__} for {self.samples[index].id}",
                hint="encoded(index) returns the bytes of an image file",
            )
        return content

    def _checked(self, place: int, sample: object) -> Sample:
        required = len(Sample._fields) - len(Sample._field_defaults)
        if isinstance(sample, tuple) and required <= len(sample) <= len(Sample._fields):
            checked = Sample(*sample)
            is_text = isinstance(checked.id, str) and isinstance(checked.generator, str)
            is_whole = checked.label in range(len(CLASS_NAMES)) and isinstance(checked.split, str | None)
            if is_text and is_whole and checked.id and checked.generator:
                return checked._replace(label=int(checked.label))
        raise UserError(
            f"{self._what}: sample {place} is {shortened(repr(sample))}",
            hint="give Sample(id, label 0 (real) or 1 (fake), generator, split or None)",
        )


def plugin_files(source: ImageSource) -> list[Path]:
    """Return the source files of the plugins that opened a source, or the parts of one."""
    parts = source.sources if isinstance(source, JoinedSource) else [source]
    return sorted({file for part in parts if isinstance(part, PluginSource) for file in part.files})
