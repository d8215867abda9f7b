"""Weights of a known architecture: safetensors, state dicts of torch, Lightning and training checkpoints."""

from collections.abc import Mapping
from itertools import product

from torch import Tensor, nn

from robustbench_aigen.detectors.architectures import (
    TORCHVISION,
    Untrained,
    build_untrained,
    check_architecture,
    torchvision_architectures,
)
from robustbench_aigen.detectors.formats.checkpoint import Matched, read_checkpoint, without_prefix
from robustbench_aigen.detectors.formats.hashing import file_hash
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.state_dicts import Weights
from robustbench_aigen.detectors.zoo import architecture_names
from robustbench_aigen.errors import UserError


def load_weights(request: Request) -> Loaded:
    """Load weights into the architecture that the scenario or the card names.

    Raises
    ------
    UserError
        If no architecture is named, the file is damaged or not to be trusted, or the weights do not fit.
    """
    digest = file_hash(request.path)
    if request.card.sha256 not in (None, digest):
        hint = f"they have sha256 {digest}; correct the card or take its weights"
        raise UserError("the card beside these weights is of other weights", file=request.path, hint=hint)
    if request.arch is not None:
        # A misspelt name is told before a large file is read.
        check_architecture(request.arch)
    content = read_checkpoint(request)
    if request.arch is None:
        if isinstance(content, nn.Module):
            return Loaded(content, type(content).__name__, digest)
        raise UserError(
            f"'{request.place}' has no card that names its architecture",
            hint=f"add arch: timm:NAME, a name of torchvision, or one of {', '.join(architecture_names())}",
        )
    if isinstance(content, nn.Module):
        content = content.state_dict()
    arch, built, matched = _fitting(request, request.arch, content)
    _fill(built.network, matched, request, f"architecture '{request.arch}'")
    return Loaded(
        built.network,
        arch,
        digest,
        built.metadata,
        assumptions=_left_out(matched),
        libraries=built.libraries,
    )


def _fitting(request: Request, arch: str, weights: Weights) -> tuple[str, Untrained, Matched]:
    """Return the architecture, with as many outputs as the weights have, and the weights under its names."""
    choices = []
    names = [arch]
    if arch in architecture_names() and TORCHVISION + arch in torchvision_architectures():
        # The zoo's of that name has two outputs, and perhaps another head.
        names.append(TORCHVISION + arch)
    for name, outputs in product(names, (2, 1)):
        built = build_untrained(name, outputs, request.card.arch_options, request.input_size)
        matched = without_prefix(weights, built.network)
        choices.append((name, built, matched))
        if not _problems(built.network.state_dict(), matched.weights):
            return choices[-1]
    return choices[0]


def _left_out(matched: Matched) -> tuple[str, ...]:
    if not matched.left_out:
        return ()
    names = ", ".join(matched.left_out[:3]) + (", …" if len(matched.left_out) > 3 else "")
    return (f"the weights are those under '{matched.prefix}'; left out: {names}",)


def fill_network(network: nn.Module, request: Request, what: str) -> None:
    """Fill a file's weights into a network that stands there already.

    Raises
    ------
    UserError
        If they do not fit ``what`` it is.
    """
    content = read_checkpoint(request)
    weights = content.state_dict() if isinstance(content, nn.Module) else content
    _fill(network, without_prefix(weights, network), request, what)


def _fill(network: nn.Module, matched: Matched, request: Request, what: str) -> None:
    weights, expected = matched.weights, network.state_dict()
    problems = _problems(expected, weights)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"the weights do not fit {what}: {'; '.join(problems[:3])}{more}",
            file=request.path,
        )
    # Stored in half precision perhaps; the network computes in float32.
    network.load_state_dict(
        {key: weights[key].to(tensor.dtype) for key, tensor in expected.items() if key in weights},
        strict=False,
    )


def _problems(expected: Mapping[str, Tensor], weights: Weights) -> list[str]:
    """Name the entries that are missing, too many, or of another shape or kind."""
    problems = [f"missing {key}" for key in expected if key not in weights and not key.endswith(_COUNTER)]
    problems += [f"unexpected {key}" for key in weights if key not in expected]
    problems += [
        f"{key} is {_shape(weights[key])}, not {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    problems += [
        f"{key} is {str(weights[key].dtype).removeprefix('torch.')}"
        for key, tensor in expected.items()
        if key in weights and weights[key].is_floating_point() != tensor.is_floating_point()
    ]
    return problems


_COUNTER = "num_batches_tracked"
"""Of batch norms; older checkpoints lack it, and nothing reads it in evaluation."""


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"
