"""Shared code of the adapters of attack libraries.

A recipe names a class, or a function, and its arguments; ``$name`` stands for a parameter of the scenario. An adapter turns that
into a function from a batch to adversarial pixels, and :func:`run_library` does the rest: per-image randomness,
restarts, query counts, batches, and errors that name the class.
"""

import json
import logging.config
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from inspect import isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.adaptive import stage_streams, through_stage
from robustbench_aigen.attacks.library_limits import reason_against
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.files import atomic_file
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.seeding import SampleStreams, library_randomness, preserved_global_rng
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.recipe import AttackRecipe, LibraryCall

Craft = Callable[[Tensor, Tensor], Tensor]
"""(pixels M×3×H×W, labels M) → adversarial pixels, all on the device."""

_ROUND_OFF = 1e-5
"""By how much a library may leave [0, 1] in float32: EAD returns -4e-6."""


class CountingDetector(nn.Module):
    """The attacked function as a library sees it: counts its queries and cannot be put into training mode.

    Random stages inside the attacked function draw again for every query: by the image and the number of the call
    where a call is of all images of the batch, as of one alone, else by the number of the query in the batch.

    Attributes
    ----------
    queries
        Images put through the detector so far.
    failure
        The last error of the detector, which is not an error of the library.
    """

    def __init__(self, task: AttackTask) -> None:
        super().__init__()
        self.detector = task.source_model
        self.queries = self._calls = 0
        self._names: tuple[str, ...] = ()
        self._through, self._stage, self._seed = task.through, task.streams.stage, task.streams.seed
        self.failure: Exception | None = None
        super().train(False)

    def begin(self, names: tuple[str, ...]) -> None:
        """Count from nothing, for a batch of images of these names."""
        self.queries = self._calls = 0
        self._names = names

    def train(self, mode: bool = True) -> "CountingDetector":
        """Stay in evaluation mode: ART and torchattacks switch modes."""
        del mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits and count N queries; ART's decision-based attacks pass float64."""
        self.queries += len(pixels)
        self._calls += 1
        try:
            logits: Tensor = self.detector(self._seen(pixels.float()))
        except Exception as error:
            self.failure = error
            raise
        return logits

    def _seen(self, pixels: Tensor) -> Tensor:
        if len(pixels) == len(self._names):
            names = tuple(f"{name} call {self._calls}" for name in self._names)
        else:
            # The library does not say whose images these are, but with one image a batch they are all of that.
            first = self._names[0] if self._names else ""
            names = tuple(f"{first} query {self.queries - number}" for number in range(len(pixels)))
        streams = SampleStreams(self._seed, names, self._stage)
        for position, stage in enumerate(self._through):
            pixels = through_stage(stage, pixels, stage_streams(streams, position, None))
        return pixels


def fill_arguments(arguments: Mapping[str, Any], params: Mapping[str, Value]) -> dict[str, Any]:
    """Put parameters in the place of ``$name`` in a recipe's arguments; a list of YAML becomes a tuple."""
    return {name: _filled(value, params) for name, value in arguments.items()}


def _filled(value: Any, params: Mapping[str, Value]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return params[value[1:]]
    if isinstance(value, list):
        return tuple(_filled(item, params) for item in value)
    if isinstance(value, dict):
        return fill_arguments(value, params)
    return value


class _Library(NamedTuple):
    """The module with a library's attacks, and the command that installs an optional library."""

    module: str
    install: str | None = None


_LIBRARIES: Mapping[str, _Library] = {
    "torchattacks": _Library("torchattacks"),
    "art": _Library("art.attacks.evasion"),
    # visdom, which adv-lib requires for a logger that no attack needs, has no wheel and fails to build with
    # setuptools 81 and later, which have no pkg_resources.
    "adv_lib": _Library("adv_lib.attacks", "pip install --no-deps adv-lib"),
    "foolbox": _Library("foolbox.attacks", "pip install 'robustbench-aigen[bench]'"),
}
"""The libraries of attacks by the names of their backends."""


def library_module(backend: str) -> ModuleType:
    """Import a library's module of attacks, by the name of its backend, and leave the process as it was.

    The import draws from the global generators. That of ART configures logging for ART's own tests: this closes the
    handlers of all libraries, and absl's, which Keras brings, the stream that was standard error when it was made.

    Raises
    ------
    UserError
        If an optional library is not installed.
    """
    library = _LIBRARIES[backend]
    if backend == "art":
        _write_art_config()
    configure = logging.config.dictConfig
    logging.config.dictConfig = lambda *_, **__: None
    try:
        with preserved_global_rng(), _without_visdom():
            return import_module(library.module)
    except ImportError as error:
        if library.install is None:
            raise
        raise UserError(
            f"the backend {backend} cannot be imported: {first_line(error)}", hint=library.install
        ) from error
    finally:
        logging.config.dictConfig = configure


@contextmanager
def _without_visdom() -> Iterator[None]:
    """Let adv-lib be imported where visdom is missing: its attacks name a class for plots in their signatures."""
    if find_spec("visdom") is not None:
        yield
        return
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        yield
    finally:
        del sys.modules["visdom"]


def _write_art_config() -> None:
    """Write ART's configuration if the file does not exist.

    The first import of ART writes this file in place. A second process that starts at the same time can read the file
    half written, and its import fails with a NameError.
    """
    folder = Path.home() / ".art"
    file = folder / "config.json"
    # A home that cannot be written: ART takes another folder.
    with suppress(OSError):
        if not file.exists():
            with atomic_file(file) as stream:
                stream.write(json.dumps({"ART_DATA_PATH": str(folder / "data")}, indent=4).encode())


def library_class(library: ModuleType, call: LibraryCall) -> Any:
    """Return the class that a recipe names; of adv-lib, the function.

    Raises
    ------
    UserError
        If the library has no such class, or it is known not to work on a detector of two classes.
    """
    reason = reason_against(library.__name__, call.class_name)
    if reason is not None:
        raise UserError(f"{library.__name__} {call.class_name} cannot attack a detector: {reason}")
    found, known = getattr(library, call.class_name, None), attack_names(library)
    if call.class_name not in known:
        raise UserError(
            f"{library.__name__} has no attack '{call.class_name}'", hint=did_you_mean(call.class_name, known)
        )
    return found


def attack_names(library: ModuleType) -> list[str]:
    """Return the names of the attacks that a library's module has: classes, or functions in adv-lib."""
    is_attack = isfunction if library.__name__ == _LIBRARIES["adv_lib"].module else isclass
    return [name for name, value in vars(library).items() if is_attack(value)]


def construct(model: CountingDetector, attack_class: Any, *positional: object, **arguments: object) -> Any:
    """Build a library's attack; an unknown argument is an error of the recipe.

    Raises
    ------
    UserError
        With the library's own words.
    """
    model.failure = None
    try:
        return attack_class(*positional, **arguments)
    except Exception as error:
        raise_unless_librarys(error, model)
        raise UserError(
            f"{attack_class.__name__} does not take these arguments: {first_line(error)}"
        ) from error


def raise_unless_librarys(error: Exception, model: CountingDetector) -> None:
    """Re-raise errors that the library did not cause: errors of the detector, and lack of memory."""
    if model.failure is not None:
        raise model.failure
    if is_out_of_memory(error):
        raise error


def run_library(
    task: AttackTask,
    model: CountingDetector,
    craft: Craft,
    recipe: AttackRecipe,
    *,
    name: str,
    single: bool = False,
    repeats: bool = False,
) -> Iterator[AttackChunk]:
    """Run a library's attack batch by batch.

    With restarts an image keeps its first success, or its try with the highest loss. A black-box attack (its
    recipe's ``access`` is scores or decisions) is run one image at a time: ``queries`` are then that image's own
    and what comes back does not depend on the batch. Elsewhere they are the images that passed through the
    detector, shared out evenly over the batch, because a library does not say whose they were.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    model
        The detector that the attack was built on.
    craft
        The attack.
    recipe
        The recipe of the attack.
    name
        Library and class, for messages.
    single
        Whether the class takes one image at a time, with any access.
    repeats
        Whether the class itself starts again as often as ``restarts`` says.
    """
    tries = int(task.params.get("restarts") or 1)
    restarts = 1 if repeats else tries
    steps = int(task.params.get("steps") or 1)
    one_by_one = single or recipe.access != "gradients"
    for rows in torch.arange(len(task.levels)).split(1) if one_by_one else task.batches():
        pixels, labels = task.pixels(rows), task.labels[rows].to(task.device)
        model.begin(task.streams.select(rows.tolist()).samples)
        best, rank = pixels, torch.full((len(rows),), -torch.inf)
        for restart in range(restarts):
            streams = task.try_streams(rows, restart)
            with library_randomness(streams):
                crafted = _crafted(craft, model, name, pixels.clone(), labels.clone())
            crafted = crafted.detach().to(task.device, torch.float32)
            # Round-off past black and white; what goes further is left for the verifier.
            inside = crafted.clamp(0, 1)
            crafted = torch.where((crafted - inside).abs() <= _ROUND_OFF, inside, crafted)
            if restarts == 1:
                best = crafted
                break
            loss = task.seen_margin(rows, crafted)
            if task.knows_the_verdict:
                # A success on 8 bits outranks any margin.
                fooled = task.is_fooled(rows, task.log_odds(rows, task.threat.shrink(pixels, crafted)))
                loss = torch.where(fooled, torch.inf, loss)
            better = loss > rank
            best = torch.where(better.to(task.device).view(-1, 1, 1, 1), crafted, best)
            rank = torch.maximum(rank, loss)
        count = len(rows)
        queries = torch.full((count,), round(model.queries / count))
        yield AttackChunk(rows, best, torch.full((count,), steps * tries), queries)


def _crafted(craft: Craft, model: CountingDetector, name: str, pixels: Tensor, labels: Tensor) -> Tensor:
    """Call a library; errors of the library become one line with the class, errors of the detector stay unchanged."""
    model.failure = None
    try:
        return craft(pixels, labels)
    except UserError:
        raise
    except Exception as error:
        raise_unless_librarys(error, model)
        height, width = pixels.shape[2:]
        hint = None
        if height != width:
            hint = "some classes need square images: put {perturb: resize_to} before the attack"
        elif isinstance(error, IndexError):
            # What indexes past two classes is a DLR loss or a choice among several wrong classes.
            hint = "the class may need more than the two classes of a detector"
        said = (
            f"{name} failed on images of {width}×{height} pixels: {type(error).__name__}: {first_line(error)}"
        )
        raise UserError(said, hint=hint) from error
