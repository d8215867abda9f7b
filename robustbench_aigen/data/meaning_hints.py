"""Hints for folders without a known class: the possible declarations."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from robustbench_aigen.data.class_folders import Roles
from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.layouts.manifest import MANIFESTS
from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.words import folded, printable
from robustbench_aigen.words import Labels, is_truth, label_of, says_nothing, split_of

_NAMES = 12
"""More folders than these side by side are subjects or prompts, and no classes."""
_SHOWN = 6
_NUMBERED = re.compile(r"((class|label|category|target|cls|y)[\W_]*)?[01]")


def no_class(
    folder: Path, unread: Sequence[Path], layout: Roles | None, labels: Labels, weak: Sequence[str] = ()
) -> UserError:
    """Return the error for folders of images that tell no class.

    Parameters
    ----------
    folder, unread
        The root, and the folders relative to it that tell none.
    layout, labels
        The user's keys on the source.
    weak
        Names among them that could be those of one class, were they not alone.
    """
    root = printable(folder)
    if layout is not None:
        example = printable(unread[0] / "…")
        return UserError(f"{root} does not have the layout {'/'.join(layout)}: found {example}")
    message = f"cannot tell real from fake in {root}: no sub-folder has a class name"
    if weak:
        message = f"cannot tell real from fake in {root}: {weak[0]} may be a class or a kind of picture, and others are neither"
    names = _level(unread)
    missing = sorted(
        name for name in labels if name not in {folded(part) for path in unread for part in path.parts}
    )
    if missing:
        message += f", and none is called {missing[0]}"
    one_class = "label: real or label: fake if all images are of one class"
    if lists := files_below(folder, MANIFESTS):
        name = printable(lists[0].relative_to(folder))
        message += f", and {name} has no columns path and label"
        one_class += (
            f"; or open {name} with columns: {{image: …, label: …}} if other columns hold these values"
        )
    if names:
        shown = ", ".join(f"{name}: …" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        return UserError(message, hint=f"name the class of each folder, labels: {{{shown}}}; or {one_class}")
    if any(path.parts for path in unread):
        return UserError(message, hint=f"put the images into folders real/ and fake/; or write {one_class}")
    return UserError(message, hint=f"put the images into sub-folders real/ and fake/, or write {one_class}")


def labels_for(folders: Sequence[Path], levels: Collection[int]) -> str:
    """Return the keys to write for folders without a class, beside folders with a class; empty for the root itself.

    Parameters
    ----------
    folders
        Folders whose images are left out, relative to the root.
    levels
        Depth of the class folders of the others.
    """
    names: dict[str, None] = {}
    for parts in sorted({tuple(printable(part) for part in folder.parts) for folder in folders}):
        own = [part for part in parts if not says_nothing(part) and split_of(part) is None]
        beside = [parts[level] for level in sorted(levels) if level < len(parts) and parts[level] in own]
        names |= dict.fromkeys((beside or own or list(parts))[:1])
    shown = ", ".join(f"{name}: …" for name in [*names][:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"; if they are real or fake, declare labels: {{{shown}}}" if names else ""


def joined_names(joined: Mapping[str, int]) -> list[str]:
    """Return a notice on folders whose names were read as a class joined to a generator; empty without such folders."""
    if not joined:
        return []
    names = sorted(joined, key=lambda name: (joined[name], name))
    of_class = [
        f"{CLASS_NAMES[label]} {_first([name for name in names if joined[name] == label])}"
        for label in (0, 1)
        if label in joined.values()
    ]
    labels = ", ".join(f"{name}: …" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return [f"classes by a word in the folder's name: {'; '.join(of_class)}; if not, labels: {{{labels}}}"]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _level(folders: Sequence[Path]) -> list[str]:
    """Return the names of the first level of folders that could be classes; empty where none could."""
    paths = {tuple(printable(part) for part in folder.parts) for folder in folders}
    for depth in range(max((len(parts) for parts in paths), default=0)):
        names = sorted({parts[depth] for parts in paths if len(parts) > depth})
        if not 1 < len(names) <= _NAMES or any(len(parts) <= depth for parts in paths):
            continue
        numbers = all(_NUMBERED.fullmatch(folded(name)) or is_truth(name) for name in names)
        # Sizes, versions and splits are no classes.
        if numbers or not any(
            says_nothing(name) or split_of(name) for name in names if label_of(name) is None
        ):
            return names
    return []
