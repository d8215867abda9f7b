"""Training, validation and test images of a source."""

from collections.abc import Sequence
from dataclasses import dataclass

from robustbench_aigen.data.samples import ImageSource, belongs_to
from robustbench_aigen.data.selection import select
from robustbench_aigen.data.splitting import divide
from robustbench_aigen.errors import UserError, did_you_mean

_HELD_OUT = "val"


@dataclass(frozen=True)
class Splits:
    """Indices into a source's samples: training, validation and test images."""

    source: ImageSource
    train: list[int]
    val: list[int]
    test: list[int]

    def of(self, generators: Sequence[str] | None) -> "Splits":
        """Return the training and validation images of some generators' fakes and the reals they belong to.

        The test images stay, because other generators are part of the test.
        """
        if generators is None:
            return self
        samples = self.source.samples
        kept = belongs_to([s.label for s in samples], [s.generator for s in samples], generators)
        train, val = ([index for index in own if kept[index]] for own in (self.train, self.val))
        return Splits(self.source, train, val, self.test)

    @property
    def generators(self) -> list[str]:
        """The generators of the training images' fakes, sorted."""
        samples = self.source.samples
        return sorted({samples[index].generator for index in self.train if samples[index].label})


def split_source(source: ImageSource, held_out: float, limit: int | None) -> Splits:
    """Choose training, validation and test images.

    Parameters
    ----------
    source
        Any data source. One without splits gets 80/10/10.
    held_out
        Share of the training split that becomes validation where the source has no validation split of its own:
        stratified, near-duplicates together. The test split is never used for it.
    limit
        Largest number of images of each split.

    Raises
    ------
    UserError
        If there is no training split, or one class is missing from what is trained on.
    """
    names = {sample.split for sample in source.samples}
    train = select(source, "train", limit).indices
    if names <= {None} or _HELD_OUT in names:
        val = select(source, _HELD_OUT, limit).indices
    else:
        parts = divide(source, train, {"train": 1 - held_out, _HELD_OUT: held_out})
        train, val = ([i for i in train if parts[i] == name] for name in ("train", _HELD_OUT))
    test = select(source, "test", limit).indices if names <= {None} or "test" in names else []
    splits = Splits(source, train, val, test)
    require_both_classes(splits)
    return splits


def require_both_classes(splits: Splits) -> None:
    """Raise UserError where a class is missing from the training or validation images."""
    for name, indices in (("training", splits.train), ("validation", splits.val)):
        labels = {splits.source.samples[index].label for index in indices}
        for label, word in ((0, "real"), (1, "AI-generated")):
            if label not in labels:
                raise UserError(
                    f"{splits.source.name} has no {word} images for {name}",
                    hint="use more images, or a source with both classes in its training split",
                )


def check_generators(splits: Splits, names: Sequence[str]) -> None:
    """Raise UserError for a generator that the training images do not have."""
    for name in names:
        if name not in splits.generators:
            raise UserError(
                f"no training images of generator '{name}' in {splits.source.name}",
                hint=did_you_mean(name, splits.generators),
            )
