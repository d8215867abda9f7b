"""Cache keys of finished shards: hashes of everything that determines the records."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.data.layout import plugin_files
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.identity import PYTHON, answers_of, code_of, identity_of, network_hash
from robustbench_aigen.detectors.remembering import remembered
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.engine.shards import Shard, decode_shard
from robustbench_aigen.imports import import_function, source_files
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.masks import mask_identity
from robustbench_aigen.perturbations.model_files import by_content
from robustbench_aigen.scenario.scenario import Mode, Objective
from robustbench_aigen.stages.masks import MASK
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.recipe import ObjectRecipe
from robustbench_aigen.stages.stage import Attack, Perturbation, Stage

_PACKAGE = Path(__file__).resolve().parents[1]
_FORMAT = 3
_DISTRIBUTIONS = {
    "torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox", "adv_lib": "adv-lib",
    "foolbox": "foolbox",
}  # fmt: skip
"""The distributions of the libraries that compute attacks."""
_BASE = (
    "numerics",
    "stages",
    "detectors",
    "numerics/decoding.py",
    "numerics/image_quality.py",
    "runs/records.py",
    "engine/batch.py",
    "engine/cell.py",
    "engine/perturbed_ahead.py",
    "engine/pipeline_state.py",
    "engine/gallery.py",
    "engine/sizes.py",
    "engine/ssim_sample.py",
)


@dataclass(frozen=True)
class ComputeSettings:
    """The compute settings that the records depend on."""

    seed: int
    objective: Objective
    mode: Mode
    precision: Literal["fp32", "bf16"]
    device_type: str
    batch_size: int
    threshold: Threshold
    insight: Insight | None = None


def shard_key(
    detector: Detector,
    pipeline: Pipeline,
    shard: Shard,
    settings: ComputeSettings,
    surrogates: Mapping[object, Detector],
    shown_on: Shard | None = None,
) -> str:
    """Return the content address of a shard's records in a cell.

    The address leaves out names of detectors and pipelines, so that records are found again under another name, and
    settings that a pipeline does not read. ``shown_on`` is the shard whose images the user's code is tried on, by
    default ``shard``.
    """
    kept = asdict(settings)
    if not any(stage.recipe.adapts for stage in pipeline.attacks):
        del kept["insight"]
    if not pipeline.attack_positions:
        del kept["objective"], kept["mode"], kept["precision"]
        if not any(stage.draws for stage in pipeline.stages):
            del kept["seed"]
    identity = {
        "format": _FORMAT,
        "code": _base_code(),
        "detector": _detector_identity(detector, shown_on or shard),
        "samples": shard.identity(),
        "stages": [_stage_identity(stage) for stage in pipeline.stages],
        "surrogates": [
            _detector_identity(surrogates[stage.surrogate], shard)
            for stage in pipeline.stages
            if stage.surrogate is not None
        ],
        "settings": kept,
    }
    plugins = plugin_files(shard.selection.source)
    if plugins:
        identity["layout"] = _hash_files(plugins)
    if pipeline.attack_positions and shard.kept:
        # The images that are kept for the gallery stand among the records.
        identity["kept"] = [sorted(shard.kept), "whole"] if shard.whole else sorted(shard.kept)
    if pipeline.stages:
        identity["ssim"] = shard.ssim.identity()
    if pipeline.smaller is not None:
        # The rungs below an eps decide which images are searched at it.
        identity["smaller"] = shard_key(detector, pipeline.smaller, shard, settings, surrogates)
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def seed_key(
    detector: Detector,
    pipeline: Pipeline,
    shard: Shard,
    settings: ComputeSettings,
    surrogates: Mapping[object, Detector],
) -> str:
    """Return the seed of the draws of detectors on a shard in a cell: as :func:`shard_key`, without any code.

    An edit of the package's code, or of the user's, moves no draw.
    """
    source_model = [surrogates[stage.surrogate] for stage in pipeline.stages if stage.surrogate is not None]
    identity = [
        [_seed_identity(each) for each in (detector, *source_model)],
        shard.identity(),
        [{**stage.to_dict(), "surrogate": None} for stage in pipeline.stages],
        asdict(replace(settings, insight=None)),
    ]
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _seed_identity(detector: Detector) -> list[Any]:
    # Others have no use for a seed, and hashing large weights takes a while.
    weights = remembered(detector, "state", lambda: network_hash(detector.network)) if detector.draws else ""
    return [asdict(detector.preprocessing), weights]


def _detector_identity(detector: Detector, shard: Shard) -> list[Any]:
    return [remembered(detector, "identity", lambda: identity_of(detector)), *_shown(detector, shard)]


def _shown(detector: Detector, shard: Shard) -> Iterator[str]:
    """Yield outputs of a user's detector, because its code may read weights in ways that are not recorded."""
    if isinstance(detector, Ensemble):
        for member in detector.members:
            yield from _shown(member, shard)
    elif PYTHON in detector.architecture and not detector.draws and not is_remote(detector):
        yield remembered(detector, "answers", lambda: answers_of(detector))
        yield remembered(detector, ("answers", shard), lambda: _answers_on(detector, shard))


_SHOWN = 8
"""Images of a shard on which the answers of a user's code are part of a key."""


@torch.no_grad()
def _answers_on(detector: Detector, shard: Shard) -> str:
    """Return a detector's outputs on some images of a shard, to four digits."""
    step = max(1, len(shard.indices) // _SHOWN)
    few = Shard(shard.selection, shard.indices[::step][:_SHOWN], shard.hashes[::step][:_SHOWN])
    answers = []
    for levels in decode_shard(few).levels:
        try:
            answer = detector(to_pixels(levels[None].to(detector.device)))
        except Exception as error:  # noqa: BLE001  The user's own code; the run says what is wrong with it.
            answers.append(type(error).__name__)
            continue
        answers += [f"{value:.3e}" for value in answer.flatten().tolist()]
    return " ".join(answers)


def probe_key(
    detector: Detector,
    question: str,
    code: str,
    attacks: tuple[Attack, ...],
    images: Shard,
    settings: ComputeSettings,
    shown_on: Shard,
) -> str:
    """Return the content address of the answers of a probe with some attacks on a few images of a shard.

    ``code`` is the hash of the code of a plugin's probe.
    """
    asked = [_source_hash("trust"), code, question, str(settings.seed)]
    identity = [shard_key(detector, Pipeline("", attacks), images, settings, {}, shown_on), *asked]
    return sha256(" ".join(identity).encode()).hexdigest()


def examination_key(detector: Detector, images: Shard, settings: ComputeSettings) -> str:
    """Return the content address of what a detector answers to a few images alone and together."""
    code = [_source_hash("trust"), _source_hash("engine/examination.py")]
    identity = ["examination", shard_key(detector, Pipeline("", ()), images, settings, {}), *code]
    return sha256(" ".join(identity).encode()).hexdigest()


def insight_key(detector: Detector, images: Shard, settings: ComputeSettings) -> str:
    """Return the content address of the insight into a detector that a few images give."""
    code = [_source_hash("attacks"), json.dumps(asdict(settings.threshold))]
    identity = ["insight", shard_key(detector, Pipeline("", ()), images, settings, {}), *code]
    return sha256(" ".join(identity).encode()).hexdigest()


def _stage_identity(stage: Stage) -> dict[str, Any]:
    if isinstance(stage, Perturbation):
        operations = stage.operations
        code = [_implementation_code(operation.recipe.implementation) for operation in operations]
        # A stand-in decides what an adaptive attack finds.
        code += [
            _implementation_code(recipe.differentiable)
            for recipe, _ in operations
            if recipe.differentiable is not None
        ]
        code += [_implementation_code(recipe.exif) for recipe, _ in operations if recipe.exif is not None]
        called = [
            [
                _function_name(recipe.implementation),
                recipe.random,
                _function_name(recipe.differentiable or ""),
                by_content(recipe.arguments(params), operation.models),
            ]
            for operation in operations
            for recipe, params in [operation]
        ]
        if stage.models:
            code += _model_libraries()
        return {
            "stage": _described(stage),
            "operations": called,
            "code": [_source_hash("perturbations"), *code],
        }
    assert isinstance(stage, Attack)
    backend, backends = str(stage.params["backend"]), stage.recipe.backends
    code = [_source_hash("attacks")]
    through = [_stage_identity(inner) for inner in stage.through]
    flags = [stage.recipe.access, stage.recipe.minimum_norm, stage.recipe.same_size]
    if backends.native is not None and backend == "native":
        code.append(_implementation_code(backends.native.implementation))
    elif backend in _DISTRIBUTIONS:
        code.append(version(_DISTRIBUTIONS[backend]))
    # Arguments of an attack in memory may be objects; its identity contains them.
    in_memory = isinstance(stage.recipe, ObjectRecipe)
    recipe = None if in_memory else backends.model_dump(include={backend}, mode="json")
    if recipe is not None and backends.native is not None and backend == "native":
        recipe["native"]["implementation"] = _function_name(backends.native.implementation)
    return {
        "stage": _described(stage), "backend": recipe, "flags": flags, "through": through, "code": code,
    }  # fmt: skip


def _described(stage: Stage) -> dict[str, Any]:
    """Return a stage with its values; a mask file and a model by their contents instead of their paths."""
    described = stage.to_dict()
    if isinstance(stage, Perturbation):
        described = by_content(described, stage.models)
    elif stage.through:
        described["through"] = [_described(inner) for inner in stage.through]
    return described if stage.mask is None else described | {MASK: mask_identity(stage.mask)}


@cache
def _model_libraries() -> list[str]:
    """Return the versions of the libraries that compute models; one that is not installed computes none."""
    versions = []
    for name in ("diffusers", "transformers"):
        with suppress(PackageNotFoundError):
            versions.append(f"{name}={version(name)}")
    return versions


@cache
def decoding_code() -> list[str]:
    """Return the identity of the decoder: hashes of the package's code and versions of its libraries."""
    code = [_source_hash(path) for path in ("numerics/decoding.py", "numerics/eight_bit.py")]
    return code + [f"{name}={version(name)}" for name in ("torch", "pillow")]


def feature_code(network: nn.Module) -> list[str]:
    """Return the identity of the code of a network's features: hashes of the package's code and versions of its libraries."""
    classes = {type(module) for module in network.modules()}
    return [
        _source_hash("detectors"),
        _source_hash("numerics"),
        *code_of(classes),
        f"torch={version('torch')}",
    ]


@cache
def _base_code() -> list[str]:
    packages = ("torch", "torchvision", "numpy", "scipy", "pillow")
    return [_source_hash(path) for path in _BASE] + [f"{name}={version(name)}" for name in packages]


@cache
def _source_hash(path: str) -> str:
    """Hash one module, or every module of a folder, of this package."""
    target = _PACKAGE / path
    return _hash_files([target] if target.is_file() else sorted(target.rglob("*.py")))


def plugin_code(made: type) -> str:
    """Return the hash of the files that decide what a plugin's class computes."""
    return _hash_files(source_files(made))


def _function_name(reference: str) -> str:
    """Return a function's name without its module: the hash covers the code, and the place of the file may change."""
    return reference.rpartition(":")[2]


@cache
def _implementation_code(reference: str) -> str:
    return _hash_files(source_files(import_function(reference)))


def _hash_files(files: Iterable[Path]) -> str:
    digest = sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
