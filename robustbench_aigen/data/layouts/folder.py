"""A folder of images whose sub-folders name class, split and generator, in any order and at any depth."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from robustbench_aigen.data.class_folders import FolderReader, Roles, Told
from robustbench_aigen.data.columns import meaning_of
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.image_files import SUFFIXES, find_images
from robustbench_aigen.data.layout import layout
from robustbench_aigen.data.meaning_hints import joined_names, labels_for, no_class
from robustbench_aigen.data.samples import REAL_POOL, Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.notices import warning
from robustbench_aigen.scenario.data_spec import SourceSpec
from robustbench_aigen.scenario.words import folded, printable
from robustbench_aigen.text import counted
from robustbench_aigen.words import NO_LABELS, Labels, is_weak, label_of, split_in, split_of

_KNOWN = {
    ("generator", "split", "class"): "GenImage",
    ("split", "class"): "CIFAKE",
    ("generator", "class"): "CNNDetection",
    ("generator", "category", "class"): "CNNDetection",
    ("split", "category", "class"): "CNNDetection",
    ("split", "generator", "class"): "CNNDetection",
    ("split", "generator", "category", "class"): "CNNDetection",
}


class FolderSource:
    """Images below a folder, such as ``{ai,real}``, ``{train,val,test}/{FAKE,REAL}`` or ``ADM/val/{ai,nature}``.

    :class:`robustbench_aigen.data.class_folders.FolderReader` says how names are read. Fakes without a generator are
    generator ``fake``; reals without one belong to all. Where no folder tells a split, file names do if all of them
    begin or end with one and both classes have the same.

    A file that links put at several places counts at each of them that tells another generator or split; reals that
    stand under every generator are one set that belongs to all.

    Parameters
    ----------
    folder
        The root.
    labels, label, layout
        The user's keys on class folders, on the class of all images, and on the levels of folders.

    Raises
    ------
    UserError
        If there are no images, or images without a class, or contradictory names or links.
    """

    def __init__(
        self,
        folder: Path,
        labels: Labels = NO_LABELS,
        label: int | None = None,
        layout: Roles | None = None,
    ) -> None:
        self.name = printable(folder.resolve().name)
        files, same, self.notices = find_images(folder)
        inner = {
            parent: parent.relative_to(folder) for parent in dict.fromkeys(file.parent for file in files)
        }
        reader = FolderReader(inner.values(), labels, label, layout)
        told = {parent: reader.read(relative) for parent, relative in inner.items()}
        linked = {place for group in same if any(told[files[p].parent] for p in group) for place in group}
        left_out = [
            inner[file.parent]
            for place, file in enumerate(files)
            if told[file.parent] is None and place not in linked
        ]
        weak = _only_weak(told, inner, labels) if left_out else []
        if not any(told.values()) or weak:
            raise no_class(folder, list(inner.values()), layout, labels, weak)
        if left_out:
            folders = sorted({printable(relative) for relative in left_out})
            shown = ", ".join(folders[:3]) + (" …" if len(folders) > 3 else "")
            text = counted(
                len(left_out),
                f"image is left out: its folder names no class ({shown})",
                f"images are left out: their folders name no class ({shown})",
            )
            self.notices.append(warning(text + labels_for(left_out, reader.class_levels)))
        self.notices += [*_unused(labels, inner.values()), *joined_names(reader.joined)]
        if layout is None:
            self.notices += _kinds(
                reader.kinds, [(inner[parent].parts, said) for parent, said in told.items()]
            )
        samples = {
            index: _sample(file.relative_to(folder), said)
            for index, file in enumerate(files)
            if (said := told[file.parent]) is not None
        }
        self._take_once(samples, same)
        self._files = [files[index] for index in samples]
        self.samples = _unique(list(samples.values()))
        if layout is None and all(sample.split is None for sample in self.samples):
            self._find_splits(folder)
        self.layout = _described(Counter(told[file.parent] for file in self._files))

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return read_file(self._files[index])

    def _find_splits(self, folder: Path) -> None:
        """Find the splits that no folder below the root tells: in the names of files, or in the root's own."""
        splits = _splits_of_names(self.samples, self._files)
        if splits:
            counts = ", ".join(f"{split} {count}" for split, count in sorted(Counter(splits).items()))
            self.notices.append(f"splits come from the file names: {counts}")
        elif (split := _split_of_root(folder)) is not None:
            self.notices.append(
                f"all images belong to the split {split}, by the names of the folder and of the folders beside it"
            )
            splits = [split] * len(self.samples)
        else:
            return
        self.samples = [
            sample._replace(split=split) for sample, split in zip(self.samples, splits, strict=True)
        ]

    def _take_once(self, samples: dict[int, Sample], same: list[list[int]]) -> None:
        """Remove places of one file that tell nothing new, and tell of the others.

        Raises
        ------
        UserError
            If links put a file into both classes.
        """
        groups = [
            group for places in same if len(group := [place for place in places if place in samples]) > 1
        ]
        both = [group for group in groups if len({samples[place].label for place in group}) > 1]
        if both:
            real, fake = (
                next(samples[p].id for p in both[0] if samples[p].label == label) for label in (0, 1)
            )
            raise UserError(
                f"links put {counted(len(both), 'image')} into both classes: {fake} and {real} are the same file",
                hint="remove the link from the wrong class",
            )
        fakes = {sample.generator for sample in samples.values() if sample.label == 1}
        pooled = repeated = several = 0
        for group in groups:
            first: dict[tuple[str, str | None], int] = {}
            for place in group:
                first.setdefault((samples[place].generator, samples[place].split), place)
            split = samples[group[0]].split
            if (
                samples[group[0]].label == 0
                and len(fakes) > 1
                and {own for own, _ in first} >= fakes
                and len({own for _, own in first}) == 1
            ):
                pooled += 1
                kept = [group[0]]
                samples[group[0]] = samples[group[0]]._replace(generator=REAL_POOL, split=split)
            else:
                kept = list(first.values())
                several += len(kept) > 1
                repeated += len(kept) == 1
            for place in set(group) - set(kept):
                del samples[place]
        if pooled:
            self.notices.append(
                counted(
                    pooled,
                    "image linked under every generator belongs to all generators and counts once",
                    "images linked under every generator belong to all generators and count once",
                )
            )
        if several:
            self.notices.append(
                counted(
                    several,
                    "image linked under several generators or splits counts once for each",
                    "images linked under several generators or splits count once for each",
                )
            )
        if repeated:
            self.notices.append(
                counted(
                    repeated,
                    "image linked twice into one place counts once",
                    "images linked twice into one place count once",
                )
            )


def in_class_folders(folder: Path, spec: SourceSpec) -> int:
    """Return the number of images in class folders; the pictures of a description are outside of these."""
    labels = meaning_of(spec).labels
    counts = Counter(file.parent for file in files_below(folder, SUFFIXES))
    return sum(
        count
        for parent, count in counts.items()
        if any(label_of(part, labels) is not None for part in parent.relative_to(folder).parts)
    )


def _why(path: Path, spec: SourceSpec) -> str | None:
    count = in_class_folders(path, spec) if path.is_dir() else 0
    return f"{counted(count, 'image')} in class folders" if count else None


@layout("folder", recognise=_why, order=5)
def open_folder(path: Path, spec: SourceSpec) -> FolderSource:
    """Open a folder of images.

    Raises
    ------
    UserError
        If ``path`` is not a folder, or as :class:`FolderSource` does.
    """
    if not path.is_dir():
        raise UserError(f"'{spec.source}' is not a folder, as layout: {spec.layout} says")
    meaning = meaning_of(spec)
    return FolderSource(path, meaning.labels, meaning.label, meaning.roles)


def _sample(file: Path, told: Told) -> Sample:
    return Sample(printable(file.as_posix()), told.label, told.generator, told.split)


def _unique(samples: list[Sample]) -> list[Sample]:
    """Make ids unique that are equal after escaping."""
    counts = Counter(sample.id for sample in samples)
    if len(counts) == len(samples):
        return samples
    return [
        sample._replace(id=f"{sample.id}#{row}") if counts[sample.id] > 1 else sample
        for row, sample in enumerate(samples)
    ]


def _splits_of_names(samples: Sequence[Sample], files: Sequence[Path]) -> list[str]:
    """Return the splits in file names where those of all images have one, and both classes the same; else nothing."""
    splits: list[str] = []
    of_class: dict[int, set[str]] = defaultdict(set)
    for sample, file in zip(samples, files, strict=True):
        split = _split_of_file(file.stem)
        if split is None:
            return []
        splits.append(split)
        of_class[sample.label].add(split)
    is_clear = len(of_class) == 2 and of_class[0] == of_class[1] and len(of_class[0]) > 1
    return splits if is_clear else []


def _split_of_root(folder: Path) -> str | None:
    """Return the split that a data set's own folder is, one of several beside each other: ``train`` beside ``test``."""
    root = folder.resolve()
    own = split_of(printable(root.name))
    if own is None:
        return None
    try:
        beside = {split_of(printable(other.name)) for other in root.parent.iterdir() if other.is_dir()}
    except OSError:
        return None
    return own if beside - {own, None} else None


def _split_of_file(stem: str) -> str | None:
    """Return the split with which a file's name begins or ends."""
    parts = [
        part
        for part in printable(stem).replace("-", "_").replace(" ", "_").replace(".", "_").split("_")
        if part
    ]
    return next((split for part in (*parts[:1], *parts[-1:]) if (split := split_in(part)) is not None), None)


def _only_weak(told: dict[Path, Told | None], inner: dict[Path, Path], labels: Labels) -> list[str]:
    """Return the class folders where they all are of one class, with names that may be those of kinds of pictures."""
    known = {parent: said for parent, said in told.items() if said is not None}
    names = {
        part
        for parent, said in known.items()
        for part, role in zip(inner[parent].parts, said.roles, strict=True)
        if role.startswith("class")
    }
    if len({said.label for said in known.values()}) != 1:
        return []
    return sorted(names) if all(is_weak(name) and folded(name) not in labels for name in names) else []


def _unused(labels: Labels, folders: Iterable[Path]) -> list[str]:
    names = {folded(printable(part)) for folder in folders for part in folder.parts}
    unused = sorted(set(labels) - names)
    if not unused:
        return []
    return [f"no folder is called {', '.join(unused[:3])}{' …' if len(unused) > 3 else ''}, as labels: says"]


def _kinds(kinds: Collection[str], folders: Sequence[tuple[Roles, Told | None]]) -> list[str]:
    """Name the kinds of pictures that could be generators, and the layouts that make them some."""
    told = [(tuple(map(printable, parts)), said) for parts, said in folders if said is not None]
    if not any(part in kinds for parts, _ in told for part in parts):
        return []
    layouts: dict[str, None] = {}
    is_split = False
    for parts, said in told:
        if said.label and said.generator == "fake":
            is_split |= "class and split" in said.roles
            places = [place for place, part in enumerate(parts) if part in kinds]
            layouts |= {"/".join([*said.roles[:place], "generator"]): None for place in places}
    shown = ", ".join(sorted(kinds)[:3]) + (" …" if len(kinds) > 3 else "")
    hint = ""
    if is_split:
        hint = "; if they are generators, put class folders into each of them"
    elif layouts:
        hint = f"; if they are generators, {' or '.join(f'layout: {layout}' for layout in [*layouts][:2])}"
    return [f"folders below both classes are read as kinds of pictures, not as generators: {shown}{hint}"]


def _described(images: Counter[Told | None]) -> str:
    """Write the roles of the levels of folders, the commonest first, and whose layout that is."""
    patterns: Counter[Roles] = Counter()
    for told, count in images.items():
        assert told is not None
        roles = list(told.roles)
        while roles and roles[-1] == "category":
            del roles[-1]
        patterns[tuple(roles)] += count
    names = ["/".join(roles) or "no folders" for roles, _ in patterns.most_common()]
    known = {_KNOWN.get(roles) for roles in patterns}
    like = f", as in {known.pop()}" if len(known) == 1 and known != {None} else ""
    return f"folders {', '.join(names[:3])}{' …' if len(names) > 3 else ''}{like}"
