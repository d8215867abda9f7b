"""A service as the network of a detector."""

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.remote.service import HttpService
from robustbench_aigen.numerics.eight_bit import LEVELS


class HttpNetwork(nn.Module):
    """Sends images to a service; a module without weights and without gradients.

    Parameters
    ----------
    service
        The service.
    """

    def __init__(self, service: HttpService) -> None:
        super().__init__()
        self.service = service

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return N×1 float32 log-odds of *fake* for N×3×H×W pixels in [0, 1], which are sent rounded to 8 bits."""
        levels = (pixels.detach().clamp(0, 1) * LEVELS).round().to("cpu", torch.uint8)
        odds = self.service.log_odds(list(levels))
        return torch.tensor(odds, dtype=torch.float64).float()[:, None].to(pixels.device)


def services_of(*modules: nn.Module) -> list[HttpService]:
    """Return the services that some detectors query, those of the members of ensembles included."""
    found = {
        id(inner.service): inner.service
        for module in modules
        for inner in module.modules()
        if isinstance(inner, HttpNetwork)
    }
    return list(found.values())


def is_remote(module: nn.Module) -> bool:
    """Whether images that a detector is shown are sent to a service, where each costs a query."""
    return bool(services_of(module))
