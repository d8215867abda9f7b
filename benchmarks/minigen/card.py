"""The card of minigen, ``card.json``: every figure measured, none typed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.minigen import classifier
from benchmarks.minigen.allocation import SEED, SPLITS, Counts
from benchmarks.minigen.cifar10 import NPM_PACKAGE, Cifar10
from benchmarks.minigen.frechet import frechet_distance
from benchmarks.minigen.generators import GENERATORS
from benchmarks.minigen.sampling import REAL, load_samples
from benchmarks.minigen.separability import FOLDS, channel_features, luminance_features, separability
from benchmarks.minigen.splits import decode_png, read_split
from benchmarks.minigen.train_detectors import MEAN, STD
from benchmarks.minigen.training import read_progress

NOT = (
    "The generators are small and were trained for minutes on one CPU core: the generators are not the state of the art.",
    "Results of minigen's detectors do not apply to images of other generators.",
    "Images have 32×32 pixels; attacks and perturbations have other effects on larger images.",
    "The reconstructions start from photographs, so their content is real; the content of the other generators is invented.",
    "The Fréchet distances use the features of the classifier named here; the distances are not FIDs.",
    "GANs and autoencoder were trained to match moments and spectra of the reals; logistic regressions on these find them less often.",
    "CIFAR-10 has near-duplicates in and between its train and test parts; only exact duplicates are left out.",
)


def _progress(work: Path, name: str) -> dict[str, Any]:
    progress = read_progress(work, name)
    return {
        "training_minutes": round(progress.seconds / 60, 1),
        "training_threads": progress.threads,
        "training_images_seen": progress.images,
        "training_steps": progress.steps,
    }


def _separability(reals: dict[str, np.ndarray], fakes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Accuracy with luminance and with per-channel spectra, larger first: the card names both."""
    found = {kind: separability(reals[kind], fakes[kind]) for kind in reals}
    return {
        kind: {"accuracy": round(s.accuracy, 4), "c": s.c, "per_class": s.per_class}
        for kind, s in found.items()
    }


def _features(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"luminance_spectrum": luminance_features(images), "channel_spectra": channel_features(images)}


def _split(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Counts of a written split, and its images by generator."""
    rows = read_split(path)
    stacks: dict[str, list[np.ndarray]] = {}
    for row in rows:
        stacks.setdefault(row.generator, []).append(decode_png(row.png))
    images = {name: np.stack(stack) for name, stack in sorted(stacks.items())}
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "images": len(rows),
        "real": len(images[REAL]),
        "ai_generated": len(rows) - len(images[REAL]),
        "by_generator": {name: len(stack) for name, stack in images.items()},
    }, images


def build_card(work: Path, data: Cifar10, folder: Path, counts: Counts) -> dict[str, Any]:
    """Measure everything and return the card."""
    judge = classifier.load(work, classifier.JUDGE)
    guide = classifier.load(work, classifier.GUIDE)
    assert isinstance(judge, classifier.Judge)
    splits, shipped = {}, {}
    for split in SPLITS:
        splits[split], shipped[split] = _split(folder / f"{split}.parquet")
    reference = classifier.features(judge, data.test_images)
    reals = load_samples(work, REAL)["train"][: counts.pool]
    floor = frechet_distance(classifier.features(judge, reals), reference)
    pool_reals = _features(reals)
    shipped_reals = _features(np.concatenate([shipped[split][REAL] for split in SPLITS]))
    generators = []
    for name, generator in GENERATORS.items():
        fakes = load_samples(work, name)["train"][: counts.pool]
        generators.append(
            {
                "id": name,
                "family": generator.family,
                "architecture": generator.architecture,
                "parameters": generator.parameters,
                "training": generator.training,
                **_progress(work, name),
                "sampler": generator.sampler,
                "frechet": round(frechet_distance(classifier.features(judge, fakes), reference), 2),
                "logistic_regression": _separability(pool_reals, _features(fakes)),
                "logistic_regression_shipped": _separability(
                    shipped_reals, _features(np.concatenate([shipped[split][name] for split in SPLITS]))
                ),
            }
        )
    return {
        "name": "minigen",
        "version": 1,
        "image": {
            "size": [32, 32],
            "mode": "RGB",
            "format": "PNG, lossless, one encoder and setting for every row",
        },
        "eight_bit_path": "float in [0, 1], times 255, rounded, uint8; for reals and every generator",
        "normalisation": {"mean": list(MEAN), "std": list(STD)},
        "allocation_seed": SEED,
        "row_order": "sha256 of the sample id",
        "splits": splits,
        "detector_pool": {
            "real": counts.pool * len(GENERATORS),
            "per_generator": counts.pool,
            "note": "not shipped; contains the train split",
        },
        "classifier": {
            "test_accuracy": round(classifier.accuracy(judge, data.test_images, data.test_labels), 4),
            "features": classifier.FEATURES,
            **_progress(work, classifier.JUDGE),
            "guide_test_accuracy": round(classifier.accuracy(guide, data.test_images, data.test_labels), 4),
            "guide_note": "a second classifier, whose maps train the generators but flow, and judge nothing",
        },
        "frechet": {
            "samples": counts.pool,
            "reference": f"{len(reference):,} images of CIFAR-10's test part",
            "real_floor": round(floor, 2),
            "floor_note": "as many photographs of CIFAR-10's train part against the same reference",
        },
        "logistic_regression": {
            "features": "mean, standard deviation, skewness, kurtosis per channel; log radial power spectrum",
            "folds": FOLDS,
            "per_class": counts.pool,
            "chance": 0.5,
            "limit": 0.85,
        },
        "generators": generators,
        "sources": [
            {
                "name": "CIFAR-10",
                "reference": "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
                "obtained": f"npm package {NPM_PACKAGE} (ISC), or torchvision",
                "licence": "none stated by its authors; published for research, citation asked for",
            },
            {"name": "generated images", "licence": "the licence of this repository"},
        ],
        "not": list(NOT),
    }


def write_json(card: dict[str, Any], path: Path) -> None:
    """Write the card, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
