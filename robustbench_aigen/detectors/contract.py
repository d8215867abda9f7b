"""The detector contract: pixels in, two float32 logits out, everything between inside."""

from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.outputs import as_columns, look_like_probabilities, two_logits
from robustbench_aigen.detectors.preprocessing import FAKE_COLUMN, Preprocessing
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.numerics.seeding import changed_generators, global_states, preserved_global_rng

REAL, FAKE = 0, FAKE_COLUMN
"""Labels, and the columns of the logits."""


class Detector(nn.Module):
    """A detector of AI-generated images.

    ``detector(pixels)`` maps N×3×H×W float32 pixels in [0, 1] to N×2 float32 logits (real, fake). Any H and W
    are taken: the resize is inside, so an attack works on native pixels.

    Parameters
    ----------
    network
        Takes normalised input and returns one or two numbers for each image.
    preprocessing
        Resize, normalisation, order of channels and outputs.
    name
        The id under which records and tables list it.
    architecture
        Name of the architecture, for records.
    weights_sha256
        Hash of the weights.
    libraries
        Packages that compute it beside torch; their versions belong to its identity.

    Attributes
    ----------
    assumptions
        What was taken for granted because nothing said it; shown to the user.
    declared
        The settings of the preprocessing that somebody declared: the scenario, a card, the file's own metadata.
    differentiable
        Whether gradients reach the pixels. Attacks with gradients refuse a detector without.
    made_of
        What decides its answers beside weights, architecture and preprocessing: options, files that its code read.
    draws
        Whether a pass draws from a global random generator, as a random defence does. A run seeds it then.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        name: str,
        architecture: str,
        weights_sha256: str,
        libraries: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.name, self.architecture, self.weights_sha256 = name, architecture, weights_sha256
        self.libraries = libraries
        self.assumptions: tuple[str, ...] = ()
        self.declared: frozenset[str] = frozenset()
        self.made_of: tuple[str, ...] = ()
        self.differentiable = True
        self.draws = False
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)
        self.eval()
        self.requires_grad_(False)

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 float32 logits (real, fake) for N×3×H×W pixels in [0, 1].

        Parameters
        ----------
        pixels
            The images; smaller ones than H×W are padded at the right and at the bottom.
        sizes
            N×2 heights and widths of the images, where they are not all H×W.
        """
        if sizes is not None:
            pieces = [image[None, :, :h, :w] for image, (h, w) in zip(pixels, sizes.tolist(), strict=True)]
            # Without an input size the images of a batch are of one size, and stay of it.
            pixels = torch.cat([self.preprocessing.fit(piece) for piece in pieces])
        else:
            pixels = self.preprocessing.fit(pixels)
        columns = as_columns(self.network(self._normalised(pixels)), self.name)
        logits = two_logits(columns, self.preprocessing.outputs)
        return logits if self.preprocessing.fake_index == FAKE else logits.flip(1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return what the network gets of N×3×H×W pixels in [0, 1]."""
        return self._normalised(self.preprocessing.fit(pixels))

    def _normalised(self, pixels: Tensor) -> Tensor:
        ordered = self.preprocessing.order(pixels)
        return (ordered - cast(Tensor, self.mean)) / cast(Tensor, self.std)

    def read_as(self, **changes: object) -> "Detector":
        """Return the same network with other preprocessing, for example ``fake_index=0``."""
        other = Detector(
            self.network,
            replace(self.preprocessing, **changes),  # type: ignore[arg-type]
            name=self.name,
            architecture=self.architecture,
            weights_sha256=self.weights_sha256,
            libraries=self.libraries,
        )
        other.to(self.device)
        other.assumptions, other.declared, other.made_of = self.assumptions, self.declared, self.made_of
        other.differentiable, other.draws = self.differentiable, self.draws
        return other

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return cast(Tensor, self.mean).device

    def probes(self) -> Tensor:
        """Return four small grey and random images, 4×3×H×W, by which a detector is tried."""
        height, width = self.preprocessing.input_size or (64, 64)
        noise = torch.rand((3, 3, height, width), generator=torch.Generator().manual_seed(0))
        return torch.cat([torch.full((1, 3, height, width), 0.5), noise]).to(self.device)

    def check(self) -> None:
        """Try a few images, note whether gradients reach them, and raise UserError unless two finite logits come out."""
        probes = self.probes()
        height, width = probes.shape[-2:]
        try:
            with torch.enable_grad(), preserved_global_rng():
                before = global_states()
                leaf = probes.clone().requires_grad_()
                logits = self(leaf)
                self.draws = bool(changed_generators(before))
                self.differentiable = bool(logits.requires_grad) and _reaches(logits, leaf)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            reason = first_line(error)
            raise UserError(
                f"detector '{self.name}' fails on {height}×{width} input: {reason}",
                hint="give the size that its network was trained on, input_size: [height, width]",
            ) from error
        if logits.shape != (len(probes), 2):
            raise UserError(
                f"detector '{self.name}' returns {tuple(logits.shape)} for {len(probes)} images; two logits (real, fake) each are needed"
            )
        if not logits.isfinite().all():
            raise UserError(
                f"detector '{self.name}' returns NaN or infinity for a grey image: its weights are damaged"
            )

    @torch.no_grad()
    def answers_probabilities(self) -> bool:
        """Whether the network answers probabilities, whatever it is shown, images a thousand times too bright included."""
        normalised = self.normalised(self.probes())
        loud = torch.cat([normalised * factor for factor in (1.0, -10.0, 100.0, -1000.0)])
        columns = as_columns(self.network(loud), self.name)
        return look_like_probabilities(columns)


def _reaches(logits: Tensor, leaf: Tensor) -> bool:
    """Whether the graph of the logits leads back to the pixels. What the gradient is, the trust probes ask."""
    return torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] is not None


def log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds of *fake* for N×2 logits, logit of *fake* minus logit of *real*: N float32 numbers, in nats.

    Rankings, thresholds and verdicts rest on these. The float32 probability is 1.0 from 17 nats on.
    """
    both = logits.float()
    return both[:, FAKE] - both[:, REAL]


def probabilities(odds: Tensor) -> Tensor:
    """Return the score, the probability of *fake*, for N log-odds: N float32 numbers in [0, 1]."""
    return odds.double().sigmoid().float()


def scores(logits: Tensor) -> Tensor:
    """Return the score, the probability of *fake*, for N×2 logits: N float32 numbers in [0, 1]."""
    return probabilities(log_odds(logits))


def verdicts(odds: Tensor, threshold: Threshold) -> Tensor:
    """Return the labels that N log-odds mean: 1 (fake) from the threshold on, ties included, else 0."""
    return (odds >= threshold.log_odds).long()


class DeployedDetector(nn.Module):
    """A detector as attacks see it: logits shifted so that argmax is the verdict at its threshold.

    An image is called fake where z_fake − z_real is at least the threshold's log-odds, which are taken from z_fake.
    """

    def __init__(self, detector: nn.Module, threshold: Threshold = HALF) -> None:
        super().__init__()
        self.detector, self.threshold = detector, threshold
        tensor = next(chain(detector.parameters(), detector.buffers()), None)
        device = tensor.device if tensor is not None else None
        shift = torch.tensor([0.0, threshold.log_odds], device=device)
        self.register_buffer("shift", shift, persistent=False)
        self.eval()

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 logits whose argmax is the verdict; ``sizes`` as in :meth:`Detector.forward`."""
        logits: Tensor = self.detector(pixels) if sizes is None else self.detector(pixels, sizes)
        return logits if self.threshold.log_odds == 0 else logits - cast(Tensor, self.shift)
