"""Modules of the user: in evaluation mode and frozen during calls, and restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from torch import nn

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector


def borrowers(*modules: nn.Module) -> list["Detector"]:
    """Return the detectors among some modules and their submodules that borrow the module of a user."""
    found = [inner for module in modules for inner in module.modules() if getattr(inner, "borrows", False)]
    return cast("list[Detector]", found)


@contextmanager
def borrowed(*modules: nn.Module) -> Iterator[None]:
    """Keep what the detectors among some modules borrow in evaluation mode and frozen, and put all of it back.

    That is the mode of every submodule and whether each parameter requires gradients, of the networks that torch does
    not see (in closures and containers) as well. Blocks may lie inside each other, and in several threads: the first
    notes how a network was, the last puts it back. Detectors that borrow nothing stay as they are.
    """
    detectors = borrowers(*modules)
    networks = list({id(each): each for detector in detectors for each in detector.networks()}.values())
    # Libraries also set the mode of modules around a network.
    around = [(detector, detector.training) for detector in detectors]
    entered: list[nn.Module] = []
    try:
        for network in networks:
            _enter(network)
            entered.append(network)
        for detector, _ in around:
            detector.training = False
        yield
    finally:
        for detector, is_training in around:
            detector.training = is_training
        for network in reversed(entered):
            _leave(network)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode and frozen, and put it back; blocks may lie inside each other."""
    _enter(network)
    try:
        yield
    finally:
        _leave(network)


def is_frozen(network: nn.Module) -> bool:
    """Whether no part of a network is in training mode or requires gradients."""
    return not any(module.training for module in network.modules()) and not any(
        parameter.requires_grad for parameter in network.parameters()
    )


class _Noted:
    """The modes and the gradient flags of a network, and how many blocks have it borrowed."""

    def __init__(self, network: nn.Module) -> None:
        self.blocks = 0
        self.was_training = network.training
        self.modes = [(module, module.training) for module in network.modules()]
        self.flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]


_BORROWED: WeakKeyDictionary[nn.Module, _Noted] = WeakKeyDictionary()
_LOCK = RLock()


def _enter(network: nn.Module) -> None:
    with _LOCK:
        noted = _BORROWED.get(network)
        if noted is None:
            noted = _BORROWED[network] = _Noted(network)
            if any(is_training for _, is_training in noted.modes):
                network.eval()
            for parameter, is_asked in noted.flags:
                if is_asked:
                    parameter.requires_grad_(False)
        noted.blocks += 1


def _leave(network: nn.Module) -> None:
    with _LOCK:
        noted = _BORROWED[network]
        noted.blocks -= 1
        if noted.blocks:
            return
        del _BORROWED[network]
        if noted.was_training and not network.training:
            # Some classes do more than to set a flag.
            network.train()
        for module, is_training in noted.modes:
            if module.training != is_training:
                module.training = is_training
        for parameter, is_asked in noted.flags:
            if parameter.requires_grad != is_asked:
                parameter.requires_grad_(is_asked)
