"""WebDataset: tar files in which the files of a sample share a name up to the first dot."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from robustbench_aigen.data.class_folders import FolderReader, Told
from robustbench_aigen.data.columns import USUAL, TableMeaning, meaning_of, read_splits
from robustbench_aigen.data.dataset_card import class_names_in_readme
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.generators import read_generators
from robustbench_aigen.data.image_files import SUFFIXES
from robustbench_aigen.data.label_values import LabelMeaning, label_value, plain_text, read_labels
from robustbench_aigen.data.layout import layout
from robustbench_aigen.data.listed_paths import generator_of_file, split_of_folders, told_by_paths
from robustbench_aigen.data.meaning_hints import joined_names
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.tar_members import Group, Member, read_members
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import refuse_size
from robustbench_aigen.notices import warning
from robustbench_aigen.scenario.data_spec import SourceSpec
from robustbench_aigen.text import counted
from robustbench_aigen.words import label_of, split_in

_LABELS = ("cls", "label", "class", "target")
"""Suffixes of files that hold a label."""
_KEYS = {**USUAL, "label": (*USUAL["label"], "cls")}
_FACTS, _TEXT = "json", "txt"
_MOST_TEXT = 2**20
"""Largest size of a file with a label or with facts, in bytes."""
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class WebDatasetSource:
    """One tar file, or all of a folder; those called ``train…``, ``val…``, ``test…`` are splits.

    The label of an image is in its ``.cls`` file, or ``label`` in its ``.json`` file, or in class
    folders in its name, or in its ``.txt`` file; ``.json`` may also have ``generator`` and ``split``. Images are
    read where they are: nothing is unpacked.

    Parameters
    ----------
    path
        A tar file, or a folder with some.
    meaning
        The user's keys on the source. ``columns`` name suffixes of files and keys of ``.json``.
    files
        Which tar files below the folder, if not all.

    Raises
    ------
    UserError
        If a file is no plain tar file, has no images, or the meaning of a label or the image of a sample is ambiguous.
    """

    def __init__(self, path: Path, meaning: TableMeaning, files: Sequence[Path] | None = None) -> None:
        self.name = path.stem if path.is_file() else path.resolve().name
        root = path.parent if path.is_file() else path
        tars = files or ([path] if path.is_file() else files_below(path, {".tar"}))
        self.notices: list[str] = _left_aside(path) if path.is_dir() else []
        groups = self._groups(tars)
        images = _choose_images(groups, meaning.columns.get("image"), self.notices)
        groups = [group for group, image in zip(groups, images, strict=True) if image is not None]
        names = class_names_in_readme(root)
        meaning = meaning._replace(class_names=meaning.class_names or names)
        samples = _samples(groups, root, meaning, self.notices)
        stored = [image for image in images if image is not None]
        kept = [row for row, sample in enumerate(samples) if sample is not None]
        self._stored = [stored[row] for row in kept]
        folders = [_folder(groups[row], root, alone=len(tars) == 1) for row in kept]
        self.samples, told = told_by_paths([sample for sample in samples if sample], folders, meaning)
        self.notices += told
        if not self.samples:
            raise UserError(
                "; ".join([f"no images with a label in {path}", *self.notices]),
                hint="each image needs a .cls or .json file of the same name, or a folder such as real/ or fake/",
            )
        if len(self.samples) < len(samples):
            left = len(samples) - len(self.samples)
            self.notices.append(
                warning(
                    f"{counted(left, 'image is', 'images are')} left out: no label or folder gives their class"
                )
            )
        self.samples = _told_apart(self.samples, self.notices)
        self.layout = f"WebDataset, {counted(len(tars), 'tar file')}"

    def _groups(self, tars: Sequence[Path]) -> list[Group]:
        """Return the samples of all tar files; samples across two tar files are joined."""
        groups: list[Group] = []
        joined = 0
        for tar in tars:
            content = read_members(tar)
            if content.is_cut_off:
                self.notices.append(
                    warning(f"{tar.name} is cut off after {counted(len(content.groups), 'sample')}")
                )
            if content.lost:
                self.notices.append(f"{tar.name}: links without content left out: {content.lost}")
            own = content.groups
            if groups and own and _continues(groups[-1], own[0]):
                groups[-1].members.update(own[0].members)
                own = own[1:]
                joined += 1
            groups += own
        if joined:
            self.notices.append(f"samples that continue in the next tar file: {joined}, joined")
        return groups

    def encoded(self, index: int) -> bytes:
        """Return the member's bytes."""
        refuse_size(self._stored[index].size)
        return self._stored[index].read()


def _why(path: Path) -> str | None:
    found = [path] * (path.suffix.lower() == ".tar") if path.is_file() else files_below(path, {".tar"})
    return counted(len(found), "webdataset file") if found else None


@layout("webdataset", recognise=_why, order=3)
def open_webdataset(path: Path, spec: SourceSpec) -> WebDatasetSource:
    """Open a tar file, or all of a folder.

    Raises
    ------
    UserError
        If there is no tar file, or as :class:`WebDatasetSource` does.
    """
    if path.is_dir() and not files_below(path, {".tar"}):
        raise UserError(f"no .tar files in {path}")
    return WebDatasetSource(path, meaning_of(spec))


def compressed_below(folder: Path) -> list[Path]:
    """Return the compressed tar files of a folder: images in them could not be read where they are."""
    suffixes = {f".{name.rpartition('.')[2]}" for name in _COMPRESSED}
    return [file for file in files_below(folder, suffixes) if file.name.lower().endswith(_COMPRESSED)]


def _left_aside(folder: Path) -> list[str]:
    packed = compressed_below(folder)
    if not packed:
        return []
    return [f"compressed tar files left out: {len(packed)} ({packed[0].name}); unpack them to .tar"]


def _continues(last: Group, first: Group) -> bool:
    """Whether the last sample of a tar file continues in the next: one part has the image, the other part the other files."""
    is_apart = last.tar.parent == first.tar.parent and not last.members.keys() & first.members.keys()
    has_image = [any(map(_is_image, group.members)) for group in (last, first)]
    return last.key == first.key and is_apart and sum(has_image) == 1


def _choose_images(groups: Sequence[Group], said: str | None, notices: list[str]) -> list[Member | None]:
    """Return the image of each sample, None where it has none.

    Of several images, the image with a plain suffix is used (``jpg``, not ``seg.png``), with a notice.

    Raises
    ------
    UserError
        If that does not tell.
    """
    found: list[Member | None] = []
    chosen: Counter[tuple[str, str]] = Counter()
    wanted = None if said is None else said.lower().lstrip(".")
    for group in groups:
        images = [suffix for suffix in group.members if _is_image(suffix)]
        if wanted is not None:
            found.append(group.members.get(wanted))
            continue
        plain = [suffix for suffix in images if "." not in suffix]
        if len(images) > 1 and len(plain) != 1:
            shown = ", ".join(f".{suffix}" for suffix in images[:4]) + (" …" if len(images) > 4 else "")
            raise UserError(
                f"'{group.key}' has several images: {shown}",
                file=group.tar,
                hint=" or ".join(f"columns: {{image: {suffix}}}" for suffix in images[:4]),
            )
        taken = plain[0] if len(images) > 1 else next(iter(images), None)
        found.append(None if taken is None else group.members[taken])
        if len(images) > 1:
            others = ", ".join(f".{suffix}" for suffix in images if suffix != taken)
            chosen[f".{taken}", others] += 1
    for (taken, others), count in chosen.items():
        notices.append(
            f"samples with several images: {count}; {taken} is used, not {others}; columns: {{image: …}} selects another image"
        )
    return found


def _is_image(suffix: str) -> bool:
    return PurePosixPath(f"x.{suffix}").suffix in SUFFIXES


def _samples(
    groups: Sequence[Group], root: Path, meaning: TableMeaning, notices: list[str]
) -> list[Sample | None]:
    """Return the sample of each group, None where nothing says its class."""

    def refusal(row: int, message: str, hint: str) -> UserError:
        return UserError(f"'{groups[row].key}': {message}", file=groups[row].tar, hint=hint)

    alone = len({group.tar for group in groups}) == 1
    folders = [_folder(group, root, alone=alone) for group in groups]
    told = _told_by_folders(folders, meaning, notices)
    facts = [_facts(group.members, meaning.columns) for group in groups]
    labels = _labels(groups, facts, folders, told, meaning, refusal)
    generators = read_generators(
        [
            fact.get("generator")
            or (place.generator if place and label and place.label == label.label else None)
            for fact, place, label in zip(facts, told, labels, strict=True)
        ],
        labels,
        refusal,
    )
    splits = read_splits([fact.get("split") for fact in facts], is_sure=True)
    return [
        None
        if label is None
        else Sample(
            str(PurePosixPath(group.tar.relative_to(root).with_suffix("").as_posix(), group.key)),
            label.label,
            generator,
            split or (place.split if place else split_of_folders(folder)) or split_in(group.tar.stem),
        )
        for group, label, generator, split, place, folder in zip(
            groups, labels, generators, splits, told, folders, strict=True
        )
    ]


def _folder(group: Group, root: Path, *, alone: bool) -> PurePosixPath:
    """Return the folders of a sample: those of the tar file, its name if that is a generator's, those inside it."""
    place = PurePosixPath(group.tar.relative_to(root).as_posix())
    name = PurePosixPath() if alone else generator_of_file(place.stem)
    return place.parent / name / PurePosixPath(group.key).parent


def _told_by_folders(
    folders: Sequence[PurePosixPath], meaning: TableMeaning, notices: list[str]
) -> list[Told | None]:
    different = set(folders)
    reader = FolderReader(different, meaning.labels, meaning.label)
    told = {folder: reader.read(folder) for folder in different}
    notices += joined_names(reader.joined)
    return [told[folder] for folder in folders]


def _labels(
    groups: Sequence[Group],
    facts: Sequence[Mapping[str, Any]],
    folders: Sequence[PurePosixPath],
    told: Sequence[Told | None],
    meaning: TableMeaning,
    refusal: Any,
) -> list[LabelMeaning | None]:
    if meaning.label is not None:
        return [LabelMeaning(meaning.label, None)] * len(groups)
    paths = [str(folder / "image") for folder in folders]
    names = next((meaning.class_names[key] for key in _LABELS if key in meaning.class_names), None)
    values = [fact.get("label") for fact in facts]
    labels = read_labels(values, paths, meaning.labels, names, refusal)
    for row, (group, place) in enumerate(zip(groups, told, strict=True)):
        if labels[row] is None:
            by_name = place.label if place is not None else label_of(group.tar.stem, meaning.labels)
            labels[row] = None if by_name is None else LabelMeaning(by_name, None)
    without = [row for row, label in enumerate(labels) if label is None]
    texts = {row: _text(groups[row].members.get(_TEXT)) for row in without}
    if without and all(_is_label(text, meaning) for text in texts.values()):
        by_text = read_labels(
            [texts.get(row) for row in range(len(groups))], paths, meaning.labels, names, refusal
        )
        labels = [label or own for label, own in zip(labels, by_text, strict=True)]
    return labels


def _is_label(text: str, meaning: TableMeaning) -> bool:
    """Whether a text is a label and no caption."""
    value = label_value(text, None)
    return value is not None and (value.is_bare or label_of(value.name, meaning.labels) is not None)


def _facts(members: Mapping[str, Member], said: Mapping[str, str]) -> dict[str, Any]:
    """Return label, generator and split from the small files of a sample."""
    try:
        content = json.loads(_text(members.get(_FACTS)) or "{}")
    except (ValueError, RecursionError):
        content = None
    known = content if isinstance(content, dict) else {}
    facts = {}
    for role in ("label", "generator", "split"):
        name = said.get(role)
        if name is not None:
            member = members.get(name.lower().lstrip("."))
            facts[role] = _text(member) if member is not None else _nested(known, name)
            continue
        suffixes = _LABELS if role == "label" else (role,)
        member = next((members[suffix] for suffix in suffixes if suffix in members), None)
        facts[role] = _text(member) if member is not None else _usual(known, role)
    return facts


def _usual(content: Mapping[str, Any], role: str) -> Any:
    by_name = {str(name).casefold(): value for name, value in content.items()}
    found = next((by_name[name] for name in _KEYS[role] if name in by_name), None)
    inner = [value for value in content.values() if isinstance(value, dict)]
    return _usual(inner[0], role) if found is None and len(inner) == 1 else found


def _nested(content: Any, name: str) -> Any:
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _text(member: Member | None) -> str:
    if member is None or member.size > _MOST_TEXT:
        return ""
    return plain_text(member.read().decode("utf-8-sig", "replace"))


def _told_apart(samples: Sequence[Sample], notices: list[str]) -> list[Sample]:
    """Number samples of one name, so that each has an id of its own."""
    seen: Counter[str] = Counter()
    apart = []
    for sample in samples:
        seen[sample.id] += 1
        count = seen[sample.id]
        apart.append(sample if count == 1 else sample._replace(id=f"{sample.id}#{count}"))
    repeated = seen.total() - len(seen)
    if repeated:
        notices.append(
            f"samples with the key of another in their tar file: {repeated}, each kept as a separate sample"
        )
    return apart
