"""What the folders that an image lies in say of it: class, split and generator."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from robustbench_aigen.data.samples import REAL_POOL
from robustbench_aigen.data.vocabulary import (
    CATEGORIES,
    NO_LABELS,
    Labels,
    is_weak,
    label_of,
    says_nothing,
    split_of,
)
from robustbench_aigen.errors import UserError

Roles = tuple[str, ...]


class Told(NamedTuple):
    """What folders tell; ``roles`` is what each of them was taken for."""

    label: int
    generator: str
    split: str | None
    roles: Roles


class FolderReader:
    """Reads class, split and generator off the folders between a source's root and an image.

    The deepest folder with a class name gives the label, a plain name (``real``, ``1_fake``) before one that may be a
    kind of picture (``nature``, ``photos``); a folder named like a split the split; and the first of the others the
    generator: for fakes anywhere, for reals above the class alone, since below it stand kinds of photographs. Folders
    whose names say nothing (``dataset``, ``real_vs_fake``) and CNNDetection's categories are no generators.

    Parameters
    ----------
    folders
        The folders of all images, relative to the root: what stands side by side tells a category ``train`` from a split.
    labels
        What class folders mean beside the usual names.
    label
        The class of all images, where folders do not tell it.
    layout
        The role of each level, where the user says it: nothing is guessed then.
    """

    def __init__(
        self,
        folders: Iterable[PurePath],
        labels: Labels = NO_LABELS,
        label: int | None = None,
        layout: Roles | None = None,
    ) -> None:
        self._labels, self._label, self._layout = labels, label, layout
        siblings: dict[Roles, set[str]] = defaultdict(set)
        for folder in folders:
            for depth, part in enumerate(folder.parts):
                siblings[folder.parts[:depth]].add(part)
        self._with_categories = {above for above, names in siblings.items() if len(names & CATEGORIES) > 1}

    def read(self, folder: PurePath) -> Told | None:
        """Return what a folder tells of the images in it, None where it tells no class.

        Raises
        ------
        UserError
            If its names say two things at once.
        """
        roles = self._inferred(folder.parts) if self._layout is None else self._assigned(folder.parts)
        label = self._label
        if label is None:
            classes = [part for part, role in zip(folder.parts, roles, strict=True) if role == "class"]
            label = label_of(classes[0], self._labels) if classes else None
        if label is None:
            return None
        named = [part for part, role in zip(folder.parts, roles, strict=True) if role == "generator"]
        splits = [part for part, role in zip(folder.parts, roles, strict=True) if role == "split"]
        return Told(
            label,
            named[0] if named else ("fake" if label else REAL_POOL),
            (split_of(splits[0]) or splits[0]) if splits else None,
            roles,
        )

    def _assigned(self, parts: Roles) -> Roles:
        """Give the levels the roles that the user has named; a category may be missing, deeper folders are one."""
        roles = list(self._layout or ())
        while len(parts) < len(roles) and "category" in roles:
            del roles[len(roles) - 1 - roles[::-1].index("category")]
        return tuple([*roles, *["category"] * len(parts)][: len(parts)])

    def _inferred(self, parts: Roles) -> Roles:
        roles = ["category"] * len(parts)
        own = self._class_position(parts)
        if own is not None:
            roles[own] = "class"
        splits = [place for place in range(len(parts)) if place != own and self._is_split(parts, place)]
        if len({split_of(parts[place]) for place in splits}) > 1:
            raise _ambiguous(parts, "name two splits")
        for place in splits[:1]:
            roles[place] = "split"
        is_real = self._label == 0 if own is None else label_of(parts[own], self._labels) == 0
        end = (own or 0) if is_real else len(parts)
        for place in range(end):
            if place == own or place in splits or self._is_no_generator(parts[place], parts, own):
                continue
            roles[place] = "generator"
            break
        return tuple(roles)

    def _class_position(self, parts: Roles) -> int | None:
        if self._label is not None:
            return None
        named = [place for place, part in enumerate(parts) if label_of(part, self._labels) is not None]
        said = [place for place in named if parts[place].casefold() in self._labels]
        plain = said or [place for place in named if not is_weak(parts[place])] or named
        if len({label_of(parts[place], self._labels) for place in plain}) > 1:
            raise _ambiguous(parts, "name both classes")
        return plain[-1] if plain else None

    def _is_split(self, parts: Roles, place: int) -> bool:
        is_category = parts[place] in CATEGORIES and parts[:place] in self._with_categories
        return split_of(parts[place]) is not None and not is_category

    def _is_no_generator(self, part: str, parts: Roles, own: int | None) -> bool:
        same_as_class = own is not None and part.casefold() == parts[own].casefold()
        return same_as_class or says_nothing(part) or part in CATEGORIES


def _ambiguous(parts: Roles, what: str) -> UserError:
    return UserError(
        f"the folders '{'/'.join(parts)}' {what}",
        hint="say what each level means, such as layout: generator/split/class or layout: class/category",
    )
