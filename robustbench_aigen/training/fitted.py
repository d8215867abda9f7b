"""Result of a training: the network and its history."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Parameters
    ----------
    network
        The network with the best weights, on the CPU, in evaluation mode.
    arch_options
        Options of ``build`` for a network that these weights fit.
    precision
        Precision of the training passes.
    seconds, steps
        Duration of the training; support vector machines and probes have no steps.
    history
        A row per epoch: losses, accuracies, learning rate. Empty for support vector machines and probes.
    best_epoch
        The epoch whose weights are kept, from 1; 0 without epochs.
    stopped_early
        Whether epochs were left out.
    val_log_odds
        Log-odds of *fake* of the readable validation images, where the fit knows them; of a probe, from stored features.
    hyper_parameters, search
        Of a support vector machine or a probe: those it was fitted with, and a row for every combination that was compared.
    """

    network: nn.Module
    arch_options: dict[str, Any]
    precision: str
    seconds: float
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    val_log_odds: NDArray[np.float32] | None = None
    hyper_parameters: dict[str, float] = field(default_factory=dict)
    search: list[dict[str, float]] = field(default_factory=list)
