"""WebDataset: tar files in which the files of a sample share a name up to the first dot."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from robustbench_aigen.data.class_folders import FolderReader
from robustbench_aigen.data.columns import TableMeaning, generator_or_default, meaning_of
from robustbench_aigen.data.folder import SUFFIXES
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.vocabulary import label_of, split_in, split_of
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError, first_line

_CLASS, _FACTS = ".cls", ".json"


class _Stored(NamedTuple):
    """Where an encoded image stands."""

    tar: Path
    offset: int
    size: int


class WebDatasetSource:
    """One tar file, or all of a folder; those called ``train…``, ``val…``, ``test…`` are splits.

    The label of an image stands in its ``.cls`` file, or as ``label`` in its ``.json`` file, or is told by class
    folders in its name; ``.json`` may also have ``generator`` and ``split``. Images are read where they are: nothing
    is unpacked.

    Raises
    ------
    UserError
        If a file is no plain tar file, has no images, or the meaning of a label cannot be told.
    """

    def __init__(self, path: Path, meaning: TableMeaning) -> None:
        self.name = path.stem if path.is_file() else path.resolve().name
        root = path.parent if path.is_file() else path
        files = [path] if path.is_file() else files_below(path, {".tar"})
        self.notices: list[str] = []
        self.samples: list[Sample] = []
        self._stored: list[_Stored] = []
        unlabelled: Counter[str] = Counter()
        for tar in files:
            place = PurePosixPath(tar.relative_to(root).with_suffix("").as_posix())
            for key, members in self._groups(tar):
                image = next((stored for suffix, stored in members.items() if _is_image(suffix)), None)
                if image is None:
                    continue
                sample = _sample(tar, place, key, members, meaning)
                if sample is None:
                    unlabelled[tar.name] += 1
                    continue
                self.samples.append(sample)
                self._stored.append(image)
        if not self.samples:
            raise UserError(
                f"no images with a label in {path}",
                hint="each image needs a .cls or .json file of the same name, or a folder such as real/ or fake/",
            )
        if unlabelled:
            self.notices.append(f"{unlabelled.total()} images are left out: nothing says their class")
        self.layout = f"WebDataset, {len(files)} tar file{'s' if len(files) > 1 else ''}"

    def _groups(self, tar: Path) -> Iterator[tuple[str, dict[str, _Stored]]]:
        """Yield the members of each sample by suffix; a missing end is told of, what stands before it is kept."""
        groups: dict[str, dict[str, _Stored]] = {}
        end = 0
        try:
            with tarfile.open(tar, "r:") as archive:
                while (member := _next(archive)) is not None:
                    end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    name = PurePosixPath(member.name)
                    stem, dot, suffix = name.name.partition(".")
                    if member.isfile() and dot and stem:
                        stored = _Stored(tar, member.offset_data, member.size)
                        groups.setdefault(str(name.parent / stem), {})[f".{suffix.lower()}"] = stored
        except (tarfile.TarError, OSError) as error:
            raise UserError(
                f"cannot be read as a tar file: {first_line(error)}",
                file=tar,
                hint="a compressed one: unpack it to .tar",
            ) from error
        if _read(_Stored(tar, end, tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
            self.notices.append(f"{tar.name} is cut off after {len(groups)} samples")
        yield from groups.items()

    def encoded(self, index: int) -> bytes:
        """Return the member's bytes."""
        return _read(self._stored[index])


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """Return the next member; None at the end, also where the file ends before the archive does."""
    try:
        return archive.next()
    except tarfile.ReadError:
        return None


def _read(stored: _Stored) -> bytes:
    with stored.tar.open("rb") as stream:
        stream.seek(stored.offset)
        return stream.read(stored.size)


def _is_image(suffix: str) -> bool:
    return PurePosixPath(f"x{suffix}").suffix in SUFFIXES


def _sample(
    tar: Path, place: PurePosixPath, key: str, members: dict[str, _Stored], meaning: TableMeaning
) -> Sample | None:
    facts = _facts(members)
    folders = place.parent / PurePosixPath(key).parent
    told = FolderReader([folders], meaning.labels, meaning.label).read(folders)
    label = meaning.label
    if label is None and facts.get("label") is not None:
        label = meaning_of(facts["label"], meaning.labels)
        if label is None:
            raise UserError(
                f"'{key}': cannot tell whether label {facts['label']!r} is real or fake",
                file=tar,
                hint="say what the labels mean: labels: {0: fake, 1: real}, whichever is true",
            )
    if label is None:
        label = told.label if told is not None else label_of(tar.stem, meaning.labels)
    if label is None:
        return None
    generator = facts.get("generator") or (
        told.generator if told is not None and told.label == label else None
    )
    split = facts.get("split") or (told.split if told is not None else None) or split_in(tar.stem)
    return Sample(
        str(place / key),
        label,
        generator_or_default(generator, label),
        (split_of(str(split)) or str(split)) if split else None,
    )


def _facts(members: dict[str, _Stored]) -> dict[str, Any]:
    """Read what a sample's small files say; a number in ``.cls`` stays one."""
    facts: dict[str, Any] = {}
    if _FACTS in members:
        try:
            content = json.loads(_read(members[_FACTS]))
        except ValueError:
            content = None
        facts = content if isinstance(content, dict) else {}
    if _CLASS in members:
        text = _read(members[_CLASS]).decode("utf-8", "replace").strip()
        facts = {**facts, "label": int(text) if text.isdecimal() else text}
    return facts
