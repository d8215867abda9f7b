"""Input and output of the loaders: :class:`Request` and :class:`Loaded`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_aigen.detectors.card import DetectorCard
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec


class NeedsTrustError(UserError):
    """A file can execute code on load, and the user has not passed ``--trust-code``."""


@dataclass(frozen=True)
class Request:
    """A detector to be loaded.

    Parameters
    ----------
    spec
        The keys of the scenario.
    place
        The file or folder it is in, or what follows the prefix of ``timm:``, ``hf:`` and ``python:``.
    folder
        The folder that relative paths start at.
    card
        The card beside its file, empty if missing.
    trust_code
        Whether the user allows files that can run code when they are loaded.
    device
        The device for the detector.
    notes
        Notices about the files beside the detector.
    """

    spec: DetectorSpec
    place: str
    folder: Path
    card: DetectorCard
    trust_code: bool
    device: torch.device
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The place as a path."""
        return (self.folder / self.place).expanduser()

    @property
    def arch(self) -> str | None:
        """The architecture that the scenario or else the card names."""
        return self.spec.arch or self.card.arch

    @property
    def arch_options(self) -> dict[str, Any]:
        """The arguments of the architecture that the card and the scenario say; those of the scenario win."""
        is_other = None not in (self.spec.arch, self.card.arch) and self.spec.arch != self.card.arch
        of_card = {} if is_other else self.card.arch_options or {}
        return {**of_card, **(self.spec.arch_options or {})}

    @property
    def weights_key(self) -> str | None:
        """Which of several sets of weights the scenario or else the card names."""
        return self.spec.weights_key or self.card.weights_key

    @property
    def output(self) -> str | None:
        """Which of several outputs the scenario or else the card names."""
        return self.spec.output or self.card.output

    @property
    def input_size(self) -> tuple[int, int] | None:
        """The input size that the scenario or else the card says."""
        return self.spec.input_size or self.card.input_size

    def need_trust(self, what: str, instead: str) -> None:
        """Raise NeedsTrustError unless the user allows this file to run code.

        Parameters
        ----------
        what
            Description of the file: the sentence is "FILE is WHAT, which can run code when it is loaded".
        instead
            Advice for users who do not trust the file.
        """
        if not self.trust_code:
            raise NeedsTrustError(
                f"'{self.place}' is {what}, which can execute code on load: add --trust-code if you trust the author, or {instead}"
            )


@dataclass(frozen=True)
class Loaded:
    """A network and the settings in its own files.

    Parameters
    ----------
    network
        Normalised input to one or two numbers for each image.
    architecture
        Its name, for records.
    sha256
        Hash of all loaded files; if empty, the hash of the network's weights is used.
    metadata
        Settings of :class:`~robustbench_aigen.detectors.preprocessing.Preprocessing` from its own files.
    assumptions
        Assumptions about the detector, for notices.
    libraries
        Packages that compute the network, besides torch.
    assumed
        Settings of ``metadata`` that are usual for the architecture and not declared for these weights.
    made_of
        Everything else that decides the outputs, besides weights, architecture and preprocessing.
    """

    network: nn.Module
    architecture: str
    sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    assumed: frozenset[str] = frozenset()
    made_of: tuple[str, ...] = ()
