"""Networks that torch does not see: in closures, containers, attributes, generators, globals of a function or a module."""

import gc
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GeneratorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any
from weakref import ReferenceType

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

_MOST = 100_000
"""Largest number of visited objects, because a network may hold a data set."""
_CACHED = type(lru_cache(len))
"""The class of functions that cache."""
_DEEPEST = 4
"""Packages inside packages."""
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
    CodeType,
    torch.dtype,
)


def hidden_networks(network: nn.Module) -> list[nn.Module]:
    """Return the outermost networks that ``network`` uses outside its submodules."""
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


@contextmanager
def called_in_evaluation_mode() -> Iterator[None]:
    """Put every module into evaluation mode as it is called: code may make its network at the first call.

    In training mode that call would change the statistics of its batch norms for good.
    """

    def set_evaluation(module: nn.Module, inputs: Any) -> None:
        del inputs
        if module.training:
            module.eval()

    hook = register_module_forward_pre_hook(set_evaluation)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)
            yield
    finally:
        hook.remove()


def _held_by(thing: Any) -> Iterator[Any]:
    """Yield the objects inside an object, one level deep."""
    if isinstance(thing, FunctionType):
        yield from _held_by_function(thing)
    elif isinstance(thing, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, Mapping):
        yield from _as_far_as_readable(thing.values)
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from thing
    elif isinstance(thing, BuiltinMethodType | GeneratorType | ReferenceType | ContextVar):
        yield from _held_by_built_in(thing)
    elif isinstance(thing, _CACHED):
        # What a function that caches has returned, and the function.
        yield from gc.get_referents(thing)
    elif not isinstance(thing, ModuleType):
        yield from _attributes(thing)


def _held_by_built_in(
    thing: "BuiltinMethodType | GeneratorType[Any, Any, Any] | ReferenceType[Any] | ContextVar[Any]",
) -> Iterator[Any]:
    if isinstance(thing, BuiltinMethodType):
        yield thing.__self__
    elif isinstance(thing, GeneratorType):
        yield from (thing.gi_frame.f_locals.values() if thing.gi_frame is not None else ())
    elif isinstance(thing, ReferenceType):
        yield thing()
    else:
        with suppress(LookupError):
            yield thing.get()


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
            yield from _held_by_module(value, names)
        else:
            yield value


def _held_by_module(module: ModuleType, names: set[str], depth: int = 0) -> Iterator[Any]:
    """Yield the objects that code with some names can reach in a module, through the packages above it."""
    if _is_of_a_library(module.__name__):
        return
    for key, held in list(vars(module).items()):
        if key not in names:
            continue
        if not isinstance(held, ModuleType):
            yield held
        elif depth < _DEEPEST:
            yield from _held_by_module(held, names, depth + 1)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code looks up, those of the functions inside included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _attributes(thing: Any) -> Iterator[Any]:
    """Yield an object's attributes, those of its own class included."""
    yield from _as_far_as_readable(lambda: getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        if _is_of_a_library(kind.__module__):
            break
        for held in vars(kind).values():
            if isinstance(held, MemberDescriptorType):
                yield from _as_far_as_readable(partial(_slot, thing, held.__name__))
            else:
                yield held


def _slot(thing: Any, name: str) -> list[Any]:
    return [getattr(thing, name, None)]


def _as_far_as_readable(read: Callable[[], Iterable[Any]]) -> list[Any]:
    """Return what the code of an object gives; a proxy raises any error, such as Flask's `request` outside a request."""
    try:
        return list(read())
    except Exception:  # noqa: BLE001
        return []


def _is_of_a_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES
