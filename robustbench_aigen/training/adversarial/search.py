"""The inner search of adversarial training: the steps of the native engine on a whole batch, fused with the step.

The images of a batch are searched together, without early stopping and without verdicts: what is wanted is the loss,
not a success. The search differentiates a detector that follows the one in training
(:class:`~robustbench_aigen.detectors.prepared.FollowingDetector`): running statistics folded into the convolutions,
reduced precision, channels-last, no gradient of a weight.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.threat_model import ThreatModel, l2_norm
from robustbench_aigen.errors import UserError

Loss = Callable[[Tensor], Tensor]
"""From N×2 logits to the scalar that a search raises."""


def ascend(
    network: nn.Module,
    threat: ThreatModel,
    clean: Tensor,
    start: Tensor,
    loss: Loss,
    *,
    steps: int,
    step_size: float,
) -> Tensor:
    """Take steps along the gradient of a loss, projected into the budget after each.

    Parameters
    ----------
    network
        Pixels to logits.
    threat
        Norm and budget.
    clean, start
        N×3×H×W float32 pixels: the centre of the budget, and where the search begins.
    loss
        The loss to maximise.
    steps, step_size
        Number of steps, and their length in pixel units.

    Returns
    -------
    Tensor
        N×3×H×W float32 pixels inside the budget.

    Raises
    ------
    UserError
        If no gradient reaches the pixels.
    """
    current = start
    for _ in range(steps):
        leaf = current.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(network(leaf).float())
        gradient = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        if gradient is None:
            raise UserError("the detector has no gradient to the pixels, which adversarial training needs")
        step = threat.steepest(gradient).mul_(step_size)
        current = threat.project(clean, step.add_(leaf.detach()))
    return current


def start_in_budget(clean: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return a random start: uniform in the L∞ ball; for L2 a uniform direction and a uniform radius."""
    if threat.norm == "linf":
        drawn = torch.rand(clean.shape, generator=generator).mul_(2 * threat.eps).sub_(threat.eps)
    else:
        direction = torch.randn(clean.shape, generator=generator)
        radius = torch.rand(len(clean), generator=generator) * threat.eps
        drawn = direction * (radius / l2_norm(direction)).view(-1, 1, 1, 1)
    return threat.project(clean, clean + _laid_out_like(drawn, clean))


def start_nearby(clean: Tensor, generator: torch.Generator) -> Tensor:
    """Return the start of TRADES: normal noise of 0.001, off the point where the divergence has no gradient."""
    drawn = torch.randn(clean.shape, generator=generator).mul_(0.001)
    return (clean + _laid_out_like(drawn, clean)).clamp_(0, 1)


def _laid_out_like(drawn: Tensor, clean: Tensor) -> Tensor:
    # Drawn on the CPU in one order, so that a device or a memory layout changes nothing.
    channels_last = clean.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return drawn.to(clean.device).contiguous(memory_format=layout)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the batch and keep the running ones; all else is in evaluation mode."""
    modes = [(module, module.training) for module in network.modules()]
    norms = [module for module, _ in modes if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001  The common base has no public name.
    tracked = [norm for norm in norms if norm.track_running_stats]
    network.eval()
    for norm in norms:
        norm.train()
    for norm in tracked:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracked:
            norm.track_running_stats = True
        for module, mode in modes:
            module.training = mode
