"""Networks that torch does not see: in closures, lists, attributes, partial functions, globals of a function."""

from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_MOST = 100_000
"""Objects that are looked at: a network may hold a data set."""
_LIBRARIES = {
    "torch", "torchvision", "timm", "transformers", "keras", "onnx", "onnxruntime", "onnx2torch", "sklearn", "scipy",
    "numpy", "pandas", "PIL", "builtins", "collections", "functools", "typing", "abc", "robustbench_aigen",
}  # fmt: skip
"""Packages whose own functions and classes hold no network of the user."""
_PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    Tensor,
    type,
    BuiltinFunctionType,
    CodeType,
    torch.dtype,
)


def hidden_networks(network: nn.Module) -> list[nn.Module]:
    """Return the outermost networks that ``network`` uses and that are none of its submodules."""
    seen, found = {id(module) for module in network.modules()}, []
    waiting: list[Any] = list(network.modules())
    examined = {id(module) for module in waiting}
    while waiting and len(examined) < _MOST:
        for held in _held_by(waiting.pop()):
            if id(held) in examined or isinstance(held, _PLAIN):
                continue
            examined.add(id(held))
            waiting.append(held)
            if isinstance(held, nn.Module) and id(held) not in seen:
                found.append(held)
                inner = list(held.modules())
                seen.update(map(id, inner))
    return found


def settle(network: nn.Module, device: torch.device) -> None:
    """Put a network and all that it hides into evaluation mode, frozen, on a device."""
    for module in (network, *hidden_networks(network)):
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        module.to(device)


def _held_by(thing: Any) -> Iterator[Any]:
    """Yield what an object holds, one level deep."""
    if isinstance(thing, FunctionType):
        yield from _held_by_function(thing)
    elif isinstance(thing, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif not isinstance(thing, ModuleType):
        yield from _attributes(thing)


def _held_by_function(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # Not filled yet.
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    if _is_of_a_library(function.__module__):
        return
    names = set(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            yield from (
                held for key, held in vars(value).items() if key in names and isinstance(held, nn.Module)
            )
        else:
            yield value


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code looks up, those of the functions inside included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _attributes(thing: Any) -> Iterator[Any]:
    """Yield an object's attributes, those of its own class included."""
    yield from getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        if _is_of_a_library(kind.__module__):
            break
        yield from vars(kind).values()


def _is_of_a_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES
