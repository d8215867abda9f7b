"""The sigmoid or softmax that a network ends in, taken off."""

from copy import deepcopy

from torch import fx, nn

from robustbench_aigen.detectors.formats.wrappers import ChannelsLastInput, PaddedBatch


def without_final_activation(network: nn.Module) -> nn.Module | None:
    """Return a network without the sigmoid or softmax that it ends in, None where none is found.

    Behind a saturated one every gradient is zero; before it there still is one.
    """
    if isinstance(network, fx.GraphModule):
        return _graph_without_activation(network)
    if isinstance(network, ChannelsLastInput | PaddedBatch):
        inner = without_final_activation(network.network)
        return None if inner is None else network.around(inner)
    if isinstance(network, nn.Sequential) and len(network):
        *before, last = network.children()
        if isinstance(last, _ACTIVATIONS):
            return nn.Sequential(*before)
        inner = without_final_activation(last)
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
