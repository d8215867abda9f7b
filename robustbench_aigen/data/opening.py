"""Opens what a scenario names as its data: finds out how it lies, and puts several sources together."""

import os
from collections.abc import Sequence
from copy import copy
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from robustbench_aigen.data.columns import TableMeaning, meaning_of
from robustbench_aigen.data.hub import PREFIX, fetch, is_here
from robustbench_aigen.data.inventory import of_their_own
from robustbench_aigen.data.joined import JoinedSource
from robustbench_aigen.data.layout import LAYOUTS, check_layout, recognised
from robustbench_aigen.data.layouts.tables import TableSource
from robustbench_aigen.data.layouts.webdataset import WebDatasetSource, compressed_below
from robustbench_aigen.data.samples import IN_PACKAGE, ImageSource
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.data.shard_names import expanded, names_several
from robustbench_aigen.data.urls import fetch_url, is_fetched, is_url
from robustbench_aigen.errors import UserError, did_you_mean, first_line, shortened
from robustbench_aigen.scenario.data_spec import DataSpec, SourceSpec
from robustbench_aigen.scenario.words import printable

BUILT_IN = {"minigen": "CIFAR-10 photographs against images of five generators, 32×32, in the package"}
_PACKED = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".gz")


def open_data(spec: DataSpec, folder: Path) -> ImageSource:
    """Open the source of a scenario, or several sources as one.

    Parameters
    ----------
    spec
        The scenario's ``data``.
    folder
        The folder that relative paths start at.

    Raises
    ------
    UserError
        As :func:`open_source` does, or if a source is named twice.
    """
    check_layouts(spec)
    sources, places = [], []
    for place, part in spec.parts.items():
        try:
            sources.append(open_source(part, folder))
        except UserError as error:
            raise error.at(spec.where(*place)) from error
        places.append(
            part.source if _is_reference(part.source) else str((folder / part.source).expanduser().resolve())
        )
    try:
        opened: ImageSource = sources[0] if len(sources) == 1 else JoinedSource(sources, places)
    except UserError as error:
        raise error.at(spec.where("sources")) from error
    opened.notices += of_their_own(opened.samples)
    return opened


def with_regions(selection: Selection, spec: DataSpec | None, folder: Path) -> Selection:
    """Return a selection with the generated regions of ``mix`` of a scenario.

    Raises
    ------
    UserError
        As :func:`robustbench_aigen.data.mixing.mixed` does.
    """
    if spec is None or spec.mix is None:
        return selection
    from robustbench_aigen.data.mixing import mixed  # With torch, which opening data does without.

    return mixed(selection, spec.regions(folder))


def check_layouts(spec: DataSpec) -> None:
    """Raise UserError for the first unknown layout of a data section."""
    for place, part in spec.parts.items():
        try:
            check_layout(part.layout)
        except UserError as error:
            raise error.at(spec.where(*place[:-1], "layout")) from error


def not_looked_at(spec: DataSpec) -> str:
    """Return a notice on the sources that a check skips, because opening would download them; empty if all sources are local."""
    sources = [part.source for part in spec.parts.values()]
    missing = [
        source
        for source in sources
        if (source.startswith(PREFIX) and not is_here(source)) or (is_url(source) and not is_fetched(source))
    ]
    return f"images not checked: {', '.join(missing)}, downloaded by run" if missing else ""


def open_source(source: str | SourceSpec, folder: Path) -> ImageSource:
    """Open a data source.

    Parameters
    ----------
    source
        ``minigen``, ``hf://org/name``, a URL of fsspec such as ``s3://bucket/images``, or the path of a folder of images, of a Parquet, Arrow, CSV or tar file, or of
        a folder of such files; with the keys of the scenario.
    folder
        The folder that relative paths start at.

    Raises
    ------
    UserError
        If there is nothing of that name, or nothing in it that can be used, or its layout is ambiguous.
    """
    spec = SourceSpec(source=source) if isinstance(source, str) else source
    check_layout(spec.layout)
    opened = _opened(spec, folder)
    if spec.generator is not None:
        opened.samples = [sample._replace(generator=spec.generator) for sample in opened.samples]
    return opened


def _opened(spec: SourceSpec, folder: Path) -> ImageSource:
    if spec.source == "minigen":
        return _minigen()
    if spec.source.startswith(PREFIX):
        path, there = fetch(spec.source), True
    elif is_url(spec.source):
        path, there = fetch_url(spec.source), True
    else:
        path = (folder / spec.source).expanduser()
        try:
            there = path.exists()
        except OSError as error:
            raise UserError(f"'{shortened(spec.source)}' cannot be opened: {error.strerror}") from error
        if not there and names_several(spec.source):
            return _several(spec, expanded(path))
        if not there:
            near = _near(spec, path)
            known = f"a path that exists, hf://org/name, s3://bucket/folder, or built in: {did_you_mean(spec.source, BUILT_IN)}"
            hint = known if near is None else f"did you mean '{printable(near)}'?"
            raise UserError(f"no data at '{spec.source}'", hint=hint)
    if there and not (path.is_file() or path.is_dir()):
        raise UserError(f"'{shortened(spec.source)}' is neither a file nor a folder")
    try:
        opened = _open_path(spec, path)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"'{shortened(spec.source)}' cannot be opened: {reason}") from error
    if spec.source.startswith(PREFIX):
        # The cache's folder is called after the revision.
        opened.name = spec.source.removeprefix(PREFIX).removeprefix("datasets/").partition("@")[0]
    return opened


def _minigen() -> TableSource:
    """Return the built-in images, with lists of their own, because callers change them."""
    built_in = copy(_minigen_tables())
    built_in.samples, built_in.notices = [*built_in.samples], [*built_in.notices]
    return built_in


@cache
def _minigen_tables() -> TableSource:
    """Read the tables of the package once in a process: a small run takes little longer than that."""
    named = TableMeaning(class_names={"label": ("real", "fake")})
    built_in = TableSource(Path(__file__).parent / "minigen", meaning=named)
    built_in.layout = IN_PACKAGE
    return built_in


def _near(spec: SourceSpec, path: Path) -> str | None:
    """Return a path that exists, written as the source, whose first wrong folder or file has nearly the same name."""
    depth = next((depth for depth, above in enumerate(path.parents) if above.is_dir()), None)
    parts = Path(spec.source).parts
    if depth is None or depth >= len(parts):
        return None
    above, missing = path.parents[depth], parts[-1 - depth]
    try:
        beside = {
            other.name.casefold(): other.name
            for other in above.iterdir()
            if not other.name.startswith(".") and (other.is_dir() or recognised(other, spec))
        }
    except OSError:
        return None
    for name in get_close_matches(missing.casefold(), sorted(beside), n=3, cutoff=0.6):
        deeper = parts[len(parts) - depth :]
        if (above / beside[name]).joinpath(*deeper).exists():
            return str(Path(*parts[: -1 - depth], beside[name], *deeper))
    return None


def _several(spec: SourceSpec, files: Sequence[Path]) -> ImageSource:
    """Open the files of a name with braces or wildcards, as if they were alone in their folder."""
    suffixes = {file.suffix.lower() for file in files}
    root = Path(os.path.commonpath([file.parent for file in files]))
    if suffixes == {".tar"}:
        return WebDatasetSource(root, meaning_of(spec), files)
    if suffixes in ({".parquet"}, {".arrow"}):
        return TableSource(root, suffixes.pop(), meaning_of(spec), files)
    raise UserError(
        f"'{shortened(spec.source)}' names several files that are not all tar, Parquet or Arrow files",
        hint="list them under 'sources'",
    )


def _open_path(spec: SourceSpec, path: Path) -> ImageSource:
    name = spec.layout if spec.layout in LAYOUTS else None
    if name is None and spec.layout is not None and path.is_dir():
        name = "folder"  # In a single file, the levels are those of the paths that the file lists.
    return LAYOUTS[name or _detected(path, spec)].open(path, spec)


def _detected(path: Path, spec: SourceSpec) -> str:
    """Return the layout recognised from the files.

    Raises
    ------
    UserError
        If it could be several, or none.
    """
    reasons = recognised(path, spec)
    if not reasons.keys() - {"folder"} and path.is_dir():
        if tars := compressed_below(path):
            raise UserError(
                f"'{spec.source}' has compressed tar files: {tars[0].name}", hint="unpack them to .tar"
            )
        return "folder"
    if not reasons:
        packed = path.name.lower().endswith(_PACKED)
        hint = (
            "unpack it: to a folder of images, or to a plain .tar"
            if packed
            else "give a folder of images, or Parquet, Arrow, CSV or tar files"
        )
        raise UserError(f"'{spec.source}' is not a data source", hint=hint)
    if len(reasons) > 1:
        raise UserError(
            f"'{spec.source}' can be read in more than one way: {' or '.join(reasons.values())}",
            hint=f"name the layout: {' or '.join(f'layout: {name}' for name in reasons)}",
        )
    return next(iter(reasons))


def _is_reference(source: str) -> bool:
    return source == "minigen" or source.startswith(PREFIX) or is_url(source)
