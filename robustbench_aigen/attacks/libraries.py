"""Attack libraries as backends: what the torchattacks and ART adapters share.

A recipe names a class and its arguments; ``$name`` stands for a parameter of the scenario. An adapter turns that
into a function from a batch to adversarial pixels, and :func:`run_library` does the rest: per-image randomness,
restarts, query counts, batches.
"""

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.numerics.seeding import library_randomness
from robustbench_aigen.scenario.parameters import Value
from robustbench_aigen.scenario.recipes import LibraryCall

Craft = Callable[[Tensor, Tensor], Tensor]
"""(pixels M×3×H×W, labels M) → adversarial pixels, all on the device."""


class CountingDetector(nn.Module):
    """The deployed detector as a library sees it: counts its queries and cannot be put into training mode."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.queries = 0
        super().train(False)

    def train(self, mode: bool = True) -> "CountingDetector":
        """Stay in evaluation mode: ART and torchattacks switch modes behind the caller's back."""
        del mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×2 logits and count N queries."""
        self.queries += len(pixels)
        logits: Tensor = self.detector(pixels)
        return logits


def fill_arguments(arguments: Mapping[str, Any], params: Mapping[str, Value]) -> dict[str, Any]:
    """Put parameters in the place of ``$name`` in a recipe's arguments."""
    return {
        name: params[value[1:]] if isinstance(value, str) and value.startswith("$") else value
        for name, value in arguments.items()
    }


def library_class(library: ModuleType, call: LibraryCall) -> Any:
    """Return the class that a recipe names.

    Raises
    ------
    UserError
        If the library has no such class.
    """
    found = getattr(library, call.class_name, None)
    if not isinstance(found, type):
        known = [name for name, value in vars(library).items() if isinstance(value, type)]
        raise UserError(
            f"{library.__name__} has no attack '{call.class_name}'", hint=did_you_mean(call.class_name, known)
        )
    return found


def construct(attack_class: Any, *positional: object, **arguments: object) -> Any:
    """Build a library's attack; an argument that it does not take is the recipe's mistake.

    Raises
    ------
    UserError
        With the library's own words.
    """
    try:
        return attack_class(*positional, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{attack_class.__name__} does not take these arguments: {first_line(error)}"
        ) from error


def run_library(task: AttackTask, model: CountingDetector, craft: Craft) -> Iterator[AttackChunk]:
    """Run a library's attack batch by batch.

    With restarts an image keeps its first success, or its try with the highest loss. ``queries`` are the images
    that passed through the detector, shared out evenly over a batch, because a library does not say whose they
    were.
    """
    restarts = int(task.params.get("restarts") or 1)
    steps = int(task.params.get("steps") or 1)
    for rows in task.batches():
        pixels, labels = task.pixels(rows), task.labels[rows].to(task.device)
        model.queries = 0
        best, rank = pixels, torch.full((len(rows),), -torch.inf)
        for restart in range(restarts):
            streams = task.try_streams(rows, restart)
            with library_randomness(streams):
                crafted = craft(pixels.clone(), labels.clone()).detach().to(task.device, torch.float32)
            if restarts == 1:
                best = crafted
                break
            with torch.no_grad():
                loss = functional.cross_entropy(task.detector(crafted), labels, reduction="none").cpu()
            # A success on 8 bits outranks any loss.
            loss = torch.where(task.is_fooled(rows, task.score(rows, crafted)), torch.inf, loss)
            better = loss > rank
            best = torch.where(better.to(task.device).view(-1, 1, 1, 1), crafted, best)
            rank = torch.maximum(rank, loss)
        count = len(rows)
        queries = torch.full((count,), round(model.queries / count))
        yield AttackChunk(rows, best, torch.full((count,), steps * restarts), queries)
