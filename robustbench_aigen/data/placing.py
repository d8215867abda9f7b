"""Paths of images in a written copy: folders that name split, generator and class.

Names differ in more than case and composition, so that a copy can move to
another.
"""

import re
import unicodedata
from hashlib import blake2b
from pathlib import Path

from robustbench_aigen.data.samples import CLASS_NAMES, REAL_POOL, Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.words import ends_with_split, label_of, says_nothing, split_of

_STEM = 150


class Names:
    """Paths that are taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: Path) -> bool:
        """Reserve a path, and return whether it was free; paths that a file system regards as equal count as one."""
        key = unicodedata.normalize("NFC", path.as_posix()).casefold()
        is_free = key not in self._taken
        self._taken.add(key)
        return is_free


class Placing:
    """Gives every image of a copy its file."""

    def __init__(self) -> None:
        self._files, self._generators = Names(), Names()
        self._folders: dict[str, str] = {}

    def folder(self, sample: Sample) -> Path:
        """Return ``[split/][generator/]{real,fake}`` for an image.

        Raises
        ------
        UserError
            If its split's name would not be read as one.
        """
        parts = []
        if sample.split is not None:
            if split_of(sample.split) is None:
                raise UserError(
                    f"a folder called '{sample.split}' would not be read as a split",
                    hint="choose one with --split",
                )
            parts.append(_safe(sample.split))
        if sample.generator != ("fake" if sample.label else REAL_POOL):
            parts.append(self._generator(sample.generator))
        return Path(*parts, CLASS_NAMES[sample.label])

    def file(self, sample: Sample, stem: str, suffix: str) -> Path:
        """Return a file for an image that no other has: under its own name, with a hash of its id where that is taken."""
        folder, stem = self.folder(sample), _safe(stem)[:_STEM]
        digest = blake2b(sample.id.encode(), digest_size=6).hexdigest()
        names = (stem, *(f"{stem}-{digest}{'_' * number}" for number in range(1_000)))
        return next(file for name in names if self._files.take(file := folder / f"{name}{suffix}"))

    def _generator(self, name: str) -> str:
        """Return the folder of a generator, another one for each."""
        if name not in self._folders:
            folder = re.sub(r"[^\w.@+-]+", "_", name).lstrip(".")[:100] or "unnamed"
            # A name that reads as a class or as a split would be taken for one.
            if label_of(folder) is not None or ends_with_split(folder) is not None or says_nothing(folder):
                folder = f"generator_{folder}"
            numbered = (folder, *(f"{folder}_{number}" for number in range(2, 10_000)))
            self._folders[name] = next(each for each in numbered if self._generators.take(Path(each)))
        return self._folders[name]


def _safe(name: str) -> str:
    """Replace what some file system does not take in a name."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(". ") or "_"
