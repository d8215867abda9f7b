"""Loads detectors: shipped ones by id, anybody's own from their files."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from robustbench_aigen.detectors.card import DetectorCard, card_edits, read_card
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.formats import PYTHON, WEIGHTS, Format, format_of_id, format_of_path
from robustbench_aigen.detectors.formats.finding_out import find_out_input_size, find_out_outputs
from robustbench_aigen.detectors.formats.hashing import file_hash
from robustbench_aigen.detectors.formats.python_factory import check_python
from robustbench_aigen.detectors.formats.request import Loaded, NeedsTrustError, Request
from robustbench_aigen.detectors.formats.weights import fill_network
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.published import PUBLISHED, load_published
from robustbench_aigen.detectors.trim import trimmed
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.scenario.detector_spec import DetectorSpec, PreprocessingSpec

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
"""Where the weights and cards of shipped detectors are, below it by id."""


def shipped_detectors() -> dict[str, Path]:
    """Map the id of every shipped detector (``minigen/lenet5``) to its weights file, sorted."""
    return {
        file.relative_to(SHIPPED_WEIGHTS).with_suffix("").as_posix(): file
        for file in sorted(SHIPPED_WEIGHTS.rglob("*.safetensors"))
    }


def load_detector(
    spec: DetectorSpec | str | Path,
    *,
    arch: str | None = None,
    folder: str | Path = ".",
    device: str | torch.device = "cpu",
    trust_code: bool = False,
) -> Detector:
    """Load a detector, in evaluation mode, frozen, float32.

    Parameters
    ----------
    spec
        The id of a shipped or published detector (``minigen/lenet5``, ``cnnspot``), a file (weights, ``.pt2``, ``.onnx``, ``.keras``, ``.h5``,
        ``.skops``), ``timm:…``, ``hf:…``, ``python:…``, or what a scenario's ``detectors:`` holds.
    arch
        Architecture of a file of weights that has no card beside it: a name of the zoo or of torchvision, or
        ``timm:NAME``.
    folder
        Where relative paths start.
    device
        Where to put it.
    trust_code
        Allow files that can run code when they are loaded: pickles, programs of torch.export and TorchScript, Keras
        models with code in them, skops files with types that skops does not trust.

    Raises
    ------
    UserError
        If there is no such detector, it cannot be read, needs trust, or does not fit its architecture.
    """
    if not isinstance(spec, DetectorSpec):
        spec = DetectorSpec.from_text(str(spec), arch)
    folder, device = Path(folder), torch.device(device)
    if spec.ensemble is not None:
        members = [
            load_detector(member, folder=folder, device=device, trust_code=trust_code)
            for member in spec.ensemble
        ]
        return Ensemble(members, spec.by or "mean_score", name=spec.name or spec.text)
    if spec.wrap is not None:
        inside = load_detector(
            spec.model_copy(update={"wrap": None}), folder=folder, device=device, trust_code=trust_code
        )
        return trimmed(inside, spec.wrap, name=spec.name)
    if spec.id in PUBLISHED:
        return _published(spec, device)
    kind, request = _request(spec, folder, device, trust_code=trust_code)
    if kind is WEIGHTS and request.card.base is not None and spec.arch is None:
        return _on_base(request.card.base, request)
    with preserved_global_rng():
        loaded = kind.load(request)
    detector = loaded if isinstance(loaded, Detector) else _assemble(loaded, request)
    if spec.name is not None:
        detector.name = spec.name
    detector.to(device)
    if isinstance(loaded, Loaded):
        find_out_input_size(detector)
        find_out_outputs(detector)
    if request.card != DetectorCard():
        detector.assumptions = (*detector.assumptions, *card_edits(request.path))
    detector.check()
    return detector


def _on_base(base: DetectorSpec, request: Request) -> Detector:
    """Fill weights into the network of another detector, which they were fine-tuned from."""
    detector = load_detector(
        base, folder=request.path.parent, device=request.device, trust_code=request.trust_code
    )
    fill_network(detector.network, request, f"the network of '{base.text}'")
    detector.name = request.spec.name or request.path.stem
    detector.weights_sha256 = file_hash(request.path)
    detector.check()
    return detector


def check_detector(spec: DetectorSpec, *, folder: Path) -> Detector | str:
    """Check a detector as far as that is possible without running code that comes with it.

    Weights are loaded and tried. Of ``python:`` the form alone is checked, of files that need ``--trust-code`` that
    they are there.

    Returns
    -------
    Detector or str
        The detector, or why it was not loaded.

    Raises
    ------
    UserError
        As :func:`load_detector` does.
    """
    if spec.ensemble is not None:
        members = [check_detector(member, folder=folder) for member in spec.ensemble]
        notes = [member for member in members if isinstance(member, str)]
        return "; ".join(notes) if notes else load_detector(spec, folder=folder)
    if spec.id in PUBLISHED:
        return f"'{spec.id}' is not downloaded here"
    kind, request = _request(spec, folder, torch.device("cpu"), trust_code=False)
    if kind is PYTHON:
        check_python(request.place, folder)
        return f"'{spec.text}' is not imported here"
    try:
        return load_detector(spec, folder=folder)
    except NeedsTrustError as refusal:
        return f"not loaded here: {refusal.message}"


def _published(spec: DetectorSpec, device: torch.device) -> Detector:
    """Load what others published; their code says all of its preprocessing."""
    with preserved_global_rng():
        detector = load_published(str(spec.id))
    detector.name = spec.name or detector.name
    detector.declared = frozenset(field.name for field in fields(Preprocessing))
    return detector.to(device)


def _request(
    spec: DetectorSpec, folder: Path, device: torch.device, *, trust_code: bool
) -> tuple[Format, Request]:
    """Find out which kind of detector is meant, and where it is."""
    if spec.id is not None:
        by_prefix = format_of_id(spec.id)
        if by_prefix is not None:
            kind, place = by_prefix
            return kind, Request(spec, place, folder, DetectorCard(), trust_code, device)
        shipped = shipped_detectors()
        if spec.id not in shipped:
            hint = f"{did_you_mean(spec.id, [*shipped, *PUBLISHED])} (your own is {{path: FILE, arch: NAME}})"
            raise UserError(f"unknown detector '{spec.id}'", hint=hint)
        file = shipped[spec.id]
        return WEIGHTS, Request(spec, str(file), folder, read_card(file), trust_code=False, device=device)
    path = (folder / str(spec.path)).expanduser()
    try:
        is_there = path.exists()
    except OSError as error:
        raise UserError(f"'{shortened(str(spec.path))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        raise UserError(f"no file '{spec.path}'", hint=f"looked for {path}")
    card = DetectorCard() if path.is_dir() else read_card(path)
    return format_of_path(path, str(spec.path)), Request(
        spec, str(spec.path), folder, card, trust_code, device
    )


def _assemble(loaded: Loaded, request: Request) -> Detector:
    """Put the preprocessing around a network: the scenario wins over the card, and the card over the file."""
    spec, card = request.spec, request.card
    keys = set(PreprocessingSpec.model_fields)
    said: dict[str, Any] = card.model_dump(include=keys, exclude_none=True)
    said |= spec.model_dump(include=keys, exclude_none=True)
    detector = Detector(
        loaded.network,
        Preprocessing(**_merged(loaded.metadata, said)),
        name=spec.name or _called(spec, request.place),
        architecture=loaded.architecture,
        weights_sha256=loaded.sha256,
        libraries=loaded.libraries,
    )
    detector.declared = frozenset({*loaded.metadata, *said})
    if not {"mean", "std"} <= detector.declared:
        text = "no card, mean or std: pixels go into the network as they are, in [0, 1]"
        detector.assumptions = (*loaded.assumptions, text)
    else:
        detector.assumptions = loaded.assumptions
    return detector


def _merged(metadata: Mapping[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a preprocessing, those that somebody said over those of the file."""
    settings = {**metadata, **said}
    if "input_size" in said and "resize_to" not in said and said["input_size"] != metadata.get("input_size"):
        # The file's resize was for the file's size.
        settings.pop("resize_to", None)
    known = {field.name for field in fields(Preprocessing)}
    return {key: value for key, value in settings.items() if key in known}


def _called(spec: DetectorSpec, place: str) -> str:
    """Return what a detector is called that nobody named: its id, or the last part of its path."""
    if spec.id is None:
        return Path(place).stem
    prefix, colon, _ = spec.id.partition(":")
    return f"{prefix}:{Path(place).name}" if colon and Path(place).is_absolute() else spec.id
