"""Class, split and generator of an image, from the names of its folders."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from itertools import takewhile
from pathlib import PurePath
from typing import NamedTuple

from robustbench_aigen.data.samples import REAL_POOL
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.class_words import CATEGORIES
from robustbench_aigen.scenario.words import folded, printable
from robustbench_aigen.words import (
    NO_LABELS,
    Labels,
    class_beside_source,
    ends_with_split,
    generator_in,
    is_family,
    is_truth,
    is_weak,
    label_of,
    names_generator,
    says_nothing,
    split_beside,
    split_of,
)

Roles = tuple[str, ...]
_HIVE = re.compile(r"[^\W\d]\w*=(.+)")


class Told(NamedTuple):
    """Class, split and generator of a path; ``roles`` has the role of each folder."""

    label: int
    generator: str
    split: str | None
    roles: Roles


class _Places(NamedTuple):
    """Which folders of a path tell the class, which the split, and which may be a generator: above the class, below it."""

    own: int | None
    splits: list[int]
    above: list[int]
    below: list[int]


class FolderReader:
    """Reads class, split and generator off the folders between a source's root and an image.

    The deepest folder with a class name gives the label, a plain name (``real``, ``1_fake``) before one that may be a
    kind of picture (``nature``, ``photos``); a folder named like a split the split; and the first of the others the
    generator: for fakes anywhere, for reals above the class alone, since below it stand kinds of photographs. Folders
    whose names say nothing (``dataset``, ``real_vs_fake``) and kinds of pictures, which may stand below both classes, are
    no generators. A folder that all
    images share is the generator only where nothing else is and the classes are called as in CNNDetection or GenImage or
    the folder after a published generator, so that it does not matter where a data set is opened. Where folders both above and below the classes could be it, names of published generators decide.

    Parameters
    ----------
    folders
        The folders of all images, relative to the root: what stands side by side tells a category ``train`` from a split.
    labels
        What class folders mean beside the usual names. One of two or more names of fakes is a generator's as well.
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
        self._paths = sorted({self._parts(folder) for folder in folders})
        levels = zip(*self._paths, strict=False)
        self._shared = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
        self._siblings: dict[Roles, set[str]] = defaultdict(set)
        self._level: dict[int, set[str]] = defaultdict(set)
        for parts in self._paths:
            for depth, part in enumerate(parts):
                self._siblings[parts[:depth]].add(part)
                self._level[depth].add(part)

    def read(self, folder: PurePath) -> Told | None:
        """Return the class, split and generator that a folder's path names; None if no folder names a class.

        Raises
        ------
        UserError
            If its names say two things at once.
        """
        parts = self._parts(folder)
        if self._layout is not None:
            return self._read_as_said(parts)
        places = self._places(parts)
        label = self._label if places.own is None else self._label_of(parts[places.own])
        if label is None:
            return None
        place = self._generator(parts, places, label)
        roles = ["category"] * len(parts)
        for split_place in places.splits:
            roles[split_place] = "split"
        if place is not None:
            roles[place] = "generator"
        if places.own is not None:
            roles[places.own] = "class and split" if places.own in places.splits else "class"
        generator = parts[place] if place is not None else self._unplaced_generator(parts, places, label)
        split = self._split_at(parts, places.splits[0], places.own) if places.splits else None
        return Told(label, generator, split, tuple(roles))

    @cached_property
    def joined(self) -> dict[str, int]:
        """Names of a class joined to what made its images, or where they are from, by label: ``fake_lumina``.

        Only where nothing else tells a class, all names of the level tell one, and both classes are among them:
        ``real_estate`` beside ``animals`` is not a class.
        """
        if self._label is not None or self._layout is not None:
            return {}
        bare = [parts for parts in self._paths if all(label_of(part, self._labels) is None for part in parts)]
        for depth in range(max(map(len, bare), default=0)):
            told = {
                name: label_of(name, self._labels) if label is None else label
                for name in self._level[depth]
                for label in [class_beside_source(name)]
            }
            if {*told.values()} == {0, 1} and all(len(parts) > depth for parts in bare):
                return {
                    name: label
                    for name, label in told.items()
                    if label is not None and label_of(name, self._labels) is None
                }
        return {}

    @cached_property
    def class_levels(self) -> frozenset[int]:
        """Levels of the folders that name a class."""
        places = (self._class_position(parts) for parts in self._paths)
        return frozenset(place for place in places if place is not None)

    def _label_of(self, name: str) -> int | None:
        own = label_of(name, self._labels)
        return self.joined.get(name) if own is None else own

    def _parts(self, folder: PurePath) -> Roles:
        """Return the names of folders; of Hive's ``label=real`` the value, since ``fake=0`` is no fake."""
        parts = [printable(part) for part in folder.parts]
        return tuple(
            found[1] if (found := _HIVE.fullmatch(part)) and folded(part) not in self._labels else part
            for part in parts
        )

    def _read_as_said(self, parts: Roles) -> Told | None:
        roles = self._assigned(parts)
        named = dict(reversed([(role, part) for part, role in zip(parts, roles, strict=True)]))
        label = self._label
        if label is None and "class" in named:
            label = label_of(named["class"], self._labels)
        if label is None:
            return None
        split = named.get("split")
        generator = named.get("generator", "fake" if label else REAL_POOL)
        return Told(label, generator, (split_of(split) or split) if split else None, roles)

    def _assigned(self, parts: Roles) -> Roles:
        """Give the levels the roles that the user has named; a category may be missing, deeper folders are one."""
        roles = list(self._layout or ())
        while len(parts) < len(roles) and "category" in roles:
            del roles[len(roles) - 1 - roles[::-1].index("category")]
        return tuple([*roles, *["category"] * len(parts)][: len(parts)])

    def _places(self, parts: Roles) -> _Places:
        own = self._class_position(parts)
        splits = self._splits(parts, own)
        free = [
            place
            for place, part in enumerate(parts)
            if place != own and place not in splits and not self._is_no_generator(part, parts, own)
        ]
        first = -1 if own is None else own
        if free and own is not None:
            free = [place for place in free if place < own or parts[place] not in self.kinds]
        return _Places(
            own,
            splits,
            [place for place in free if place < first],
            [place for place in free if place > first],
        )

    def _class_position(self, parts: Roles) -> int | None:
        if self._label is not None:
            return None
        plain = self._class_names(parts)
        if self._classes_below_shared:
            plain = [place for place in plain if place >= self._shared]
        if len({self._label_of(parts[place]) for place in plain}) > 1:
            raise _ambiguous(parts, "name both classes")
        below = parts[plain[-1] + 1 :] if plain else ()
        if (truth := next((part for part in below if is_truth(part)), None)) is not None:
            raise UserError(
                f"the folders '{'/'.join(parts)}' name a class, and '{truth}' below may reverse the class",
                hint=f"declare the meaning: labels: {{{truth}: fake}} or labels: {{{truth}: real}}; or layout: class/category",
            )
        return plain[-1] if plain else None

    def _class_names(self, parts: Roles) -> list[int]:
        """Return the places of the names of classes that count: those that the user has named, else the plainest."""
        named = [place for place, part in enumerate(parts) if label_of(part, self._labels) is not None]
        if not named:
            return [place for place, part in enumerate(parts) if part in self.joined]
        said = [place for place in named if folded(parts[place]) in self._labels]
        return said or [place for place in named if not is_weak(parts[place])] or named

    @cached_property
    def _classes_below_shared(self) -> bool:
        """Whether the classes of all images stand below the folders that all share: a name above them is the set's."""
        labels: set[int | None] = set()
        for parts in self._paths:
            below = [place for place in self._class_names(parts) if place >= self._shared]
            if not below:
                return False
            labels.add(self._label_of(parts[below[-1]]))
        return {0, 1} <= labels

    def _splits(self, parts: Roles, own: int | None) -> list[int]:
        """Return the places of the names of one split. What all images share is the name of the whole set."""
        told = {place: self._split_at(parts, place, own) for place in range(len(parts))}
        places = [place for place, split in told.items() if split is not None]
        if len({told[place] for place in places}) > 1:
            places = [place for place in places if place >= self._shared] or places
        if len({told[place] for place in places}) > 1:
            raise _ambiguous(parts, "name two splits")
        return places[-1:]

    def _split_at(self, parts: Roles, place: int, own: int | None) -> str | None:
        name = parts[place]
        if folded(name) in self._labels:
            return None
        split = split_beside(name, self._level[place])
        if split is None:
            # A kind of photographs may well be called train_wagons; above the classes it is a set's name.
            is_above = own is not None and place <= own
            return ends_with_split(name) if is_above and label_of(name) is None else None
        if folded(name) not in CATEGORIES:
            return split
        others = self._level[place] - {name}
        is_category = any(folded(other) in CATEGORIES for other in others)
        return None if is_category and not any(split_of(other) for other in others) else split

    def _is_no_generator(self, part: str, parts: Roles, own: int | None) -> bool:
        same_as_class = own is not None and folded(part) == folded(parts[own])
        return same_as_class or says_nothing(part)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Names of folders that stand below both classes, ``real/male`` beside ``fake/male``: kinds of pictures.

        Where at least half of the fakes' names are such, so are the others. Names of published generators, and those
        beside them, are generators' all the same.
        """
        of_reals: set[str] = set()
        of_fakes: dict[int, set[str]] = defaultdict(set)
        generators: set[str] = set()
        for parts in self._paths:
            own = self._class_position(parts)
            label = None if own is None else self._label_of(parts[own])
            if own is None or label is None:
                continue
            splits = self._splits(parts, own)
            if parts[own] in self.joined:
                source = generator_in(parts[own])
                (of_fakes[0] if label else of_reals).add(source)
            for place in range(own + 1, len(parts)):
                name = parts[place]
                if place in splits or self._is_no_generator(name, parts, own):
                    continue
                (of_fakes[place - own] if label else of_reals).add(name)
                if self._is_level_of_generators(parts[:place]):
                    generators.add(name)
        kinds: set[str] = set()
        for names in of_fakes.values():
            shared = (names & of_reals) - generators
            kinds |= names if shared and 2 * len(shared) >= len(names) else shared
        return frozenset(kinds - generators)

    def _generator(self, parts: Roles, places: _Places, label: int) -> int | None:
        """Return the place of the generator's name, None where no folder is called after one."""
        if self._is_own_name(parts, places, label):
            return places.own
        # Kinds of photographs stand below the reals, unless fakes have a generator of that name.
        below = [place for place in places.below if label or parts[place] in self._below_fakes]
        if self._stands_below:
            return self._first(parts, below)
        varied = [place for place in places.above if place >= self._shared]
        if varied or below:
            return self._first(parts, varied or below)
        named = [
            place
            for place in places.above
            if names_generator(parts[place])
            or label_of(parts[place]) == 1
            or (self._is_conventional and ends_with_split(parts[place]) is None)
        ]
        known = [place for place in named if names_generator(parts[place])]
        return next(iter(known or named[-1:]), None)

    @cached_property
    def _is_conventional(self) -> bool:
        """Whether the classes are called as in CNNDetection or GenImage: above them stands the generator, be it one."""
        names = {
            folded(parts[own]) for parts in self._paths if (own := self._class_position(parts)) is not None
        }
        return names <= {"0_real", "1_fake"} or names <= {"nature", "ai"}

    def _first(self, parts: Roles, places: list[int]) -> int | None:
        """Return the first of some places beside which stands the name of a published generator, else the first."""
        unshared = [place for place in places if place >= self._shared] or places
        of_level = (place for place in unshared if self._is_level_of_generators(parts[:place]))
        return next(of_level, unshared[0] if unshared else None)

    def _is_level_of_generators(self, above: Roles) -> bool:
        return any(names_generator(name) for name in self._siblings[above])

    @cached_property
    def _below_fakes(self) -> frozenset[str]:
        """Names of the generators' folders below the class folders of fakes."""
        found = set()
        for parts in self._paths:
            places = self._places(parts)
            if places.own is not None and self._label_of(parts[places.own]) and places.below:
                found.add(parts[self._first(parts, places.below) or 0])
        return frozenset(found)

    @cached_property
    def _stands_below(self) -> bool:
        """Whether the generators' folders stand below those of the classes."""
        below: list[tuple[Roles, int]] = []
        above: list[tuple[Roles, int]] = []
        for parts in self._paths:
            places = self._places(parts)
            label = self._label if places.own is None else self._label_of(parts[places.own])
            if label and places.below:
                below.append((parts, places.below[0]))
            if label is not None:
                above += [(parts, place) for place in places.above if place >= self._shared][:1]
        if not below or not above:
            return bool(below)
        known = [any(names_generator(parts[place]) for parts, place in some) for some in (below, above)]
        return known == [True, False]

    def _is_own_name(self, parts: Roles, places: _Places, label: int) -> bool:
        """Whether a class folder of fakes is called after its generator, as the user's ``{midjourney: fake}`` says."""
        if not label or places.own is None:
            return False
        name = parts[places.own]
        if name in self.joined:
            return False
        if label_of(name) is not None:
            return is_family(name) and not names_generator(name) and not places.above + places.below
        varied = [place for place in places.above if place >= self._shared]
        fakes = [own for own, meaning in self._labels.items() if meaning == 1 and not says_nothing(own)]
        # Under several generators stands one name of fakes.
        return not says_nothing(name) and len(name) > 1 and (len(fakes) > 1 or not varied)

    def _unplaced_generator(self, parts: Roles, places: _Places, label: int) -> str:
        """Return the generator that a split's or class's own name tells, ``test_sdxl``, else the one for those without."""
        for place in (*places.splits, *([] if places.own is None else [places.own])):
            if names_generator(parts[place]) and folded(parts[place]) not in self._labels:
                return generator_in(parts[place])
        if label and places.own is not None and parts[places.own] in self.joined:
            source = generator_in(parts[places.own])
            return "fake" if says_nothing(source) or source in self.kinds else source
        return "fake" if label else REAL_POOL


def _ambiguous(parts: Roles, what: str) -> UserError:
    return UserError(
        f"the folders '{'/'.join(parts)}' {what}",
        hint="declare the meaning of each level, such as layout: generator/split/class or layout: class/category",
    )
