"""Small labelled folders and recipes for the tests of training."""

from pathlib import Path

from conftest import write_image

RECIPE = """version: 1
name: tiny
arch: lenet5
epochs: 3
batch_size: 8
learning_rate: 1e-3
augmentation: [flip_horizontal, {gaussian_noise: 0.02}]
balance: true
precision: fp32
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(text)
    return file


def write_splits(folder: Path, generators: tuple[str, ...] = ("",), train: int = 24, test: int = 8) -> Path:
    """``{train,test}/real`` and ``{train,test}/fake/GENERATOR``, so many of each class and generator."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for generator in (None, *generators):
            for number in range(count):
                seed += 1
                place = folder / split / ("real" if generator is None else f"fake/{generator}")
                write_image(place / f"{number:03}.png", seed, fake=generator is not None)
    return folder
