"""Loads detectors: shipped ones by id, the user's own by weights file and architecture."""

from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from robustbench_aigen.detectors.card import DetectorCard, read_card
from robustbench_aigen.detectors.contract import Detector, Preprocessing
from robustbench_aigen.detectors.trim import trimmed
from robustbench_aigen.detectors.zoo import architecture_names, build_architecture, default_input_size
from robustbench_aigen.errors import UserError, did_you_mean, first_line, shortened
from robustbench_aigen.scenario.schema import DetectorSpec, PreprocessingSpec

_WEIGHTS = Path(__file__).parent / "weights"


def shipped_detectors() -> dict[str, Path]:
    """Map the id of every shipped detector (``minigen/lenet5``) to its weights file, sorted."""
    return {
        file.relative_to(_WEIGHTS).with_suffix("").as_posix(): file
        for file in sorted(_WEIGHTS.rglob("*.safetensors"))
    }


def load_detector(
    spec: DetectorSpec | str | Path,
    *,
    arch: str | None = None,
    folder: str | Path = ".",
    device: str | torch.device = "cpu",
) -> Detector:
    """Load a detector, in evaluation mode, frozen, float32.

    Parameters
    ----------
    spec
        The id of a shipped detector (``minigen/lenet5``), the path of a ``.safetensors``, ``.pt`` or ``.pth``
        file, or what a scenario's ``detectors:`` holds.
    arch
        Architecture of a weights file that has no card beside it.
    folder
        Where relative paths start.
    device
        Where to put it.

    Raises
    ------
    UserError
        If there is no such detector, or its weights do not fit its architecture.
    """
    if not isinstance(spec, DetectorSpec):
        text = str(spec)
        is_file = text.endswith((".safetensors", ".pt", ".pth"))
        spec = DetectorSpec(path=text, arch=arch) if is_file else DetectorSpec(id=text)
    detector = _from_id(spec.id, spec.name) if spec.id is not None else _from_file(spec, Path(folder))
    if spec.wrap is not None:
        detector = trimmed(detector, spec.wrap)
        detector.name = spec.name or detector.name
    detector.to(device)
    detector.check()
    return detector


def _from_id(name: str, alias: str | None) -> Detector:
    shipped = shipped_detectors()
    if name not in shipped:
        raise UserError(
            f"unknown detector '{name}'",
            hint=f"{did_you_mean(name, shipped)} (your own is {{path: FILE, arch: NAME}})",
        )
    file = shipped[name]
    return _assemble(file, alias or name, read_card(file), None)


def _from_file(spec: DetectorSpec, folder: Path) -> Detector:
    file = (folder / str(spec.path)).expanduser()
    try:
        is_there = file.is_file()
    except OSError as error:
        raise UserError(f"'{shortened(str(spec.path))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        raise UserError(f"no weights file '{spec.path}'", hint=f"looked for {file}")
    card = read_card(file)
    if card.base is not None and spec.arch is None:
        return _on_base(card.base, file, spec.name or file.stem)
    if (spec.arch or card.arch) is None:
        raise UserError(
            f"'{spec.path}' has no card that names its architecture",
            hint=f"add arch: one of {', '.join(architecture_names())}",
        )
    return _assemble(file, spec.name or file.stem, card, spec)


def _on_base(base: DetectorSpec, file: Path, name: str) -> Detector:
    """Fill weights into the network of another detector, which they were fine-tuned from."""
    detector = load_detector(base, folder=file.parent)
    content = file.read_bytes()
    _fill(detector.network, _read_weights(file, content), file, detector.architecture)
    detector.name, detector.weights_sha256 = name, sha256(content).hexdigest()
    return detector


def _assemble(file: Path, name: str, card: DetectorCard, spec: DetectorSpec | None) -> Detector:
    """Build a detector from its weights and its card; what the scenario's ``spec`` gives wins over the card."""
    said = card.model_dump(include=set(PreprocessingSpec.model_fields), exclude_none=True)
    if spec is not None:
        said |= spec.model_dump(include=set(PreprocessingSpec.model_fields), exclude_none=True)
    arch = (spec.arch if spec is not None else None) or card.arch or ""
    said.setdefault("input_size", default_input_size(arch))
    network = build_architecture(arch, **card.arch_options)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error
    digest = sha256(content).hexdigest()
    if card.sha256 is not None and card.sha256 != digest:
        hint = f"they have sha256 {digest}; correct the card or take its weights"
        raise UserError("the card beside these weights is of other weights", file=file, hint=hint)
    _fill(network, _read_weights(file, content), file, arch)
    detector = Detector(network, Preprocessing(**said), name=name, architecture=arch, weights_sha256=digest)
    if "mean" not in said or "std" not in said:
        detector.assumptions = ("no card, mean or std: pixels go into the network as they are, in [0, 1]",)
    return detector


def _read_weights(file: Path, content: bytes) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_safetensors(content)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"not a safetensors file: {error}", file=file) from error
    except (
        Exception
    ) as error:  # torch.load raises pickle, zip, OS and its own errors; each means the same here.
        raise UserError(
            f"cannot be read as a state dict: {first_line(error)}",
            file=file,
            hint="save it with torch.save(model.state_dict(), FILE) or as safetensors",
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(
            "holds no state dict", file=file, hint="save it with torch.save(model.state_dict(), FILE)"
        )
    return loaded


def _fill(network: nn.Module, weights: dict[str, Tensor], file: Path, arch: str) -> None:
    expected = network.state_dict()
    problems = [f"missing {key}" for key in expected if key not in weights]
    problems += [f"unexpected {key}" for key in weights if key not in expected]
    problems += [
        f"{key} is {_shape(weights[key])}, not {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    problems += [
        f"{key} is {str(weights[key].dtype).removeprefix('torch.')}"
        for key, tensor in expected.items()
        if key in weights and weights[key].is_floating_point() != tensor.is_floating_point()
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"the weights do not fit architecture '{arch}': {'; '.join(problems[:3])}{more}", file=file
        )
    # Stored in half precision perhaps; the network computes in float32.
    network.load_state_dict({key: weights[key].to(tensor.dtype) for key, tensor in expected.items()})


def _shape(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "a single number"
