"""The first images that a detector is shown, and what they say of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.hidden_networks import hidden_networks, settle
from robustbench_aigen.detectors.outputs import Answer, find_answer, look_like_probabilities
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.notices import warning
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.seeding import changed_generators, global_states, preserved_global_rng
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector


def try_out(detector: "Detector") -> None:
    """Show a detector its probes, and note what they say of it.

    ``differentiable``, ``draws`` and ``changes`` are set, the output that holds the verdict is fixed where there are
    several, and notices are added to ``assumptions``.

    Raises
    ------
    UserError
        Unless two logits come out, for one image as for several, and finite ones for at least one image.
    """
    probes = detector.probes()
    before = global_states()
    with preserved_global_rng():
        logits = _first_answer(detector, probes)
        detector.draws = bool(changed_generators(before))
        # What a first call makes, and later ones find, is no change.
        state = _state(detector)
        _settle_output(detector, probes)
        alone = _of_one(detector, probes)
    detector.changes = tuple(name for name, now in _state(detector).items() if state.get(name, now) != now)
    if not detector.borrows:
        settle(detector.network, detector.device)
    for answer, count in ((logits, len(probes)), (alone, 1)):
        if answer.shape != (count, 2):
            raise UserError(
                f"detector '{detector.name}' returns {tuple(answer.shape)} for {counted(count, 'image')}; "
                "two logits (real, fake) each are needed"
            )
    if not logits.isfinite().all():
        _check_weights(detector)
    if not logits.isfinite().all(dim=1).any():
        raise UserError(
            f"detector '{detector.name}' returns NaN or infinity for every image that was tried; its weights are finite",
            hint="check outputs, mean and std, and what its code divides by",
        )


def refuse_classes(detector: "Detector") -> None:
    """Raise UserError where a module that has not seen an image yet is a classifier of three classes or more.

    On some size at least: without an input size, what fails on these images may answer others.
    """
    sides = [None] if detector.preprocessing.input_size else [32, 224, 64]
    with borrowed(detector), preserved_global_rng(), torch.no_grad():
        for side in sides:
            asked = detector if side is None else detector.read_as(input_size=(side, side))
            try:
                raw = asked.network(asked.normalised(asked.probes()))
            except Exception:  # noqa: BLE001, S112  The first images that it is given will say what is wrong.
                continue
            if (
                isinstance(raw, Tensor)
                and raw.dim() == 2
                and len(raw) == len(asked.probes())
                and raw.shape[1] > 2
            ):
                find_answer(raw, detector.name, len(raw), detector.preprocessing.output)
            return


def failure(
    detector: "Detector", error: Exception, height: int, width: int, *, hint: str, image: str = ""
) -> UserError:
    """Return the error of a detector on images of a size as a UserError.

    Parameters
    ----------
    detector, error
        The detector, and its error.
    height, width
        Height and width of the images.
    hint
        Advice, if the error itself has none.
    image
        One of the images.
    """
    reason = error.message if isinstance(error, UserError) else first_line(error)
    if isinstance(error, UserError) and error.hint:
        hint = error.hint
    elif re.search("Half|Double|BFloat16|double", reason) and "numpy" not in reason:
        hint = "its weights and its input differ in type: return network.float() from your code"
    elif isinstance(error, AttributeError | NotImplementedError):
        hint = "the detector receives N×3×H×W float32 tensors; convert the tensors in its code"
    named = f" ({image})" if image else ""
    return UserError(
        f"detector '{detector.name}' fails on {height}×{width} input{named}: {reason}", hint=hint
    )


def check_finite(detector: "Detector", numbers: Tensor, names: Sequence[str], after: str = "") -> None:
    """Raise UserError where an answer is NaN or infinite: no verdict rests on it.

    Parameters
    ----------
    detector
        The detector with these outputs.
    numbers
        N log-odds.
    names
        Names of the images for the message.
    after
        The processing of the images before, for the message.
    """
    bad = [name for name, fine in zip(names, numbers.isfinite().tolist(), strict=True) if not fine]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        behind = f" after {after}" if after else ""
        raise UserError(
            f"detector '{detector.name}' answers NaN or infinity for {bad[0]}{more} of {counted(len(names), 'image')}{behind}",
            hint="leave the image out, or look for a division by zero or a logarithm of zero in the detector",
        )


_SIZE_HINT = "give the size that its network was trained on, input_size: [height, width]"
_SIZE_HINT_IN_PYTHON = "give the size that it was trained on: Detector(module, input_size=(height, width))"


@torch.no_grad()
def size_hint(detector: "Detector", height: int, width: int) -> str:
    """Return which input size a detector would take instead of that of some images."""
    own = detector.preprocessing
    if own.input_size is not None:
        return _own_hint(detector)
    tries = [
        [max(step, step * round(side / step)) for side in (height, width)] for step in (2, 8, 16, 32, 64)
    ]
    for size in [*tries, *([side, side] for side in (224, 256, 299, 384, 512))]:
        if _takes_probes(detector.read_as(input_size=(size[0], size[1]))):
            if detector.borrows:
                return f"give input_size=({size[0]}, {size[1]}), which the network accepts, or the size that it was trained on"
            return f"set input_size: [{size[0]}, {size[1]}], which the network accepts, or the size that its network was trained on"
    return _own_hint(detector)


def _own_hint(detector: "Detector") -> str:
    return _SIZE_HINT_IN_PYTHON if detector.borrows else _SIZE_HINT


def _takes_probes(detector: "Detector") -> bool:
    try:
        detector(detector.probes())
    except Exception:  # noqa: BLE001  Any reason is one against this size.
        return False
    return True


def _first_answer(detector: "Detector", probes: Tensor) -> Tensor:
    """Return the logits of the probes, and note whether gradients reach them."""
    try:
        with torch.enable_grad():
            leaf = probes.clone().requires_grad_()
            logits: Tensor = detector(leaf)
            detector.differentiable = bool(logits.requires_grad) and _reaches(logits, leaf)
            return logits.detach()
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # What turns its input into numpy's fails on one with a gradient alone.
        try:
            with torch.no_grad():
                logits = detector(probes)
        except Exception:  # noqa: BLE001  The first error says what is wrong.
            height, width = probes.shape[-2:]
            hint = size_hint(detector, height, width) if detector.borrows else _SIZE_HINT
            raise failure(detector, error, height, width, hint=hint) from error
        detector.differentiable = False
        _tell(detector, f"no gradients: {first_line(error)}; attacks without gradients work")
        return logits


def _of_one(detector: "Detector", probes: Tensor) -> Tensor:
    """Return the logits of a single image."""
    try:
        with torch.no_grad():
            alone: Tensor = detector(probes[:1])
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = error.message if isinstance(error, UserError) else first_line(error)
        raise UserError(
            f"detector '{detector.name}' accepts {len(probes)} images at a time and fails on a single image: {reason}",
            hint="set evaluation mode, and keep the batch dimension in squeeze()",
        ) from error
    return alone


def _settle_output(detector: "Detector", probes: Tensor) -> None:
    """Fix which output holds the verdict, and tell what was chosen and what is no score."""
    if isinstance(detector.network, nn.ModuleList):
        return  # An ensemble, whose members have been tried.
    own = detector.preprocessing
    found = detector.answer(probes)
    if found.place and own.output is None:
        detector.preprocessing = replace(own, output=found.place)
        if found.others:
            others = ", ".join(f"{place} {shape}" for place, shape in found.others.items())
            _tell(
                detector, f"output: {found.place} is read as the verdict; the detector also returns {others}"
            )
    for sentence in _what_it_answers(found):
        _tell(detector, sentence)
    # A file declares the kind of its outputs; otherwise the values of the outputs decide.
    is_bounded = (
        detector.borrows and own.outputs == "logits" and look_like_probabilities(found.columns.float())
    )
    if is_bounded and detector.answers_probabilities():
        text = (
            "its outputs look like probabilities (in [0, 1] for every image) and are read as logits; "
            'Detector(module, outputs="probabilities") reads them as they are'
        )
        _tell(detector, warning(text))
    if not detector.differentiable and not any("no gradients" in said for said in detector.assumptions):
        _tell(
            detector,
            "no gradients: the output is detached from the input; attacks without gradients work",
        )


def _what_it_answers(found: Answer) -> Iterator[str]:
    """Yield notices on the precision and kind of the outputs."""
    columns = found.columns
    if not columns.is_floating_point():
        if len(columns.unique()) > 2 or columns.abs().max() > 1:
            yield "the outputs are whole numbers, and scores have this precision"
        else:
            yield "the outputs are labels, not scores: AUROC and attacks on scores see two values"
    elif columns.dtype in (torch.float16, torch.bfloat16):
        yield f"the outputs are in {str(columns.dtype).removeprefix('torch.')}, and scores have this precision"


def _tell(detector: "Detector", sentence: str) -> None:
    detector.assumptions = tuple(dict.fromkeys([*detector.assumptions, sentence]))


def _check_weights(detector: "Detector") -> None:
    """Raise UserError where weights are not numbers, or parameters infinite."""
    for network in (detector.network, *hidden_networks(detector.network)):
        tensors = [*network.named_parameters(), *network.named_buffers()]
        # A mask among the buffers may well be infinite.
        damaged = [name for name, tensor in tensors if tensor.is_floating_point() and tensor.isnan().any()]
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            raise UserError(
                f"detector '{detector.name}' returns NaN: its weights are damaged, {damaged[0]}{more} hold NaN"
            )
        infinite = [name for name, tensor in network.named_parameters() if tensor.isinf().any()]
        if infinite:
            more = f" and {len(infinite) - 1} more" if len(infinite) > 1 else ""
            raise UserError(
                f"detector '{detector.name}' returns NaN or infinity: {infinite[0]}{more} of its weights hold infinity"
            )


def _state(detector: "Detector") -> dict[str, object]:
    """Return the state that a call may not change: versions of weights and buffers, and the modes."""
    state: dict[str, object] = {}
    for number, network in enumerate((detector.network, *hidden_networks(detector.network))):
        place = f"hidden network {number}: " if number else ""
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            # Whole numbers count calls; whether an answer depends on them, repeating it shows.
            if tensor.is_floating_point() and not tensor.is_inference():
                state[place + name] = (id(tensor), tensor._version)  # noqa: SLF001  The only count of changes.
        for name, module in network.named_modules():
            state[f"{place}mode of {name or 'the network'}"] = module.training
    return state


def _reaches(logits: Tensor, leaf: Tensor) -> bool:
    """Whether the graph of the logits leads back to the pixels. What the gradient is, the trust probes ask."""
    return torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] is not None
