"""A frozen backbone whose weights stay out of checkpoints: its state is the sha256 of the file they are from."""

from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.errors import UserError


class FrozenBackbone(nn.Module):
    """A backbone with the weights of a known file, which a checkpoint names instead of holding them.

    Its state dict has one entry, ``sha256``: the 32 bytes of the file's hash. A backbone that is trained after all
    (one of its parameters requires a gradient, or other weights were loaded into it) has all weights in its state dict,
    as any module.

    Parameters
    ----------
    network
        The backbone, filled with the weights. It is frozen and stays in evaluation mode.
    sha256
        Hash of the file of the weights.
    what
        The weights, for messages.
    """

    sha256: Tensor

    def __init__(self, network: nn.Module, sha256: str, what: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.register_buffer("sha256", torch.tensor([*bytes.fromhex(sha256)], dtype=torch.uint8))
        self.what = what
        self._is_of_file = True
        self.register_load_state_dict_pre_hook(_complete)

    def forward(self, images: Tensor) -> Tensor:
        """Return what the backbone makes of N×3×H×W normalised images."""
        features: Tensor = self.network(images)
        return features

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Set the mode; frozen, the backbone stays in evaluation mode."""
        super().train(mode)
        if self.is_named:
            self.network.eval()
        return self

    @property
    def is_named(self) -> bool:
        """Whether the weights are those of the file, so that its hash stands for them."""
        return self._is_of_file and not any(weight.requires_grad for weight in self.network.parameters())

    def state_dict(self, *args: Any, prefix: str = "", **options: Any) -> Any:
        """Return the hash of the file, or of a backbone that is trained all of its weights."""
        state = super().state_dict(*args, prefix=prefix, **options)
        left_out = f"{prefix}network." if self.is_named else f"{prefix}sha256"
        for name in [name for name in state if name.startswith(left_out)]:
            del state[name]
        return state


def _complete(module: FrozenBackbone, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Add what a state dict of either kind leaves out, after a comparison of the hash."""
    named = state.get(f"{prefix}sha256")
    if named is None and any(name.startswith(f"{prefix}network.") for name in state):
        module._is_of_file = False  # noqa: SLF001  Its own hook.
        state[f"{prefix}sha256"] = module.sha256
        return
    if named is not None and not torch.equal(named.cpu(), module.sha256.cpu()):
        raise UserError(
            f"this head belongs to backbone weights with sha256 {_hex(named)}, not to {module.what} (sha256 {_hex(module.sha256)})",
            hint="use the version of the package that the head was trained with",
        )
    for name, tensor in module.network.state_dict(prefix=f"{prefix}network.").items():
        state.setdefault(name, tensor)


def _hex(digest: Tensor) -> str:
    return bytes(digest.cpu().tolist()).hex()
