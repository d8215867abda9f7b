"""Opens what a scenario names as its data: finds out how it lies, and puts several sources together."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from robustbench_aigen.data.columns import TableMeaning
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.folder import FolderSource
from robustbench_aigen.data.hub import PREFIX, fetch, is_here
from robustbench_aigen.data.image_files import SUFFIXES
from robustbench_aigen.data.inventory import of_their_own
from robustbench_aigen.data.joined import JoinedSource
from robustbench_aigen.data.manifest import MANIFESTS, ManifestSource, is_manifest
from robustbench_aigen.data.samples import IN_PACKAGE, ImageSource
from robustbench_aigen.data.shard_names import expanded, names_several
from robustbench_aigen.data.tables import TableSource, may_be_data
from robustbench_aigen.data.vocabulary import label_of
from robustbench_aigen.data.webdataset import WebDatasetSource, compressed_below
from robustbench_aigen.errors import UserError, did_you_mean, first_line, shortened
from robustbench_aigen.scenario.data_spec import FILE_LAYOUTS, NAMED_LAYOUTS, DataSpec, SourceSpec
from robustbench_aigen.scenario.words import folded, printable
from robustbench_aigen.text import counted

BUILT_IN = {"minigen": "CIFAR-10 photographs against images of five generators, 32×32, in the package"}
_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"} | dict.fromkeys(MANIFESTS, "csv")
_PACKED = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".gz")


def open_data(spec: DataSpec, folder: Path) -> ImageSource:
    """Open the source of a scenario, or all of them as one.

    Parameters
    ----------
    spec
        The scenario's ``data``.
    folder
        Where relative paths start.

    Raises
    ------
    UserError
        As :func:`open_source` does, or if one source is there twice.
    """
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


def not_looked_at(spec: DataSpec) -> str:
    """Say which sources a check does without, because opening would download them; empty where there are none."""
    sources = [part.source for part in spec.parts.values()]
    missing = [source for source in sources if source.startswith(PREFIX) and not is_here(source)]
    return f"images not looked at: {', '.join(missing)}, fetched when it runs" if missing else ""


def open_source(source: str | SourceSpec, folder: Path) -> ImageSource:
    """Open a data source.

    Parameters
    ----------
    source
        ``minigen``, ``hf://org/name``, or the path of a folder of images, of a Parquet, Arrow, CSV or tar file, or of
        a folder of such files; with what the scenario says of it.
    folder
        Where relative paths start.

    Raises
    ------
    UserError
        If there is nothing of that name, or nothing in it that can be used, or its layout is ambiguous.
    """
    spec = SourceSpec(source=source) if isinstance(source, str) else source
    opened = _opened(spec, folder)
    if spec.generator is not None:
        opened.samples = [sample._replace(generator=spec.generator) for sample in opened.samples]
    return opened


def _opened(spec: SourceSpec, folder: Path) -> ImageSource:
    if spec.source == "minigen":
        named = TableMeaning(class_names={"label": ("real", "fake")})
        built_in = TableSource(Path(__file__).parent / "minigen", meaning=named)
        built_in.layout = IN_PACKAGE
        return built_in
    if spec.source.startswith(PREFIX):
        path, there = fetch(spec.source), True
    else:
        path = (folder / spec.source).expanduser()
        try:
            there = path.exists()
        except OSError as error:
            raise UserError(f"'{shortened(spec.source)}' cannot be opened: {error.strerror}") from error
        if not there and names_several(spec.source):
            return _several(spec, expanded(path))
        if not there:
            near = _near(spec.source, path)
            known = f"a path that exists, hf://org/name, or built in: {did_you_mean(spec.source, BUILT_IN)}"
            hint = known if near is None else f"did you mean '{printable(near)}'?"
            raise UserError(f"no data at '{spec.source}'", hint=hint)
    if there and not (path.is_file() or path.is_dir()):
        raise UserError(f"'{shortened(spec.source)}' is neither a file nor a folder")
    try:
        opened = _by_layout(spec, path)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"'{shortened(spec.source)}' cannot be opened: {reason}") from error
    if spec.source.startswith(PREFIX):
        # The cache's folder is called after the revision.
        opened.name = spec.source.removeprefix(PREFIX).removeprefix("datasets/").partition("@")[0]
    return opened


def _near(source: str, path: Path) -> str | None:
    """Return a path that exists, written as the source, whose first wrong folder or file has nearly the same name."""
    depth = next((depth for depth, above in enumerate(path.parents) if above.is_dir()), None)
    parts = Path(source).parts
    if depth is None or depth >= len(parts):
        return None
    above, missing = path.parents[depth], parts[-1 - depth]
    try:
        beside = {
            other.name.casefold(): other.name
            for other in above.iterdir()
            if not other.name.startswith(".") and (other.is_dir() or other.suffix.lower() in _KINDS)
        }
    except OSError:
        return None
    for name in get_close_matches(missing.casefold(), sorted(beside), n=3, cutoff=0.6):
        deeper = parts[len(parts) - depth :]
        if (above / beside[name]).joinpath(*deeper).exists():
            return str(Path(*parts[: -1 - depth], beside[name], *deeper))
    return None


def _several(spec: SourceSpec, files: Sequence[Path]) -> ImageSource:
    """Open files that one name with braces or wildcards stands for, as if they were alone in their folder."""
    kinds = {_KINDS.get(file.suffix.lower()) for file in files}
    kind = kinds.pop() if len(kinds) == 1 else None
    root = Path(os.path.commonpath([file.parent for file in files]))
    if kind == "webdataset":
        return WebDatasetSource(root, _meaning(spec), files)
    if kind in ("parquet", "arrow"):
        return TableSource(root, f".{kind}", _meaning(spec), files)
    raise UserError(
        f"'{shortened(spec.source)}' names several files that are not all tar, Parquet or Arrow files",
        hint="list them under 'sources'",
    )


def _meaning(spec: SourceSpec) -> TableMeaning:
    labels = {name: 1 if meaning == "fake" else 0 for name, meaning in (spec.labels or {}).items()}
    label = None if spec.label is None else label_of(spec.label)
    columns = {str(role): name for role, name in (spec.columns or {}).items()}
    return TableMeaning(labels, label, columns, roles=_roles(spec))


def _roles(spec: SourceSpec) -> tuple[str, ...] | None:
    """Return what each level of folders is, where the user says it."""
    if spec.layout is None or spec.layout in FILE_LAYOUTS:
        return None
    return tuple(NAMED_LAYOUTS.get(spec.layout, spec.layout).split("/"))


def _by_layout(spec: SourceSpec, path: Path) -> ImageSource:
    meaning = _meaning(spec)
    roles = meaning.roles
    # Of one file they are those of the paths in it.
    layout = _detected(path, spec) if spec.layout is None or (roles and path.is_file()) else spec.layout
    if layout == "csv":
        return ManifestSource(_manifest(path), meaning)
    if layout == "webdataset":
        return WebDatasetSource(_having(path, ".tar"), meaning)
    if layout in ("parquet", "arrow"):
        return TableSource(_having(path, f".{layout}"), f".{layout}", meaning)
    if not path.is_dir():
        raise UserError(f"'{spec.source}' is not a folder, as layout: {layout} says")
    return FolderSource(path, meaning.labels, meaning.label, roles)


def _detected(path: Path, spec: SourceSpec) -> str:
    """Tell the layout from what is there.

    Raises
    ------
    UserError
        If it could be several, or none.
    """
    if path.is_file():
        if path.suffix.lower() in _KINDS:
            return _KINDS[path.suffix.lower()]
        packed = path.name.lower().endswith(_PACKED)
        hint = (
            "unpack it: to a folder of images, or to a plain .tar"
            if packed
            else "give a folder of images, or Parquet, Arrow, CSV or tar files"
        )
        raise UserError(f"'{spec.source}' is not a data source", hint=hint)
    files: dict[str, list[Path]] = {suffix: [] for suffix in _KINDS}
    images: list[Path] = []
    for file in files_below(path, {*_KINDS, *SUFFIXES}):
        files.get(file.suffix.lower(), images).append(file)
    files |= {suffix: [file for file in files[suffix] if is_manifest(file)] for suffix in MANIFESTS}
    counts = dict.fromkeys(_KINDS.values(), 0)
    for suffix, found in files.items():
        counts[_KINDS[suffix]] += len(found)
    present = [kind for kind, count in counts.items() if count]
    if not present and (tars := compressed_below(path)):
        raise UserError(
            f"'{spec.source}' has compressed tar files: {tars[0].name}", hint="unpack them to .tar"
        )
    if not present:
        return "folder"
    # Pictures beside a table are often those of its description: only class folders make them a data set.
    in_classes = sum(
        any(_names_class(part, spec) for part in file.relative_to(path).parts[:-1]) for file in images
    )
    if in_classes:
        # Beside images, tables of something else are notes on them.
        meaning = _meaning(spec)
        for suffix, kind in ((".parquet", "parquet"), (".arrow", "arrow")):
            counts[kind] = sum(may_be_data(file, meaning) for file in files[suffix])
        present = [kind for kind in present if counts[kind]] + ["folder"]
    if len(present) == 1:
        return present[0]
    found_as = [
        f"{counted(in_classes, 'image')} in class folders"
        if kind == "folder"
        else f"{counted(counts[kind], f'{kind} file')}"
        for kind in present
    ]
    raise UserError(
        f"'{spec.source}' can be read in more than one way: {' or '.join(found_as)}",
        hint=f"say which: {' or '.join(f'layout: {kind}' for kind in present)}",
    )


def _names_class(part: str, spec: SourceSpec) -> bool:
    return label_of(part) is not None or folded(part) in (spec.labels or {})


def _manifest(path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in files_below(path, MANIFESTS) if is_manifest(file)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"no CSV or JSON Lines file in {path} has the columns path and label")
    listed = ", ".join(str(file.relative_to(path)) for file in found[:3])
    raise UserError(
        f"{path} has {len(found)} manifests: {listed}", hint="name one of them, or several under 'sources'"
    )


def _having(path: Path, suffix: str) -> Path:
    if path.is_dir() and not files_below(path, {suffix}):
        raise UserError(f"no {suffix} files in {path}")
    return path


def _is_reference(source: str) -> bool:
    return source == "minigen" or source.startswith(PREFIX)
