"""Undeclared input size and kind of outputs of a network, found from its answers to a few images."""

import re
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from robustbench_aigen.detectors.contract import Detector, scores
from robustbench_aigen.detectors.formats.wrappers import ChannelsLastInput, PaddedBatch
from robustbench_aigen.detectors.hidden_networks import hidden_networks
from robustbench_aigen.detectors.outputs import look_like_percentages
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import warning
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.scenario.detector_spec import Channels

_USUAL_SIZES = (
    224,
    32,
    256,
    128,
    96,
    299,
    384,
    28,
    512,
    227,
    331,
    48,
    112,
    160,
    192,
    336,
    448,
    600,
    72,
    100,
    150,
)
_CHANNELS: tuple[Channels, ...] = ("grey", "rgba")
_BATCHES = (1, 2, 8, 16, 32, 64)


def find_out_input(detector: Detector) -> None:
    """Try what a network may take that does not take its probes.

    That is weights that are not float32, one channel or four, another size, and a fixed batch.
    """
    own, network = detector.preprocessing, detector.network
    fault = _fault(detector)
    if fault is None:
        return
    if not isinstance(fault, UserError):
        if _in_float32(detector, fault):
            fault = _fault(detector)
        if fault is None or _found_channels_or_size(detector, fault):
            return
    for size in [own.input_size] if own.input_size else [None, (224, 224), (32, 32), (256, 256)]:
        _set(detector, input_size=size, channels=own.channels)
        # A network that takes several images, and answers something else for them, may be meant for one.
        for batch in _BATCHES[:1] if isinstance(fault, UserError) else _BATCHES:
            detector.network = PaddedBatch(network, batch, batch)
            if _fault(detector) is None:
                _tell_input(detector, own)
                images = "one image" if batch == 1 else f"{batch} images"
                _tell(detector, f"the network takes exactly {images} at a time")
                return
    detector.preprocessing, detector.network = own, network


def _in_float32(detector: Detector, fault: Exception) -> bool:
    """Make weights of another precision float32 where a network failed for it."""
    networks = [detector.network, *hidden_networks(detector.network)]
    others = {p.dtype for network in networks for p in network.parameters() if p.is_floating_point()} - {
        torch.float32
    }
    if not others or not re.search("dtype|type|Half|Double|BFloat16", str(fault)):
        return False
    for network in networks:
        network.float()
    _tell(
        detector, f"weights in {', '.join(sorted(str(each)[6:] for each in others))} are computed in float32"
    )
    return True


def _found_channels_or_size(detector: Detector, fault: Exception) -> bool:
    """Try other channels and sizes, and keep what works."""
    own = detector.preprocessing
    sizes = [own.input_size] if own.input_size else [None, *((side, side) for side in _USUAL_SIZES)]
    channels = [own.channels] if "channels" in detector.declared else [own.channels, *_CHANNELS]
    tries = [(size, order) for size in sizes for order in channels]
    if own.input_size is None and "mat1 and mat2" in str(fault):
        tries += [((side, side), own.channels) for side in (*range(8, 257, 2), *range(9, 257, 2))]
    for size, order in tries:
        _set(detector, input_size=size, channels=order)
        if _fault(detector) is None:
            _tell_input(detector, own)
            return True
    detector.preprocessing = own
    return False


def _tell_input(detector: Detector, before: Preprocessing) -> None:
    """Return the settings that were found by trying, as text."""
    found = detector.preprocessing
    if found.input_size != before.input_size and found.input_size is not None:
        _tell(
            detector,
            f"input_size: {found.input_size[0]} was found by trying; declare input_size if the detector was trained on another size",
        )
    if found.channels != before.channels:
        what = (
            "one channel: images are converted to grey (ITU-R 601)"
            if found.channels == "grey"
            else "four: alpha is opaque"
        )
        _tell(detector, f"channels: {found.channels} was found by trying: the network takes {what}")


def _tell(detector: Detector, sentence: str) -> None:
    detector.assumptions = (*detector.assumptions, sentence)


@torch.no_grad()
def takes_its_probes(detector: Detector) -> bool:
    """Whether a network accepts the probes of its detector, with any output."""
    fault = _fault(detector)
    return fault is None or isinstance(fault, UserError)


@torch.no_grad()
def _fault(detector: Detector) -> Exception | None:
    """Return the error of a detector on its probes; a UserError if it accepts them and its outputs are wrong."""
    try:
        detector(detector.probes())
    except (
        Exception
    ) as error:  # Networks raise errors of any type; :meth:`Detector.check` reports the reason.
        if is_out_of_memory(error):
            raise
        return error
    return None


def find_out_outputs(detector: Detector) -> None:
    """Decide whether a network returns logits or probabilities if undeclared, and remove a final softmax."""
    if "outputs" not in detector.declared:
        _set(detector, outputs="probabilities" if _answers_probabilities(detector) else "logits")
        if _answers_percentages(detector):
            text = "the outputs look like percentages (from 0 to 100 for every input) and are read as logits; set outputs: percentages or outputs: logits"
            _tell(detector, warning(text))
    if detector.preprocessing.outputs == "logits":
        return
    inner = _without_final_activation(detector.network)
    if inner is not None and _gives_the_same_scores(detector, inner):
        detector.network = inner.eval().requires_grad_(False)
        _set(detector, outputs="logits")
    elif (
        "outputs" not in detector.declared and detector.answer(detector.probes()).columns.is_floating_point()
    ):
        text = "the outputs look like probabilities (in [0, 1] for every input) and are read so; set outputs: logits for logits"
        _tell(detector, text)


def _set(detector: Detector, **changes: Any) -> None:
    detector.preprocessing = replace(detector.preprocessing, **changes)


def _answers_probabilities(detector: Detector) -> bool:
    try:
        return detector.answers_probabilities()
    except Exception:  # noqa: BLE001  As above.
        return False


@torch.no_grad()
def _answers_percentages(detector: Detector) -> bool:
    try:
        return look_like_percentages(detector.answer(detector.probes()).columns.float())
    except Exception:  # noqa: BLE001  As above.
        return False


@torch.no_grad()
def _gives_the_same_scores(detector: Detector, inner: nn.Module) -> bool:
    """Whether a network without its last activation gives the same scores as with it."""
    plain = replace(detector.preprocessing, outputs="logits")
    without = Detector.assembled(inner, plain, name="", architecture="", weights_sha256="").to(
        detector.device
    )
    probes = detector.probes()
    return torch.allclose(scores(detector(probes)), scores(without(probes)), atol=1e-5)


def _without_final_activation(network: nn.Module) -> nn.Module | None:
    """Return a network without the sigmoid or softmax that it ends in, None where none is found.

    Behind a saturated one every gradient is zero; before it there still is one.
    """
    if isinstance(network, fx.GraphModule):
        return _graph_without_activation(network)
    if isinstance(network, ChannelsLastInput | PaddedBatch):
        inner = _without_final_activation(network.network)
        return None if inner is None else network.around(inner)
    if isinstance(network, nn.Sequential) and len(network):
        *before, last = network.children()
        if isinstance(last, _ACTIVATIONS):
            return nn.Sequential(*before)
        inner = _without_final_activation(last)
        return None if inner is None else nn.Sequential(*before, inner)
    return None


_ACTIVATIONS = (nn.Sigmoid, nn.Softmax)
_ACTIVATION_CALLS = {"sigmoid", "softmax"}


def _graph_without_activation(network: fx.GraphModule) -> nn.Module | None:
    changed = deepcopy(network)
    output = next(node for node in reversed(changed.graph.nodes) if node.op == "output")
    if len(output.all_input_nodes) != 1 or not _is_activation(changed, output.all_input_nodes[0]):
        return None
    activation = output.all_input_nodes[0]
    output.replace_input_with(activation, activation.all_input_nodes[0])
    changed.graph.eliminate_dead_code()
    changed.recompile()
    return changed


def _is_activation(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), _ACTIVATIONS)
    name = getattr(node.target, "__name__", str(node.target))
    return node.op == "call_function" and name.partition(".")[0] in _ACTIVATION_CALLS
