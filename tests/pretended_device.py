"""A device that is pretended on the CPU, and counts how often a computation waits for it."""

from collections import Counter
from contextlib import ExitStack
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "is_nonzero",
    "masked_select",
    "unique_consecutive",
    "_unique2",
}
"""Operators whose result, or its size, the program needs before it goes on."""


class PretendedDevice(TorchDispatchMode):
    """Counts waits for tensors that would lie on a device: what ``Tensor.to(device)`` returned, and what follows from it.

    ``Tensor.cpu()`` and ``tolist`` of such a tensor are waits, as are a truth value, an index by a mask, and sizes that
    depend on values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self._held: dict[int, Any] = {}
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        to, cpu, tolist = Tensor.to, Tensor.cpu, Tensor.tolist

        def moved(tensor: Tensor, *arguments: Any, **named: Any) -> Tensor:
            wanted = [*arguments, named.get("device")]
            result = to(tensor, *arguments, **named)
            if any(isinstance(each, torch.device) for each in wanted):
                result = result.clone() if result is tensor else result
                self._note(result)
            return result

        def fetched(tensor: Tensor, *arguments: Any, **named: Any) -> Tensor:
            if not self._is_here(tensor):
                return cpu(tensor, *arguments, **named)
            self.waits["cpu"] += 1
            return torch.from_numpy(tensor.detach().numpy().copy())

        def listed(tensor: Tensor) -> Any:
            self.waits["tolist"] += self._is_here(tensor)
            return tolist(tensor)

        for name, function in (("to", moved), ("cpu", fetched), ("tolist", listed)):
            self._patches.enter_context(mock.patch.object(Tensor, name, function))
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._patches.close()

    def _note(self, tensor: Tensor) -> None:
        # The storages are kept, so that no other tensor gets their place.
        storage = tensor.untyped_storage()
        self._held[storage.data_ptr()] = storage

    def _is_here(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        here = [each for each in given if each.numel() and self._is_here(each)]
        name = func.overloadpacket.__name__
        if here and name in _WAITING:
            self.waits[name] += 1
        if here and name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
            masks = [each for each in args[1] if isinstance(each, Tensor) and each.dtype == torch.bool]
            self.waits["mask"] += bool(masks)
        result = func(*args, **(kwargs or {}))
        if here:
            for each in tree_leaves(result):
                if isinstance(each, Tensor) and each.numel():
                    self._note(each)
        return result
