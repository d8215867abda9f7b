"""Files of a tar file: their places, and the samples that they form."""

import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.file_reading import opened_file


class Member(NamedTuple):
    """Place of a file's content inside a tar file, in bytes."""

    tar: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the content."""
        with opened_file(self.tar) as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


class Group(NamedTuple):
    """The files of one sample: its key, a path up to the first dot of the name, and each file by what follows that dot."""

    tar: Path
    key: str
    members: dict[str, Member]


class TarContent(NamedTuple):
    """The samples of a tar file in its order; ``is_cut_off`` where its end is missing.

    ``lost`` counts files whose content is not there: links to what the tar file has not, and sparse files.
    """

    groups: list[Group]
    is_cut_off: bool
    lost: int


def read_members(tar: Path) -> TarContent:
    """Read the headers of a tar file and group its files into samples, as WebDataset does.

    Files belong to one sample while they have one key. A key that comes again with a suffix that its sample already
    has begins another sample.

    Raises
    ------
    UserError
        If it is not a plain tar file.
    """
    entries: list[tuple[str, Member | str | None]] = []
    end, size = 0, tar.stat().st_size
    try:
        with opened_file(tar) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := _next(archive)) is not None:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                name = _inside(member.name)
                if member.issym():
                    entries.append((name, _inside(posixpath.join(posixpath.dirname(name), member.linkname))))
                elif member.islnk():
                    entries.append((name, _inside(member.linkname)))
                elif member.isfile() and member.issparse():
                    entries.append((name, None))
                elif member.isfile() and member.offset_data + member.size <= size:
                    entries.append((name, Member(tar, member.offset_data, member.size)))
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"cannot be read as a tar file: {first_line(error)}",
            file=tar,
            hint="unpack a compressed tar file to .tar",
        ) from error
    last = Member(tar, end, tarfile.BLOCKSIZE).read() if end <= size else b""
    found, lost = _resolved(entries)
    return TarContent(list(_grouped(tar, found)), last != bytes(tarfile.BLOCKSIZE), lost)


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """Return the next member; None at the end, also where the file ends before the archive does."""
    try:
        return archive.next()
    except tarfile.ReadError:
        return None


def _inside(name: str) -> str:
    """Return a member's path below the root of the archive: nothing is unpacked, so this is only a name."""
    path = posixpath.normpath("/" + name).lstrip("/")
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _resolved(entries: list[tuple[str, Member | str | None]]) -> tuple[list[tuple[str, Member]], int]:
    """Put the members that links lead to in their place; return how many have none."""
    content = dict(entries)
    found, lost = [], 0
    for name, entry in entries:
        member, seen = entry, {name}
        while isinstance(member, str) and member not in seen:
            seen.add(member)
            member = content.get(member)
        if isinstance(member, Member):
            found.append((name, member))
        else:
            lost += 1
    return found, lost


def _grouped(tar: Path, members: list[tuple[str, Member]]) -> Iterator[Group]:
    groups: list[Group] = []
    latest: dict[str, Group] = {}
    for name, member in members:
        path = PurePosixPath(name)
        stem, dot, suffix = path.name.partition(".")
        if not (dot and stem and suffix):
            continue
        key, suffix = str(path.parent / stem), suffix.lower()
        group = latest.get(key)
        if group is None or suffix in group.members:
            group = latest[key] = Group(tar, key, {})
            groups.append(group)
        group.members[suffix] = member
    for group in groups:
        yield from _with_dots_in_names(group)


def _with_dots_in_names(group: Group) -> Iterator[Group]:
    """Take a group apart whose first dots are those of numbers: ``cfg_7.5.png`` and ``cfg_9.0.png`` are two samples."""
    if not all("." in suffix and suffix[0].isdigit() for suffix in group.members):
        yield group
        return
    parts: dict[str, Group] = {}
    for name, member in group.members.items():
        more, _, suffix = name.rpartition(".")
        own = parts.setdefault(more, Group(group.tar, f"{group.key}.{more}", {}))
        own.members[suffix] = member
    yield from parts.values()
