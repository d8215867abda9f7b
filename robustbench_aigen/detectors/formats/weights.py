"""Weights of a known architecture: safetensors, state dicts of torch, Lightning and training checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.architectures import (
    TORCHVISION,
    Untrained,
    build_untrained,
    check_architecture,
    torchvision_architectures,
)
from robustbench_aigen.detectors.formats.checkpoint import (
    Matched,
    check_values,
    classes_of,
    dtype_text,
    matched_weights,
    read_checkpoint,
)
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.sharding import shards_of
from robustbench_aigen.detectors.formats.unknown_architecture import (
    nearest_architectures,
    unknown_architecture,
)
from robustbench_aigen.detectors.identity import file_hash, files_hash
from robustbench_aigen.detectors.state_dicts import Weights, WeightSet
from robustbench_aigen.detectors.zoo import architecture_names, options_of_weights
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted


def load_weights(request: Request) -> Loaded:
    """Load weights into the architecture that the scenario or the card names.

    Raises
    ------
    UserError
        If no architecture is named, the file is damaged or not to be trusted, or the weights do not fit.
    """
    files = shards_of(request.path)
    digest = file_hash(files[0]) if len(files) == 1 else files_hash(files)
    if request.card.sha256 not in (None, digest):
        hint = f"the weights have sha256 {digest}; correct the card, or use the weights of the card"
        raise UserError(
            "the card beside these weights belongs to other weights", file=request.path, hint=hint
        )
    if request.arch is not None:
        # A misspelt name is reported before a large file is read.
        check_architecture(request.arch)
    sets = read_checkpoint(request)
    told = _told_of_shards(request, len(files))
    if request.arch is None:
        network, choice = _whole_network(request, sets)
        return Loaded(
            network,
            type(network).__name__,
            digest,
            assumptions=(*told, *choice),
            made_of=made_of_choices(request),
        )
    arch, built, choices = _fitting(request, request.arch, sets)
    chosen = _chosen(choices, request)
    decided = _decided(arch, chosen, request)
    if not decided.keys() <= request.arch_options.keys():
        built = build_untrained(arch, 2, {**decided, **request.arch_options}, request.input_size)
    others = [each for each in choices if each is not chosen and not each.problems]
    notes = _fill(built.network, chosen, request, f"architecture '{request.arch}'", sets)
    return Loaded(
        built.network,
        arch,
        digest,
        built.metadata,
        assumptions=(
            *told,
            *_told_of_choice(chosen, others, sets, request),
            *_left_out(chosen, others),
            *notes,
            *_told_of_options(decided, request),
        ),
        libraries=built.libraries,
        assumed=built.assumed,
        made_of=made_of_choices(request, decided),
    )


def _decided(arch: str, chosen: Matched, request: Request) -> dict[str, Any]:
    """Return the options of an architecture of the zoo that fitting weights decide."""
    if chosen.problems or arch not in architecture_names():
        return {}
    check_values(chosen.weights, request)
    return options_of_weights(arch, chosen.weights)


def _told_of_options(decided: Mapping[str, Any], request: Request) -> tuple[str, ...]:
    """Return a notice on each option that the weights decide, unless the declared option is the same."""
    told = []
    for name, value in decided.items():
        declared = request.arch_options.get(name)
        if declared is None:
            text = f"{name}: {value}, read from the values of the weights; arch_options: {{{name}: ...}} sets another"
            told.append(text)
        elif declared != value:
            told.append(f"{name}: {declared} is set, but the weights look trained with {name}: {value}")
    return tuple(told)


def made_of_choices(request: Request, decided: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return the settings of card, scenario and weights that decide which network a file becomes."""
    given = {**(decided or {}), **request.arch_options}
    options = tuple(f"{name}={value}" for name, value in sorted(given.items()))
    return options if request.weights_key is None else (*options, f"weights_key={request.weights_key}")


def _told_of_shards(request: Request, count: int) -> tuple[str, ...]:
    if count == 1:
        return ()
    return (f"{request.path.name} is one of {count} files of weights; all are read",) * (
        not request.path.name.endswith(".json")
    )


def _whole_network(request: Request, sets: Sequence[WeightSet]) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the complete network of a file, and notices about others in the file."""
    networks = [each for each in sets if each.module is not None]
    if not networks:
        raise unknown_architecture(request, sets)
    wanted = request.weights_key
    keys = [each.key for each in networks]
    if wanted is not None and wanted not in keys:
        raise _no_such_weights(wanted, keys, request)
    chosen = networks[0 if wanted is None else keys.index(wanted)]
    network = chosen.module
    assert network is not None
    check_values(chosen.weights, request)
    others = [key for key in keys if key != chosen.key]
    if wanted is not None or not others:
        return network, ()
    text = f"network '{chosen.key}' is loaded; the file also has {', '.join(others[:3])}; weights_key selects another"
    return network, (text,)


def _fitting(request: Request, arch: str, sets: Sequence[WeightSet]) -> tuple[str, Untrained, list[Matched]]:
    """Return the architecture, with as many outputs as the weights have, and all weights under its names."""
    found = []
    for name, outputs in _candidates(arch):
        built = build_untrained(name, outputs, request.arch_options, request.input_size)
        choices = matched_weights(sets, built.network)
        found.append((name, built, choices))
        wanted = [
            each for each in choices if request.weights_key is None or each.is_called(request.weights_key)
        ]
        if wanted and not wanted[0].problems:
            return found[-1]
    # Torchvision's own name gives the clearest message on weights that do not fit.
    return next((each for each in found if classes_of(each[2][0], each[1].network)), found[0])


def _candidates(arch: str) -> Iterator[tuple[str, int]]:
    """Yield the architectures that a name may mean, each with two outputs and with one; torchvision is imported last."""
    yield from ((arch, outputs) for outputs in (2, 1))
    if arch in architecture_names() and TORCHVISION + arch in torchvision_architectures():
        # The zoo's of that name has two outputs, and perhaps another head.
        yield from ((TORCHVISION + arch, outputs) for outputs in (2, 1))


def _chosen(choices: Sequence[Matched], request: Request) -> Matched:
    key = request.weights_key
    if key is None:
        return choices[0]
    wanted = [each for each in choices if each.name == key] or [
        each for each in choices if each.is_called(key)
    ]
    if not wanted:
        raise _no_such_weights(key, [each.name for each in choices if each.name], request)
    return wanted[0]


def _no_such_weights(key: str, known: Sequence[str], request: Request) -> UserError:
    names = ", ".join(dict.fromkeys(name for name in known if name))
    hint = (
        f"set weights_key: to one of {names}"
        if names
        else "remove weights_key: the file has a single set of weights"
    )
    return UserError(f"has no weights '{key}'", file=request.path, hint=hint)


def _told_of_choice(
    chosen: Matched, fitting: Sequence[Matched], sets: Sequence[WeightSet], request: Request
) -> tuple[str, ...]:
    """Return a notice on the chosen weights if a file has several sets and the choice is undeclared."""
    if request.weights_key is not None:
        return ()
    others = [each.name for each in fitting if not _same(each, chosen)]
    fitting_keys = {each.key for each in (chosen, *fitting)}
    others += [
        f"{each.key} (does not fit)"
        for each in sets
        # A callback keeps numbers of its own.
        if each.key not in fitting_keys and not each.key.startswith("callbacks.")
    ]
    if not others:
        return ()
    shown = ", ".join(dict.fromkeys(name or "weights without a name" for name in others[:4]))
    more = f" and {len(others) - 4} more" if len(others) > 4 else ""
    what = f"weights '{chosen.name}' are" if chosen.name else "the weights without a prefix are"
    return (f"{what} loaded; the file also has {shown}{more}; weights_key: NAME selects another",)


def _same(one: Matched, other: Matched) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        one.weights[name] is tensor or torch.equal(one.weights[name], tensor)
        for name, tensor in other.weights.items()
        if not tensor.is_meta and not one.weights[name].is_meta
    )


def _left_out(matched: Matched, others: Sequence[Matched]) -> tuple[str, ...]:
    """Return a line on the entries beside the weights that were left out, except other sets of weights."""
    prefixes = tuple(each.prefix for each in others if each.key == matched.key and each.prefix)
    names = (
        [name for name in matched.left_out if not name.startswith(prefixes)] if prefixes else matched.left_out
    )
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (f"weights are read under '{matched.prefix}'; left out: {shown}",)


def fill_network(network: nn.Module, request: Request, what: str) -> None:
    """Fill a file's weights into an existing network.

    Raises
    ------
    UserError
        If they do not fit ``what`` it is.
    """
    sets = read_checkpoint(request)
    _fill(network, _chosen(matched_weights(sets, network), request), request, what, sets)


def _fill(
    network: nn.Module, matched: Matched, request: Request, what: str, sets: Sequence[WeightSet]
) -> tuple[str, ...]:
    """Fill weights into a network; return notices about their precision."""
    weights, expected = matched.weights, network.state_dict()
    if matched.problems:
        classes = classes_of(matched, network)
        if classes is not None:
            imagenet = ", those of ImageNet" * (classes == 1000)
            raise UserError(
                f"the weights have {counted(classes, 'class', 'classes')}{imagenet}; a detector has one or two outputs (real, fake)",
                file=request.path,
                hint=f"train the head of {what} on real and fake images, or group its classes in a python: factory",
            )
        beside = (
            f"; beside '{matched.prefix}' the file has {', '.join(matched.left_out[:3])}"
            if matched.left_out
            else ""
        )
        raise UserError(
            f"the weights do not fit {what}: {'; '.join(matched.problems)}{beside}",
            file=request.path,
            hint=_QUANTISED
            if any(name.endswith(_OF_QUANTISED) for name in weights)
            else _nearest(request, next(each.weights for each in sets if each.key == matched.key)),
        )
    own = {key: weights[key] for key in expected if key in weights}
    check_values(own, request)
    # Stored in half precision perhaps; the network computes in float32.
    network.load_state_dict({key: own[key].to(expected[key].dtype) for key in own}, strict=False)
    if matched.quantised:
        return ("stored quantised; the weights are dequantised and computed in float32",)
    return stored_in(list(own.values()))


def _nearest(request: Request, weights: Weights) -> str | None:
    """Return a hint on the architectures whose names and shapes the weights have; None where there is no other."""
    near = [arch for arch in nearest_architectures(weights) if arch != request.arch]
    return f"their names and shapes are those of {' or '.join(near[:3])}" if near else None


_OF_QUANTISED = (
    ".qweight",
    ".qzeros",
    ".zero_point",
    ".SCB",
    ".absmax",
    ".quant_map",
    ".weight_scale",
    ".g_idx",
)
_QUANTISED = "the weights look quantised: save dequantised weights, in float32 or half precision"


def stored_in(tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """Return a notice on stored precisions other than float32."""
    kinds = sorted({dtype_text(tensor) for tensor in tensors if tensor.is_floating_point()} - {"float32"})
    return (f"stored in {' and '.join(kinds)}, computed in float32",) if kinds else ()
