"""A torch Dataset as a source of images, read item by item."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from robustbench_aigen.data.memory import label_text, plain_label, ppm, read_label
from robustbench_aigen.data.samples import CLASS_NAMES, REAL_POOL, Sample
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.imports import users_code
from robustbench_aigen.numerics.images_like import levels_of
from robustbench_aigen.words import label_of

_ITEMS_ARE = "wrap the data set in a class whose __getitem__ returns (image, label)"


class _Label(NamedTuple):
    """An item's label as the item gives it, as text, and the name of its class where the data set has names."""

    value: object
    name: str | None
    is_changed: bool

    @property
    def text(self) -> str:
        """The value as text."""
        return label_text(self.value)


class DatasetSource:
    """The items (image, label) of a map-style data set; images are read when they are needed.

    Labels come from ``targets`` or ``labels`` where the data set has them, so that no image is read for them. What
    they mean is said by ``labels``, or by the names of the classes, and is otherwise 0 real, 1 fake.

    Parameters
    ----------
    dataset
        An object with a length and items.
    labels
        The user's own meaning of labels or class names: ``{0: "fake", 1: "real"}``.

    Raises
    ------
    UserError
        If the data set has no length or no items of that form, the meaning of a label is unknown, or the first
        item reads differently the second time.
    """

    def __init__(self, dataset: object, labels: Mapping[Any, str] | None = None) -> None:
        self.name, self.layout = type(dataset).__name__, "a data set in memory"
        self.notices: list[str] = []
        self._dataset: Any = dataset
        self._digests: dict[int, bytes] = {}
        count = _length(dataset, self.name)
        if not count:
            raise UserError(f"{self.name} is empty", hint="give at least one image of each class")
        found = _stored(dataset, count)
        self._is_stored = found is not None
        if found is None:
            found = _read(dataset, count, self.name)
        self._texts = [label.text for label in found]
        meanings = self._meanings(found, words_of(labels))
        self.samples = [
            Sample(f"{index:06}", meanings[text], "fake" if meanings[text] else REAL_POOL, None)
            for index, text in enumerate(self._texts)
        ]
        self._read_twice()

    def encoded(self, index: int) -> bytes:
        """Return an item's image as PPM.

        Raises
        ------
        UserError
            If the item has another image or label than before.
        """
        image, label = _item(self._dataset, index, self.name)
        if label_text(plain_label(label)) != self._texts[index]:
            before = "its targets have" if self._is_stored else "the first access gave"
            raise UserError(
                f"item {index} of {self.name} has the label {plain_label(label)!r}, and {before} {self._texts[index]}",
                hint="return the same label at every access, in items and targets",
            )
        content = ppm(levels_of(image, f"{self.name}[{index}]"))
        digest = sha256(content).digest()
        if self._digests.setdefault(index, digest) != digest:
            raise UserError(
                f"item {index} of {self.name} returns another image at the second access",
                hint="remove random augmentation from the transform: every pipeline must see the same images",
            )
        return content

    def _read_twice(self) -> None:
        """See that the first item can be read and stays the same, before anything is computed."""
        for _ in range(2):
            try:
                self.encoded(0)
            except OSError:
                # A damaged file is named with all others when the images are read.
                return

    def _meanings(self, found: Sequence[_Label], own: Mapping[str, int]) -> dict[str, int]:
        """Return the meaning of each label, with a notice if names of classes decide it."""
        meanings: dict[str, int] = {}
        by_name: dict[str, int] = {}
        unclear: dict[str, None] = {}
        first = {(label.text, label.name): (row, label) for row, label in reversed(list(enumerate(found)))}
        for (text, name), (row, label) in sorted(first.items(), key=lambda each: each[1][0]):
            meaning = own.get(text)
            if meaning is None and name is not None:
                meaning = own.get(label_text(name))
                if meaning is None and (meaning := _meaning_of_name(name)) is not None:
                    by_name[f"{name} ({text})"] = meaning
                if meaning is None and not label.is_changed and text not in CLASS_NAMES:
                    unclear[name] = None
                    continue
            if meaning is None:
                meaning = read_label(label.value, f"{self.name}[{row}]", own)
            if meanings.setdefault(text, meaning) != meaning:
                raise UserError(
                    f"the label {text} of {self.name} covers classes of real and of fake images",
                    hint=f"declare the meaning: labels={{{text}: 'fake', …}}",
                )
        if unclear:
            shown = ", ".join(f"{name!r}: …" for name in [*unclear][:4]) + (", …" if len(unclear) > 4 else "")
            raise UserError(
                f"cannot tell whether class '{next(iter(unclear))}' of {self.name} is real or fake",
                hint=f"write 'real' or 'fake' for each: labels={{{shown}}}",
            )
        if by_name:
            shown = ", ".join(f"{name} is {CLASS_NAMES[label]}" for name, label in [*by_name.items()][:4])
            more = " …" if len(by_name) > 4 else ""
            self.notices.append(f"labels have the meaning of the class names: {shown}{more}")
        return meanings


def words_of(labels: Mapping[Any, str] | None) -> dict[str, int]:
    """Return the user's meaning of labels, their texts to 0 or 1.

    Raises
    ------
    UserError
        If it is not a mapping to ``real`` and ``fake``.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not labels:
        raise UserError(
            f"labels={shortened(repr(labels))} must give the meaning of each label",
            hint='such as labels={0: "fake", 1: "real"}',
        )
    wrong = [(label, meaning) for label, meaning in labels.items() if meaning not in CLASS_NAMES]
    if wrong:
        label, meaning = wrong[0]
        raise UserError(
            f"labels: {label!r} must be 'real' or 'fake', not {shortened(repr(meaning))}",
            hint='such as labels={0: "fake", 1: "real"}',
        )
    return {label_text(plain_label(label)): CLASS_NAMES.index(meaning) for label, meaning in labels.items()}


def _length(dataset: object, name: str) -> int:
    inner = getattr(dataset, "dataset", None)
    if hasattr(dataset, "batch_size") and inner is not None:
        raise UserError(f"{name} gives batches, not items", hint="give loader.dataset")
    if isinstance(dataset, type):
        raise UserError(
            f"{name} {dataset.__name__} is a class, not a data set", hint="create an object: Dataset(…)"
        )
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UserError(
            f"{name} has no length or no items by number",
            hint="give a map-style Dataset with __len__ and __getitem__, or lists to ImageData.from_images",
        )
    with users_code(f"len() of {name}"):
        return len(dataset)


def _item(dataset: Any, index: int, name: str) -> tuple[object, object]:
    """Return an item's image and label; files that cannot be read stay errors of files."""
    try:
        item = dataset[index]
    except (OSError, UserError):
        raise
    except Exception:
        with users_code(f"item {index} of {name}"):
            raise
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        raise UserError(f"item {index} of {name} is a {what}, not (image, label)", hint=_ITEMS_ARE)
    return item[0], item[1]


def _read(dataset: Any, count: int, name: str) -> list[_Label]:
    """Return the labels of all items, each of which is read for it."""
    names = _class_names(dataset)
    try:
        values = [plain_label(_item(dataset, index, name)[1]) for index in range(count)]
    except OSError as error:
        raise UserError(
            f"an item of {name} cannot be read: {error}",
            hint="remove the item, or give the data set the attribute 'targets', which holds the labels",
        ) from error
    return [_Label(value, _name_of(value, names), is_changed=False) for value in values]


def _stored(dataset: Any, count: int) -> list[_Label] | None:
    """Return the labels that a data set holds beside its images, as its items give them; None where it has none."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None and hasattr(inner, "__len__"):
        whole = _stored(inner, len(inner))
        return None if whole is None else [whole[int(index)] for index in indices]
    parts = getattr(dataset, "datasets", None)
    if isinstance(parts, list | tuple) and sum(len(part) for part in parts) == count:
        each = [
            (part, len(part), f"datasets[{number}] of {type(dataset).__name__}")
            for number, part in enumerate(parts)
        ]
        return [label for part in each for label in _stored(*part[:2]) or _read(*part)]
    names = _class_names(dataset)
    change = getattr(dataset, "target_transform", None)
    for attribute in ("targets", "labels"):
        values = getattr(dataset, attribute, None)
        if (
            not isinstance(values, Iterable)
            or isinstance(values, str | Mapping)
            or not hasattr(values, "__len__")
        ):
            continue
        plain = [plain_label(value) for value in values]
        if len(plain) != count or any(isinstance(value, list | tuple | dict) for value in plain):
            continue
        with users_code(f"target_transform of {type(dataset).__name__}"):
            given = plain if change is None else [plain_label(change(value)) for value in plain]
        return [
            _Label(value, _name_of(raw, names), change is not None)
            for value, raw in zip(given, plain, strict=True)
        ]
    return None


def _class_names(dataset: Any) -> dict[str, str]:
    """Return the names of a data set's classes by their labels as text; empty where it has none."""
    by_name = getattr(dataset, "class_to_idx", None)
    if isinstance(by_name, Mapping) and by_name:
        return {label_text(plain_label(label)): str(name) for name, label in by_name.items()}
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names:
        return {str(label): str(name) for label, name in enumerate(names)}
    inner, parts = getattr(dataset, "dataset", None), getattr(dataset, "datasets", None)
    if inner is not None and inner is not dataset:
        return _class_names(inner)
    if isinstance(parts, list | tuple) and parts:
        each = [_class_names(part) for part in parts]
        if any(names != each[0] for names in each):
            raise UserError(
                f"the parts of {type(dataset).__name__} name their classes differently, and labels come from its items",
                hint="give each part the attribute targets, or open the parts one by one",
            )
        return each[0]
    return {}


def _name_of(value: object, names: Mapping[str, str]) -> str | None:
    return names.get(label_text(value))


def _meaning_of_name(name: str) -> int | None:
    text = name.strip()
    return int(text) if text in ("0", "1") else label_of(text)
