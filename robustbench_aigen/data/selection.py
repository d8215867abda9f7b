"""Opens a source and picks the samples that a scenario asks for."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.data.folder import FolderSource
from robustbench_aigen.data.parquet import ParquetSource
from robustbench_aigen.data.samples import ImageSource, Sample
from robustbench_aigen.data.splitting import assign_splits, order_key
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError, did_you_mean, shortened

BUILT_IN = {"minigen": "CIFAR-10 photographs against images of five generators, 32×32, in the package"}
ALL = "all"


class Selection(NamedTuple):
    """Some samples of a source: ``indices`` into ``source.samples``, in its order."""

    source: ImageSource
    indices: list[int]
    split: str

    @property
    def samples(self) -> list[Sample]:
        """The chosen samples."""
        return [self.source.samples[index] for index in self.indices]


def open_source(name: str, folder: Path) -> ImageSource:
    """Open a data source.

    Parameters
    ----------
    name
        ``minigen``, or the path of a folder of images, a Parquet file or a folder of Parquet files.
    folder
        Where relative paths start.

    Raises
    ------
    UserError
        If there is nothing of that name, or nothing in it that can be used.
    """
    if name == "minigen":
        return ParquetSource(Path(__file__).parent / "minigen", label_names=("real", "fake"))
    path = (folder / name).expanduser()
    try:
        if path.is_dir():
            return ParquetSource(path) if files_below(path, {".parquet"}) else FolderSource(path)
        if path.is_file() and path.suffix == ".parquet":
            return ParquetSource(path)
    except OSError as error:
        raise UserError(f"'{shortened(name)}' cannot be opened: {error.strerror}") from error
    if path.exists():
        hint = "give a folder of images, a Parquet file or a folder of them"
        raise UserError(f"'{name}' is not a data source", hint=hint)
    hint = f"a path that exists, or built in: {did_you_mean(name, BUILT_IN)}"
    raise UserError(f"no data at '{name}'", hint=hint)


def select(source: ImageSource, split: str, limit: int | None) -> Selection:
    """Choose a split of a source, and of that at most ``limit`` samples.

    The limit is stratified by generator and label (largest remainders) and takes the same images on every
    machine and for every seed, so that runs can be compared image by image.

    Raises
    ------
    UserError
        If the source has no such split.
    """
    samples = source.samples
    if any(sample.generator == ALL for sample in samples):
        # The summary's rows on all generators have that name.
        raise UserError(f"{source.name} has a generator called '{ALL}'", hint="rename it")
    if split != ALL and all(sample.split is None for sample in samples):
        samples = assign_splits(source)
    present = sorted({sample.split for sample in samples if sample.split is not None})
    if split != ALL and split not in present:
        raise UserError(f"{source.name} has no split '{split}'", hint=f"it has: {', '.join([*present, ALL])}")
    indices = [index for index, sample in enumerate(samples) if split in (ALL, sample.split)]
    if limit is not None and limit < len(indices):
        indices = stratified(samples, indices, limit)
    return Selection(source, indices, split)


def stratified(samples: Sequence[Sample], indices: Sequence[int], limit: int) -> list[int]:
    """Return ``limit`` of some indices, in their order: each generator and label its share, in a fixed order of ids."""
    strata: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index in indices:
        strata[samples[index].generator, samples[index].label].append(index)
    shares = {key: limit * len(rows) / len(indices) for key, rows in strata.items()}
    counts = {key: int(share) for key, share in shares.items()}
    by_remainder = sorted(strata, key=lambda key: (counts[key] - shares[key], key))
    for key in by_remainder[: limit - sum(counts.values())]:
        counts[key] += 1
    chosen = [
        index
        for key, rows in strata.items()
        for index in sorted(rows, key=lambda row: order_key(samples[row].id))[: counts[key]]
    ]
    return sorted(chosen)
