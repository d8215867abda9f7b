"""The detector contract: pixels in, two float32 logits out, everything between inside."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from robustbench_aigen.detectors.borrowing import borrowed, borrowers, frozen, is_frozen
from robustbench_aigen.detectors.guests import called_as_a_guest
from robustbench_aigen.detectors.hidden_networks import hidden_networks
from robustbench_aigen.detectors.identity import network_hash
from robustbench_aigen.detectors.outputs import (
    Answer,
    as_columns,
    find_answer,
    look_like_probabilities,
    two_logits,
)
from robustbench_aigen.detectors.preprocessing import Preprocessing, Window
from robustbench_aigen.detectors.preprocessing_settings import FAKE_COLUMN
from robustbench_aigen.detectors.remembering import forget, remembered
from robustbench_aigen.detectors.settings import checked_module, checked_settings, checked_word
from robustbench_aigen.detectors.thresholds import HALF, Threshold, as_threshold, both_classes, fit_threshold
from robustbench_aigen.detectors.trial import try_out
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.images_like import ImagesLike, LabelsLike, labels_of
from robustbench_aigen.scenario.detector_spec import Channels, Crop, Outputs, Resample

REAL, FAKE = 0, FAKE_COLUMN
"""Labels, and the columns of the logits."""


class Detector(nn.Module):
    """A detector of AI-generated images, made of any module with one or two outputs.

    ``detector(pixels)`` maps N×3×H×W float32 pixels in [0, 1] to N×2 float32 logits (real, fake). Any H and W
    are taken: the resize is inside, so an attack works on native pixels.

    The module is borrowed: it stays where it is, and its mode, its gradient flags and its weights are the user's.
    :meth:`scores`, :meth:`predict`, attacks and runs put it into evaluation mode while they last. Evaluated again
    after more training, it gives new numbers.

    Parameters
    ----------
    module
        Takes normalised N×3×H×W float32 tensors and returns one or two numbers for each image.
    mean, std
        Normalisation per channel, in pixel units ([0, 1]).
    input_size
        Height and width that the module wants; None where it takes images of any size.
    fake_index
        Which output of the module means *fake*; of a single output, 1 where it is the logit of *fake*.
    outputs
        ``logits``, ``probabilities`` or ``percentages``.
    channels
        ``rgb``, ``bgr``, ``grey`` or ``rgba``.
    resample
        The filter of the resize: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, antialiased where it shrinks.
    resize_to
        Before a crop to ``input_size``: the shorter side, or height and width.
    crop
        Which views of ``input_size`` the module sees: ``center``, ``five`` or ``tiles``. None resizes to ``input_size``,
        or crops the centre after a ``resize_to``.
    stride
        Distance of tiles in pixels; ``input_size`` by default.
    combine
        How the answers to several views become one: ``mean_score``, ``mean_logit``, ``max_score``, or ``top3`` for the
        mean of the three highest scores.
    pad
        What surrounds images that are smaller than the crop: ``reflect``, or a level in [0, 1]; black by default.
    threshold
        The score from which on an image is called fake.
    name
        Under which tables list it, the name of its class by default. A name is no part of the identity.
    version
        The user's own word for the code of a module that has no source file (in a notebook).

    Raises
    ------
    UserError
        For an unknown setting.

    Attributes
    ----------
    network
        The module.
    preprocessing
        Resize, normalisation, order of channels and outputs.
    threshold
        The threshold of :meth:`predict`.
    architecture
        Name of the architecture, for records.
    libraries
        Packages that compute it beside torch; their versions belong to its identity.
    borrows
        Whether its network is a user's module; what is loaded from files is the program's own, and stays frozen.
    assumptions
        Assumptions about undeclared settings; shown to the user.
    declared
        The declared settings of the preprocessing: from the scenario, a card, the file's own metadata.
    shown_by
        The labelled images that show which output means *fake*; empty where none do.
    differentiable
        Whether gradients reach the pixels. Attacks with gradients refuse a detector without.
    made_of
        Other parts of the identity besides weights, architecture and preprocessing: options, files read by the code.
    draws
        Whether a pass draws from a global random generator, as a random defence does. A run seeds it then.
    changes
        The weights and buffers that a pass changes: of a network in training mode. Attacks refuse such a detector.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] = (0, 0, 0),
        std: Sequence[float] = (1, 1, 1),
        input_size: int | tuple[int, int] | None = None,
        fake_index: int = FAKE,
        outputs: Outputs = "logits",
        channels: Channels = "rgb",
        resample: Resample = "bilinear",
        resize_to: int | tuple[int, int] | None = None,
        crop: Crop | None = None,
        stride: int | tuple[int, int] | None = None,
        combine: str = "mean_score",
        pad: float | Literal["reflect"] | None = None,
        threshold: float | Threshold = 0.5,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__()
        settings = {
            "mean": mean, "std": std, "input_size": input_size, "fake_index": fake_index, "outputs": outputs,
            "channels": channels, "resample": resample, "resize_to": resize_to, "crop": crop, "stride": stride,
            "combine": combine, "pad": pad,
        }  # fmt: skip
        kind = checked_module(module)
        self._hold(
            module,
            Preprocessing(**checked_settings(settings)),
            name=checked_word(name, "name") or kind,
            architecture=kind,
            borrows=True,
        )
        # Arguments that a caller leaves out have their documented defaults.
        self.declared = frozenset(settings)
        given = as_threshold(threshold)
        if isinstance(given, str):
            raise UserError(
                f"threshold '{given}' is fitted on clean images",
                hint=f"detector.with_threshold({given!r}, images, labels)",
            )
        self.threshold, self.version = given, checked_word(version, "version")

    @staticmethod
    def assembled(
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        name: str,
        architecture: str,
        weights_sha256: str,
        libraries: tuple[str, ...] = (),
        borrows: bool = False,
    ) -> "Detector":
        """Return the detector that a loader has made, in evaluation mode and frozen.

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
            Packages that compute it beside torch.
        borrows
            Whether the network uses a module of the user, which is not changed.
        """
        detector = Detector.__new__(Detector)
        nn.Module.__init__(detector)
        detector._hold(  # noqa: SLF001  Its own class.
            network, preprocessing, name=name, architecture=architecture, libraries=libraries, borrows=borrows
        )
        detector.weights_sha256 = weights_sha256
        return detector

    def _hold(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        name: str,
        architecture: str,
        libraries: tuple[str, ...] = (),
        borrows: bool = False,
    ) -> None:
        """Set what every detector has."""
        self.network = network
        self.preprocessing = preprocessing
        self.name, self.architecture, self.libraries, self.borrows = name, architecture, libraries, borrows
        self.threshold, self.version = HALF, ""
        self.assumptions: tuple[str, ...] = ()
        self.declared = frozenset[str]()
        self.made_of: tuple[str, ...] = ()
        self.shown_by = ""
        self.differentiable = True
        self.draws = False
        self.changes: tuple[str, ...] = ()
        self._weights_sha256 = ""
        self._seen_size: tuple[int, int] | None = None
        # What is loaded is tried by its loader.
        self._is_tried = not borrows
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)
        if borrows:
            self.training = network.training
        else:
            self.eval()
            self.requires_grad_(False)

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights: of a user's module, of those that it has now."""
        return self._weights_sha256 or remembered(self, "weights", self._hash_of_weights)

    @weights_sha256.setter
    def weights_sha256(self, digest: str) -> None:
        self._weights_sha256 = digest

    def _hash_of_weights(self) -> str:
        return network_hash(self.network)

    def scores(self, images: ImagesLike) -> Tensor:
        """Return the probability of *fake* for images: N float32 numbers on the CPU.

        Parameters
        ----------
        images
            A tensor N×3×H×W, float in [0, 1] or uint8, or a list of 3×H×W tensors, PIL images or paths, of any sizes.
            Floats are rounded to 8 bits, as in a run; ``detector(pixels)`` takes them as they are.

        Raises
        ------
        UserError
            If the images have another type, the module fails on them, or answers NaN or infinity.
        """
        return probabilities(self.log_odds(images))

    def predict(self, images: ImagesLike) -> Tensor:
        """Return the labels of images at the threshold: N whole numbers, 0 real and 1 fake; a tie is fake.

        Raises
        ------
        UserError
            As :meth:`scores` does.
        """
        return verdicts(self.log_odds(images), self.threshold)

    def log_odds(self, images: ImagesLike) -> Tensor:
        """Return the log-odds of *fake* for images: N float32 numbers on the CPU, in nats; as :meth:`scores`."""
        from robustbench_aigen.detectors.scoring import log_odds_of_images  # It scores detectors.

        return log_odds_of_images(self, images)

    def with_threshold(
        self,
        rule: float | str | Threshold,
        images: ImagesLike | None = None,
        labels: LabelsLike | None = None,
    ) -> "Detector":
        """Return the same detector with another threshold; the module is shared.

        Parameters
        ----------
        rule
            A score between 0 and 1; ``youden``, which maximises TPR − FPR; or ``fpr@0.01``, the lowest threshold whose
            false-positive rate is at most 0.01.
        images, labels
            Clean images of both classes that a rule is fitted on: validation images, none that are tested.

        Raises
        ------
        UserError
            If the rule is unknown, or cannot be fitted on these images.
        """
        threshold = as_threshold(rule)
        if isinstance(threshold, str):
            if images is None or labels is None:
                raise UserError(
                    f"threshold '{threshold}' is fitted on clean images, and images or labels are missing",
                    hint=f"detector.with_threshold({threshold!r}, images, labels)",
                )
            odds = self.log_odds(images)
            known = both_classes(labels_of(labels, len(odds)).numpy(), threshold)
            threshold = fit_threshold(threshold, odds.numpy(), known)
        other = self._twin()
        other.threshold = threshold
        return other

    def refresh(self) -> None:
        """Discard everything computed from the module, and try the module again at the next call.

        Needed after changes that no version counter shows: values that are written through ``.data``, and attributes
        of the module that are no tensors.
        """
        self._is_tried = self._is_tried and not self.borrows
        forget(self)

    def identity(self) -> str:
        """Return the sha256 of what decides the answers: weights, code, preprocessing, and answers to four images."""
        from robustbench_aigen.detectors.identity import digest_of  # It knows ensembles.

        return digest_of(self)

    def networks(self) -> list[nn.Module]:
        """Return the network, and those that it uses and torch does not see."""
        return [self.network, *hidden_networks(self.network)]

    def see(self, height: int, width: int) -> None:
        """Try a user's module, once, on images of its input size, or else of the first images that it is shown.

        Raises
        ------
        UserError
            As :meth:`check` does.
        """
        if not self._is_tried:
            self._seen_size = (height, width)
            self.check()

    def adopt(self) -> None:
        """Own a module: put it into evaluation mode and freeze it."""
        for detector in borrowers(self):
            detector.borrows, detector._is_tried = False, True  # noqa: SLF001  Its own class.
            detector.weights_sha256 = detector.weights_sha256
        self.eval()
        self.requires_grad_(False)

    def _twin(self) -> "Detector":
        """Return a detector of the same network whose own attributes may be changed."""
        other = copy(self)
        for held in ("_parameters", "_buffers", "_modules"):
            other.__dict__[held] = dict(self.__dict__[held])
        return other

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 float32 logits (real, fake) for N×3×H×W pixels in [0, 1].

        Parameters
        ----------
        pixels
            The images; smaller ones than H×W are padded at the right and at the bottom.
        sizes
            N×2 heights and widths of the images, where they are not all H×W.
        """
        images = (
            [pixels]
            if sizes is None
            else [image[None, :, :h, :w] for image, (h, w) in zip(pixels, sizes.tolist(), strict=True)]
        )
        if self.preprocessing.has_views:
            return self._logits_of_views([self.preprocessing.resized(each) for each in images])
        fitted = [self.preprocessing.fit(each) for each in images]
        # Without an input size the images of a batch are of one size, and stay of it.
        return self._logits(fitted[0] if len(fitted) == 1 else torch.cat(fitted))

    def _logits(self, fitted: Tensor) -> Tensor:
        """Return N×2 float32 logits (real, fake) for views of the input size."""
        columns = self.columns(self._normalised(fitted)).to(fitted.device)
        logits = two_logits(columns, self.preprocessing.outputs)
        return logits if self.preprocessing.fake_index == FAKE else logits.flip(1)

    def _logits_of_views(self, images: list[Tensor]) -> Tensor:
        """Return the combined logits of several views, for stacks of resized images.

        Views stream through the network in groups. Where there are several groups, gradients are computed by a second
        pass over each group, so that the memory is that of one group at any size of the images.
        """
        own = self.preprocessing
        views = [
            (place, window) for place, stack in enumerate(images) for window in own.windows(*stack.shape[-2:])
        ]
        groups = _groups_of_views(views, [len(stack) for stack in images], own.input_size or (1, 1))

        # The second pass, in the backward pass, may come after the module was given back to its user.
        stays_frozen = is_frozen(self.network)

        def answer(group: list[tuple[int, Window]], *images: Tensor) -> Tensor:
            with frozen(self.network) if stays_frozen else nullcontext():
                return self._logits(torch.cat([own.cut(images[place], window) for place, window in group]))

        found: list[list[Tensor]] = [[] for _ in images]
        for group in groups:
            if len(groups) > 1 and torch.is_grad_enabled():
                logits = checkpoint(answer, group, *images, use_reentrant=False)
            else:
                logits = answer(group, *images)
            parts = logits.split([len(images[place]) for place, _ in group])
            for (place, _), part in zip(group, parts, strict=True):
                found[place].append(part)
        return torch.cat([own.combined(torch.stack(each)) for each in found])

    def columns(self, images: Tensor) -> Tensor:
        """Return the network's own numbers for normalised images, N×1 or N×2 float32."""
        return as_columns(self._asked(images), self.name, len(images), self.preprocessing.output)

    @torch.no_grad()
    def answer(self, pixels: Tensor) -> Answer:
        """Return the raw outputs of the network for N×3×H×W pixels in [0, 1], in the network's dtype."""
        return find_answer(
            self._asked(self.normalised(pixels)), self.name, len(pixels), self.preprocessing.output
        )

    def _asked(self, images: Tensor) -> object:
        """Return the raw output of the network."""
        with called_as_a_guest(f"detector '{self.name}'"):
            return self.network(images)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return the input of the network for N×3×H×W pixels in [0, 1]."""
        return self._normalised(self.preprocessing.fit(pixels))

    def _normalised(self, pixels: Tensor) -> Tensor:
        ordered = self.preprocessing.order(pixels)
        # The user may move a module without the detector around it.
        mean, std = (cast(Tensor, each).to(ordered.device) for each in (self.mean, self.std))
        if ordered.shape[1] == 4:
            mean = torch.cat([mean, torch.zeros_like(mean[:, :1])], dim=1)
            std = torch.cat([std, torch.ones_like(std[:, :1])], dim=1)
        channels = ordered.shape[1]
        # Never the images themselves: networks write into their input. To divide by 1 changes no bit.
        centred = ordered - mean[:, :channels]
        return centred if self.preprocessing.std == (1.0, 1.0, 1.0) else centred.div_(std[:, :channels])

    def read_as(self, **changes: object) -> "Detector":
        """Return the same network with other preprocessing, for example ``fake_index=0``."""
        other = self._twin()
        other.preprocessing = replace(self.preprocessing, **changes)  # type: ignore[arg-type]
        for name in ("mean", "std"):
            values = torch.tensor(getattr(other.preprocessing, name), device=self.device)
            other.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)
        other.shown_by = ""
        return other

    @property
    def device(self) -> torch.device:
        """Device of the detector; for a user's module, the device of its weights."""
        tensor = (
            next(chain(self.network.parameters(), self.network.buffers()), None) if self.borrows else None
        )
        return cast(Tensor, self.mean).device if tensor is None else tensor.device

    def probes(self) -> Tensor:
        """Return four small images, two smooth and two of noise, 4×3×H×W, by which a detector is tried.

        None is constant: what standardises an image divides by its deviation.
        """
        height, width = self.preprocessing.input_size or self._seen_size or (64, 64)
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand((4, 3, height, width), generator=generator)
        coarse = torch.rand((2, 3, 6, 6), generator=generator)
        smooth = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        return torch.cat([0.9 * smooth + 0.1 * noise[:2], noise[2:]]).to(self.device)

    def check(self) -> None:
        """Try a few images and raise UserError unless two logits come out, for one image as for several.

        Notes whether gradients reach the images, whether an answer draws random numbers, and what it changes.
        """
        with borrowed(self):
            try_out(self)
        self._is_tried = True

    @torch.no_grad()
    def answers_probabilities(self) -> bool:
        """Whether the network returns probabilities for every input, also for images a thousand times too bright."""
        normalised = self.normalised(self.probes())
        loud = [self.columns(normalised * factor) for factor in (1.0, -10.0, 100.0, -1000.0)]
        return look_like_probabilities(torch.cat(loud))


_VIEWS_AT_ONCE = 32 * 224 * 224
"""Pixels of the views that go through a network at once."""


def _groups_of_views(
    views: list[tuple[int, Window]], counts: list[int], size: tuple[int, int]
) -> list[list[tuple[int, Window]]]:
    """Group views of stacks of images, in order; a group has at least one view of one stack."""
    groups: list[list[tuple[int, Window]]] = []
    room = 0
    for place, window in views:
        needed = counts[place] * size[0] * size[1]
        if not groups or needed > room:
            groups.append([])
            room = max(_VIEWS_AT_ONCE, needed)
        groups[-1].append((place, window))
        room -= needed
    return groups


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
        self.training = False
        if not borrowers(detector):
            detector.eval()

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 logits whose argmax is the verdict; ``sizes`` as in :meth:`Detector.forward`."""
        logits: Tensor = self.detector(pixels) if sizes is None else self.detector(pixels, sizes)
        return logits if self.threshold.log_odds == 0 else logits - cast(Tensor, self.shift)
