"""Short trainings behind a defence: without them, a detector of fine traces loses its accuracy behind smoothing or noise.

    python -m benchmarks.defences.training NAMES

writes ``weights/NAME.safetensors``. Most defences train the batch norms and the last layer alone, a few kilobytes.
"""

import argparse
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.defences import zoo
from benchmarks.defences.judging import balanced_images

WEIGHTS = Path(__file__).parent / "weights"


def small_parts(network: nn.Module) -> list[str]:
    """Return the names of the parameters of batch norms and of the last linear layer."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    return [f"{name}.{part}" for name in [*norms, linear[-1]] for part in ("weight", "bias")]


def batches(
    epochs: int, size: int = 64, seed: int = 0, limit: int | None = 2400
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield batches of training images of minigen, with their labels and the share of the training that is done."""
    _, pixels, labels = balanced_images("train", limit)
    generator = torch.Generator().manual_seed(seed)
    parts = [
        part for _ in range(epochs) for part in torch.randperm(len(pixels), generator=generator).split(size)
    ]
    for number, rows in enumerate(parts):
        images = pixels[rows]
        mirrored = torch.rand(len(rows), generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        yield images, labels[rows], number / len(parts)


def adapt(
    defended: nn.Module,
    trained: Iterable[str],
    *,
    epochs: int = 2,
    rate: float = 3e-3,
    limit: int | None = 2400,
) -> None:
    """Train parameters of a defended detector on clean images, with the defence in place.

    Parameters
    ----------
    defended
        Maps pixels to N×2 logits.
    trained
        The names of its parameters that are trained. Running statistics of batch norms follow.
    epochs, rate
        Passes over the images, and the highest learning rate.
    limit
        Number of training images.
    """
    torch.manual_seed(0)
    chosen = set(trained)
    for name, parameter in defended.named_parameters():
        parameter.requires_grad_(name in chosen)
    norms = [module for module in defended.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
    optimiser = torch.optim.Adam([p for p in defended.parameters() if p.requires_grad], lr=rate)
    for images, labels, done in batches(epochs, limit=limit):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - done)
        loss = nn.functional.cross_entropy(defended(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    defended.eval().requires_grad_(False)


def put_weights(name: str, network: nn.Module, parts: Iterable[str]) -> None:
    """Write the named parameters of a network, and the running statistics of its batch norms, in half precision."""
    kept = set(parts)
    tensors = {
        key: value.half().contiguous()
        for key, value in network.state_dict().items()
        if key in kept or key.endswith(("running_mean", "running_var"))
    }
    WEIGHTS.mkdir(exist_ok=True)
    save_file(tensors, WEIGHTS / f"{name}.safetensors")


def take_weights(name: str, network: nn.Module) -> None:
    """Put the trained weights of a defence into a network; before its first training there are no weights to put."""
    file = WEIGHTS / f"{name}.safetensors"
    if file.is_file():
        tensors = {key: value.float() for key, value in load_file(file).items()}
        missing = network.load_state_dict(tensors, strict=False)
        assert not missing.unexpected_keys, missing.unexpected_keys


def main() -> None:
    """Train the defences that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+")
    for name in parser.parse_args().names:
        import_module(f"{zoo.__name__}.{name}").train()
        print(f"{name}: {(WEIGHTS / f'{name}.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    main()
