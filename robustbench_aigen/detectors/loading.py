"""Loading of detectors: shipped detectors by id, other detectors from files."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_aigen.detectors.card import Beside, DetectorCard, card_edits, look_beside
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import UNDECLARED_NORMALISATION
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.format import DETECTOR_FORMATS, Format
from robustbench_aigen.detectors.format_detection import format_of_id, format_of_path
from robustbench_aigen.detectors.formats.infer_io import (
    find_out_input,
    find_out_outputs,
    takes_its_probes,
)
from robustbench_aigen.detectors.formats.opened_files import recorded
from robustbench_aigen.detectors.formats.precision import other_kinds, restore, to_float32, without_values
from robustbench_aigen.detectors.formats.python_factory import factory_sources
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.weights import fill_network, made_of_choices
from robustbench_aigen.detectors.guests import in_the_same_folder
from robustbench_aigen.detectors.hidden_networks import called_in_evaluation_mode, settle
from robustbench_aigen.detectors.identity import file_hash, files_hash, network_hash
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.preprocessing_settings import WHOLE, check_geometry, check_whole
from robustbench_aigen.detectors.published import PUBLISHED
from robustbench_aigen.detectors.published_weights import load_published
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.detectors.settings import checked_module
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.detectors.trial import refuse_classes
from robustbench_aigen.detectors.trim import trimmed
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.errors import UserError, did_you_mean, printable, shortened
from robustbench_aigen.imports import source_files
from robustbench_aigen.numerics.precision import resolve_device
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.scenario.detector_spec import GEOMETRY, DetectorSpec, PreprocessingSpec, library_prefix
from robustbench_aigen.scenario.http_spec import HttpSpec
from robustbench_aigen.text import counted


def load_detector(
    spec: DetectorSpec | Detector | nn.Module | Mapping[str, Any] | str | Path,
    *,
    arch: str | None = None,
    http: HttpSpec | Mapping[str, Any] | None = None,
    folder: str | Path = ".",
    device: str | torch.device = "cpu",
    trust_code: bool = False,
) -> Detector:
    """Load a detector, in evaluation mode, frozen, float32; or take a module in memory, which stays as it is.

    Parameters
    ----------
    spec
        A detector or a module in memory: of a bare module, pixels are in [0, 1] and output 1 is fake. Or
        The id of a shipped or published detector (``minigen/lenet5``, ``cnnspot``), a file (weights, ``.pt2``, ``.onnx``, ``.keras``, ``.h5``,
        ``.skops``), ``timm:…``, ``hf:…``, ``python:…``, ``https://…`` with ``http``, or what a scenario's ``detectors:`` holds.
    arch
        Architecture of a file of weights that has no card beside it: a name of the zoo or of torchvision, or
        ``timm:NAME``.
    http
        The description of a service, where ``spec`` is its address, as in a scenario: ``{"score": {"path": "score",
        "of": "fake"}}``.
    folder
        The folder that relative paths start at.
    device
        Where to put it; ``auto`` for the best device. A module in memory is never moved: it has to be there, and with
        ``auto`` it may be anywhere.
    trust_code
        Allow files that can run code when they are loaded: pickles, programs of torch.export and TorchScript, Keras
        models with code in them, skops files with types that skops does not trust.

    Raises
    ------
    UserError
        If there is no such detector, it cannot be read, needs trust, or does not fit its architecture. Of a module in
        memory: if it is on another device, or has more than two outputs.
    """
    if http is not None:
        if not isinstance(spec, str) or arch is not None:
            raise UserError("http describes the service at an address, which is a text")
        described = {
            "id": spec,
            "http": http.model_dump(exclude_unset=True) if isinstance(http, HttpSpec) else http,
        }
        spec = validated_values(DetectorSpec, described, "a detector")
    if isinstance(spec, nn.Module):
        return _in_memory(spec, arch, device)
    target = resolve_device(str(device))
    return _loaded(_as_spec(spec, arch), Path(folder), target, trust_code=trust_code)


def _loaded(spec: DetectorSpec, folder: Path, device: torch.device, *, trust_code: bool) -> Detector:
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
    kind, request = requested(spec, folder, device, trust_code=trust_code)
    _check_choices(kind, request)
    if kind.name == "weights" and request.card.base is not None and spec.arch is None:
        return _on_base(request.card.base, request)
    if kind.name != "python":
        return _ready(kind, request)
    # The first answers are part of what is recorded: some code opens its files then.
    with recorded() as opened, in_the_same_folder():
        detector = _ready(kind, request)
    opened.add_named_in(factory_sources(request))
    detector.made_of = (*detector.made_of, *opened.identity())
    return detector


def _as_spec(given: object, arch: str | None) -> DetectorSpec:
    """Return the declaration of a detector from an id, a path or a mapping."""
    if isinstance(given, Mapping):
        content = {**given} if arch is None else {"arch": arch, **given}
        return validated_values(DetectorSpec, content, "a detector")
    if isinstance(given, str | PathLike):
        return DetectorSpec.from_text(str(given), arch)
    if isinstance(given, DetectorSpec):
        return given
    checked_module(given)
    raise AssertionError("unreachable")


def _in_memory(module: nn.Module, arch: str | None, device: str | torch.device) -> Detector:
    """Return the detector of a module in memory, and refuse it where it cannot be one."""
    if arch is not None:
        raise UserError(f"a module in memory has its architecture: leave arch='{arch}' out")
    detector = module if isinstance(module, Detector) else Detector(module)
    own = detector.device
    if str(device) != "auto":
        asked = torch.device(device)
        if own.type != asked.type or asked.index not in (None, own.index):
            raise UserError(
                f"'{detector.name}' is on {own}, and {asked} is required",
                hint=f"move the module with .to('{asked}'), or give device='{own}'",
            )
    if detector.borrows:
        refuse_classes(detector)
    return detector


def _ready(kind: Format, request: Request) -> Detector:
    """Load a detector, find its undeclared settings, and try it."""
    with preserved_global_rng():
        loaded = kind.load(request)
    detector = loaded if isinstance(loaded, Detector) else _assemble(loaded, request)
    if not kind.built_in:
        detector.made_of = (*detector.made_of, f"format={files_hash(source_files(kind.function))}")
    if request.spec.id in shipped_detectors():
        # Its card and the tests say all of it.
        detector.assumptions = ()
    if request.spec.name is not None:
        detector.name = request.spec.name
    detector.to(request.device)
    if is_remote(detector):
        return detector
    settle(detector.network, request.device)
    _in_float32(detector)
    with called_in_evaluation_mode():
        if isinstance(loaded, Loaded):
            find_out_input(detector)
            find_out_outputs(detector)
        else:
            takes_its_probes(detector)
    settle(detector.network, request.device)
    if request.card != DetectorCard():
        detector.assumptions = (*detector.assumptions, *card_edits(request.path))
    detector.check()
    return detector


def _in_float32(detector: Detector) -> None:
    """Convert a detector to float32, except if a network's own code casts its input."""
    empty = without_values(detector.network)
    if empty:
        raise UserError(
            f"'{detector.name}' has {counted(len(empty), 'tensor')} with a shape and no values (meta tensors), the first is {empty[0]}"
        )
    kinds = other_kinds(detector.network)
    told = to_float32(detector.network)
    if told is None:
        return
    if not takes_its_probes(detector):
        restore(detector.network, kinds)
        if not takes_its_probes(detector):
            to_float32(detector.network)
        else:
            told = f"{told.partition(',')[0]}, and computed in this type, because the code casts its input"
    detector.assumptions = (*detector.assumptions, told)


def _check_choices(kind: Format, request: Request) -> None:
    """Refuse a choice that a kind of file does not have."""
    if request.spec.arch_options and kind.name != "weights":
        raise UserError(
            f"'arch_options' are arguments of an architecture, and '{request.place}' brings its own",
            hint="leave arch_options out",
        )
    if request.weights_key is not None and kind.name != "weights":
        needed = DETECTOR_FORMATS["weights"].what
        raise UserError(f"'weights_key' needs {needed}; '{request.place}' is a file of another kind")


_WAITING: ContextVar[tuple[Path, ...]] = ContextVar("waiting", default=())
"""Weights whose base is being loaded."""


def _on_base(base: DetectorSpec, request: Request) -> Detector:
    """Fill weights into the network of another detector, which they were fine-tuned from."""
    own = request.path.resolve()
    if own in _WAITING.get():
        raise UserError("the 'base' of the card leads back to the same weights", file=request.path)
    waiting = _WAITING.set((*_WAITING.get(), own))
    try:
        detector = load_detector(
            base, folder=request.path.parent, device=request.device, trust_code=request.trust_code
        )
    finally:
        _WAITING.reset(waiting)
    fill_network(detector.network, request, f"the network of '{base.text}'")
    detector.name = request.spec.name or request.path.stem
    detector.weights_sha256 = file_hash(request.path)
    detector.made_of = (*detector.made_of, *made_of_choices(request))
    _in_float32(detector)
    said = request.spec.model_dump(
        include={*PreprocessingSpec.model_fields, "arch_options"}, exclude_none=True, exclude_defaults=True
    )
    for key in sorted(said.keys() - GEOMETRY):
        raise UserError(
            f"'{key}' belongs to the detector that the card names as base", hint=f"leave {key} out"
        )
    of_card = request.card.model_dump(include=set(GEOMETRY), exclude_none=True)
    detector = _seeing(detector, of_card, said)
    detector.check()
    return detector


def _published(spec: DetectorSpec, device: torch.device) -> Detector:
    """Load what others published; their code says all of its preprocessing."""
    with preserved_global_rng():
        detector = load_published(str(spec.id))
    declared = frozenset(field.name for field in fields(Preprocessing))
    detector = _seeing(detector, spec.model_dump(include=set(GEOMETRY), exclude_none=True))
    detector.name, detector.declared = spec.name or detector.name, declared
    return detector.to(device)


def _seeing(detector: Detector, *said: Mapping[str, Any]) -> Detector:
    """Return a loaded detector that sees of an image what a card and a scenario say."""
    if not any(said):
        return detector
    settings = _merged(asdict(detector.preprocessing), *said)
    check_geometry(Preprocessing(**settings))
    other = detector.read_as(**settings)
    other.check()
    return other


def requested(
    spec: DetectorSpec, folder: Path, device: torch.device, *, trust_code: bool
) -> tuple[Format, Request]:
    """Return the format and the place of a detector.

    Parameters
    ----------
    spec
        Neither an ensemble nor a published detector.
    folder, device, trust_code
        As for :func:`load_detector`.

    Raises
    ------
    UserError
        If there is no such detector.
    """
    if spec.id is not None:
        by_prefix = format_of_id(spec.id)
        if by_prefix is not None:
            kind, place = by_prefix
            return kind, Request(spec, place, folder, DetectorCard(), trust_code, device)
        shipped = shipped_detectors()
        if spec.id not in shipped and (folder / spec.id).expanduser().is_file():
            hint = f"for a file, write {{path: {spec.id}}} or ./{spec.id}"
            raise UserError(f"unknown detector '{spec.id}'", hint=hint)
        prefix = library_prefix(spec.id)
        if spec.id not in shipped and prefix:
            known = [f"{prefix}:" for each in DETECTOR_FORMATS for prefix in each.prefixes]
            raise UserError(f"unknown detector '{spec.id}'", hint=did_you_mean(prefix, known))
        if spec.id not in shipped:
            hint = f"{did_you_mean(spec.id, [*shipped, *PUBLISHED])} (your own detector: {{path: FILE, arch: NAME}})"
            raise UserError(f"unknown detector '{spec.id}'", hint=hint)
        file = shipped[spec.id]
        card = look_beside(file).card
        return DETECTOR_FORMATS["weights"], Request(
            spec, str(file), folder, card, trust_code=False, device=device
        )
    path = (folder / str(spec.path)).expanduser()
    try:
        is_there = path.exists()
    except OSError as error:
        raise UserError(f"'{shortened(str(spec.path))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        raise UserError(f"no file '{spec.path}'", hint=f"looked for {path}")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"'{spec.path}' is not a regular file")
    found = format_of_path(path, str(spec.path))
    beside = Beside(DetectorCard()) if path.is_dir() else look_beside(path)
    notes = (*found.notes, *beside.notes)
    return found.kind, Request(spec, str(spec.path), folder, beside.card, trust_code, device, notes)


def _assemble(loaded: Loaded, request: Request) -> Detector:
    """Put the preprocessing around a network: the scenario wins over the card, and the card over the file."""
    spec, card = request.spec, request.card
    keys = set(PreprocessingSpec.model_fields)
    of_card = card.model_dump(include=keys, exclude_none=True)
    of_scenario = spec.model_dump(include=keys, exclude_none=True)
    said: dict[str, Any] = {**of_card, **of_scenario}
    settings = _merged(loaded.metadata, of_card, of_scenario)
    # Of an ONNX model the output has been chosen.
    output = None if loaded.architecture == "ONNX" else request.output
    preprocessing = replace(Preprocessing(**settings), output=output)
    check_geometry(preprocessing)
    detector = Detector.assembled(
        loaded.network,
        preprocessing,
        name=spec.name or called(spec, request.place),
        architecture=loaded.architecture,
        weights_sha256=loaded.sha256 or network_hash(loaded.network),
        libraries=loaded.libraries,
    )
    detector.declared = frozenset({*(loaded.metadata.keys() - loaded.assumed), *said})
    detector.made_of = loaded.made_of
    assumptions = [*request.notes, *loaded.assumptions]
    if not {"mean", "std"} <= {*loaded.metadata, *said}:
        assumptions.append(UNDECLARED_NORMALISATION)
    assumed = sorted((loaded.assumed & settings.keys()) - said.keys() - _WITHOUT_A_KEY)
    if assumed:
        assumptions.append(f"{', '.join(assumed)} assumed, as usual for {loaded.architecture}")
    detector.assumptions = tuple(assumptions)
    return detector


_WITHOUT_A_KEY = {"eight_bit", "crop_rounds_down"}
"""Settings of a preprocessing that no scenario has."""


def _merged(metadata: Mapping[str, Any], *declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a preprocessing: those of a file, under those of its card, under those of the scenario."""
    settings, said = dict(metadata), dict[str, Any]()
    for layer in declared:
        settings |= layer
        said |= layer
        crop = layer.get("crop")
        if crop is None:
            continue
        # What goes with another crop goes with it.
        if crop != "tiles":
            settings["stride"] = layer.get("stride")
        if crop not in ("five", "tiles"):
            settings["combine"] = layer.get("combine", "mean_score")
        if crop == "none":
            check_whole(layer)
            settings |= WHOLE
    resized = said.get("input_size") not in (None, metadata.get("input_size"))
    if resized and "resize_to" not in said:
        # The file's resize was for the file's size, and is not that of another.
        settings["resize_to"] = None
    known = {field.name for field in fields(Preprocessing)}
    return {key: value for key, value in settings.items() if key in known}


def called(spec: DetectorSpec, place: str) -> str:
    """Return the default name of a detector: its id, or the last part of its path, in UTF-8."""
    if spec.id is None:
        return printable(Path(place).name.removesuffix(".index.json").rpartition(".")[0] or Path(place).name)
    prefix, colon, _ = spec.id.partition(":")
    return printable(f"{prefix}:{Path(place).name}" if colon and Path(place).is_absolute() else spec.id)
