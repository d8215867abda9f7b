"""Detectors, images and a command line for the tests."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from robustbench_aigen.cli import app, progress_log
from robustbench_aigen.detectors.zoo import build_architecture

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


# Widths and colours of the terminal, and where a continuous integration wants its summary.
SURROUNDINGS = (
    "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE",
    "TTY_INTERACTIVE", "TERMINAL_WIDTH", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _no_surroundings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in SURROUNDINGS:
            patch.delenv(name, raising=False)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """What a fixture draws does not depend on the tests before it."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Nor does what a test draws."""
    _seed()


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    # torch.manual_seed asks for CUDA and keeps a stack trace each time.
    torch.default_generator.manual_seed(0)


def devices() -> list[str]:
    """The devices of this machine: the CPU always, and an accelerator where there is one."""
    others = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, is_there in others.items() if is_there)]


@pytest.fixture(params=devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device of this machine in turn."""
    return torch.device(request.param)


@pytest.fixture
def cifake() -> Path:
    folder = SHARED_DATA / "cifake"
    if not folder.is_dir():
        pytest.skip("CIFAKE is not on this machine")
    return folder


def write_image(file: Path, seed: int, *, fake: bool, size: tuple[int, int] = (32, 32)) -> None:
    """A smooth picture; a fake one has a faint checkerboard, as transposed convolutions leave it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    array = np.asarray(coarse).astype(int)
    if fake:
        rows, columns = np.indices(array.shape[:2])
        array = array + 12 * ((rows + columns) % 2)[..., None]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(file)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Twelve real and twelve fake PNGs, 32×32."""
    folder = tmp_path / "images"
    for number in range(12):
        write_image(folder / "real" / f"{number:02}.png", number, fake=False)
        write_image(folder / "fake" / f"{number:02}.png", 100 + number, fake=True)
    return folder


def without_digests(file: Path, content: dict[str, Any] | None = None) -> None:
    """Rewrite a JSON file, with other content perhaps, as a version without digests wrote it."""
    content = json.loads(file.read_text(encoding="utf-8")) if content is None else content
    file.write_text(json.dumps({key: value for key, value in content.items() if key != "digests"}, indent=2))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained LeNet-5 with fixed weights."""
    torch.manual_seed(1)
    file = tmp_path / "untrained.safetensors"
    save_file(build_architecture("lenet5").state_dict(), file)
    return file


@pytest.fixture
def drawn() -> None:
    """Asked for by tests that look at the files of figures."""


SAVE_FILES = "robustbench_aigen.views.figures.drawing.save_files"


def save_empty(_figure: object, folder: Path, name: str) -> None:
    """In place of painting the files of a figure."""
    for kind in ("pdf", "png"):
        (folder / f"{name}.{kind}").touch()


@pytest.fixture
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not painted where nobody looks at them: they take nine tenths of a small training's or report's time.

    Trainings have none. Of a report, ``NAME.pdf`` and ``NAME.png`` are empty, and its page has the figures all the same.
    """
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("robustbench_aigen.training.drawing.save_files", lambda *_: None)
        monkeypatch.setattr(SAVE_FILES, save_empty)


@pytest.fixture
def no_similar(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search for a similar architecture in torchvision and timm: it builds over a hundred, and changes only a hint."""
    place = "robustbench_aigen.detectors.formats.unknown_architecture.nearest_architectures"
    monkeypatch.setattr(place, lambda weights: [])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished shards of the tests of one file."""
    return tmp_path_factory.mktemp("shards")


@pytest.fixture
def output(tmp_path: Path, shards: Path) -> Path:
    """The folder of a test's own runs, which takes from earlier tests of the file what they have computed already."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".cache").symlink_to(shards, target_is_directory=True)
    return folder


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process. A slow machine adds no line of progress to what it prints."""
    monkeypatch.setattr(progress_log, "PERIOD", 3600.0)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["robust-aigen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a whole report, all of whose names try to be markup."""
    from hostile_report import hostile_report

    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("pdflatex") is None:  # Nothing else opens the files of its figures.
            patch.setattr(SAVE_FILES, save_empty)
        return hostile_report(tmp_path_factory.mktemp("hostile"))
