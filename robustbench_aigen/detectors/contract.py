"""The detector contract: pixels in, two float32 logits out, everything between inside."""

from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.guests import called_as_a_guest
from robustbench_aigen.detectors.outputs import (
    Answer,
    as_columns,
    find_answer,
    look_like_probabilities,
    two_logits,
)
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.preprocessing_settings import FAKE_COLUMN
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.detectors.trial import try_out

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
    shown_by
        The labelled images that show which output means *fake*; empty where none do.
    differentiable
        Whether gradients reach the pixels. Attacks with gradients refuse a detector without.
    made_of
        What decides its answers beside weights, architecture and preprocessing: options, files that its code read.
    draws
        Whether a pass draws from a global random generator, as a random defence does. A run seeds it then.
    changes
        The weights and buffers that a pass changes: of a network in training mode. Attacks refuse such a detector.
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
        self.shown_by = ""
        self.differentiable = True
        self.draws = False
        self.changes: tuple[str, ...] = ()
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
        logits = two_logits(
            self.columns(self._normalised(pixels)).to(pixels.device), self.preprocessing.outputs
        )
        return logits if self.preprocessing.fake_index == FAKE else logits.flip(1)

    def columns(self, images: Tensor) -> Tensor:
        """Return the network's own numbers for normalised images, N×1 or N×2 float32."""
        return as_columns(self._asked(images), self.name, len(images), self.preprocessing.output)

    @torch.no_grad()
    def answer(self, pixels: Tensor) -> Answer:
        """Return what the network itself answers for N×3×H×W pixels in [0, 1], of its own dtype."""
        return find_answer(
            self._asked(self.normalised(pixels)), self.name, len(pixels), self.preprocessing.output
        )

    def _asked(self, images: Tensor) -> object:
        """Return whatever the network answers."""
        with called_as_a_guest(f"detector '{self.name}'"):
            return self.network(images)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return what the network gets of N×3×H×W pixels in [0, 1]."""
        return self._normalised(self.preprocessing.fit(pixels))

    def _normalised(self, pixels: Tensor) -> Tensor:
        ordered = self.preprocessing.order(pixels)
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        if ordered.shape[1] == 4:
            mean = torch.cat([mean, torch.zeros_like(mean[:, :1])], dim=1)
            std = torch.cat([std, torch.ones_like(std[:, :1])], dim=1)
        channels = ordered.shape[1]
        # Never the images themselves: networks write into their input. To divide by 1 changes no bit.
        centred = ordered - mean[:, :channels]
        return centred if self.preprocessing.std == (1.0, 1.0, 1.0) else centred.div_(std[:, :channels])

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
        other.differentiable, other.draws, other.changes = self.differentiable, self.draws, self.changes
        return other

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return cast(Tensor, self.mean).device

    def probes(self) -> Tensor:
        """Return four small images, two smooth and two of noise, 4×3×H×W, by which a detector is tried.

        None is constant: what standardises an image divides by its deviation.
        """
        height, width = self.preprocessing.input_size or (64, 64)
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand((4, 3, height, width), generator=generator)
        coarse = torch.rand((2, 3, 6, 6), generator=generator)
        smooth = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        return torch.cat([0.9 * smooth + 0.1 * noise[:2], noise[2:]]).to(self.device)

    def check(self) -> None:
        """Try a few images and raise UserError unless two logits come out, for one image as for several.

        Notes whether gradients reach the images, whether an answer draws random numbers, and what it changes.
        """
        try_out(self)

    @torch.no_grad()
    def answers_probabilities(self) -> bool:
        """Whether the network answers probabilities, whatever it is shown, images a thousand times too bright included."""
        normalised = self.normalised(self.probes())
        loud = [self.columns(normalised * factor) for factor in (1.0, -10.0, 100.0, -1000.0)]
        return look_like_probabilities(torch.cat(loud))


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
