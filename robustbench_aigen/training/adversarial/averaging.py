"""An exponential moving average of weights (Polyak and Juditsky 1992; for adversarial training Gowal et al. 2020)."""

import torch
from torch import Tensor, nn


class RunningAverage:
    """The average of a network's weights and running statistics.

    Parameters
    ----------
    network
        In training.
    decay
        Share of the average that stays at each step. It rises to that from 0.1, (1 + t) / (10 + t) after t steps, so
        that a short training is not held back by its first weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self.decay = network, decay
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the current weights to the average, after the ``step``-th step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value.to(self._average[name].device), 1 - decay)
            else:
                self._average[name].copy_(value)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights and their average, in place."""
        for name, value in self._network.state_dict().items():
            kept = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average."""
        return self._average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the average."""
        for name, value in state.items():
            self._average[name].copy_(value)
