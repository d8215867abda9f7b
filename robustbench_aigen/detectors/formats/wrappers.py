"""Wrappers of networks from other libraries: other layouts, fixed batches, no gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.outputs import outputs_by_place


class BlackBox(nn.Module):
    """A model outside torch: scores, and no gradients.

    Parameters
    ----------
    answer
        N×3×H×W float32 to N, N×1 or N×2 numbers.
    """

    def __init__(self, answer: Callable[[NDArray[np.float32]], NDArray[Any]]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's numbers for normalised images, on their device."""
        numbers = self.answer(np.ascontiguousarray(images.detach().cpu().float().numpy()))
        return torch.from_numpy(np.asarray(numbers, dtype=np.float32)).to(images.device)

    def __deepcopy__(self, memo: dict[int, object]) -> "BlackBox":
        # It has no parameters, and sessions of other libraries cannot be copied.
        return self


class ChannelsLastInput(nn.Module):
    """A network that wants N×H×W×3."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """Call the network on N×3×H×W."""
        return self.network(images.permute(0, 2, 3, 1))

    def around(self, network: nn.Module) -> "ChannelsLastInput":
        """Return the same around another network."""
        return ChannelsLastInput(network)


class PaddedBatch(nn.Module):
    """A network that was exported for some batch sizes alone.

    Parameters
    ----------
    network
        The wrapped network.
    smallest, largest
        The batch sizes that it takes. Smaller ones are filled with copies of the last image, larger ones taken in
        parts.
    """

    def __init__(self, network: nn.Module, smallest: int, largest: int) -> None:
        super().__init__()
        self.network, self.smallest, self.largest = network, smallest, largest

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Call the network on any number of images; several outputs become a mapping of their places."""
        parts = [self._part(part) for part in images.split(self.largest)]
        joined = {place: torch.cat([part[place] for part in parts]) for place in parts[0]}
        return joined[""] if list(joined) == [""] else joined

    def around(self, network: nn.Module) -> "PaddedBatch":
        """Return the same around another network."""
        return PaddedBatch(network, self.smallest, self.largest)

    def _part(self, images: Tensor) -> dict[str, Tensor]:
        missing = max(0, self.smallest - len(images))
        filled = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]) if missing else images
        answers = outputs_by_place(self.network(filled), len(filled))
        return {place: answer[: len(images)] for place, answer in answers.items()}


class GroupedLogits(nn.Module):
    """A classifier of more than two classes, of which some mean real and the others AI-generated.

    The logit of a group is the log-sum-exp of its classes': the softmax over two is then the sum of their
    probabilities.
    """

    def __init__(self, network: nn.Module, real: tuple[int, ...], fake: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.groups = network, (list(real), list(fake))

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2 logits (real, fake)."""
        logits = functional.log_softmax(self.network(images), dim=1)
        return torch.stack([logits[:, group].logsumexp(dim=1) for group in self.groups], dim=1)
