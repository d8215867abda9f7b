"""The shipped benchmark is what its card says, and the pieces that built it do what they claim."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.minigen.allocation import Counts, allocate
from benchmarks.minigen.cifar10 import Cifar10
from benchmarks.minigen.frechet import frechet_distance
from benchmarks.minigen.generators import GENERATORS
from benchmarks.minigen.sampling import eight_bit
from benchmarks.minigen.separability import luminance_features, separability
from benchmarks.minigen.splits import SCHEMA, Row, check_disjoint, decode_png, encode_png, read_split
from benchmarks.minigen.statistics import log_spectrum, moments
from robustbench_aigen.detectors.zoo import build_architecture

PACKAGE = Path(__file__).parents[1] / "robustbench_aigen"
DATA = PACKAGE / "data" / "minigen"
WEIGHTS = PACKAGE / "detectors" / "weights" / "minigen"
SPLITS = ("train", "val", "test")
DETECTORS = ("lenet5", "cifake_cnn", *(f"lenet5@{name}" for name in GENERATORS))
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {split: read_split(DATA / f"{split}.parquet") for split in SPLITS}


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "card.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_split_has_the_hugging_face_image_schema(split: str) -> None:
    schema = pq.read_schema(DATA / f"{split}.parquet")
    assert schema.remove_metadata() == SCHEMA.remove_metadata()
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("split", SPLITS)
def test_split_is_balanced_between_classes_and_generators(split: str, rows: dict[str, list[Row]]) -> None:
    count = Counter(row.generator for row in rows[split])
    assert set(count) == {"real", *GENERATORS}
    fakes = {count[name] for name in GENERATORS}
    assert len(fakes) == 1
    assert count["real"] == len(GENERATORS) * fakes.pop()
    assert all(row.label == (row.generator != "real") for row in rows[split])


def test_sample_ids_are_unique_and_name_split_and_generator(rows: dict[str, list[Row]]) -> None:
    ids = [row.sample for split in SPLITS for row in rows[split]]
    assert len(set(ids)) == len(ids)
    for split in SPLITS:
        assert all(row.sample.startswith(f"{split}/{row.generator}/") for row in rows[split])


def test_no_image_occurs_twice(rows: dict[str, list[Row]]) -> None:
    digests = [
        hashlib.sha256(decode_png(row.png).tobytes()).digest() for split in SPLITS for row in rows[split]
    ]
    assert len(set(digests)) == len(digests)


def test_every_image_is_an_rgb_png_of_one_size_and_encoder(rows: dict[str, list[Row]]) -> None:
    for row in (row for split in SPLITS for row in rows[split]):
        with Image.open(io.BytesIO(row.png)) as image:
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (32, 32), {})


def test_reencoding_gives_the_stored_bytes_for_both_classes(rows: dict[str, list[Row]]) -> None:
    for row in rows["val"][:200]:
        assert decode_png(encode_png(decode_png(row.png))).tobytes() == decode_png(row.png).tobytes()


def test_files_fit_the_package() -> None:
    size = {split: (DATA / f"{split}.parquet").stat().st_size for split in SPLITS}
    assert size["train"] <= 12 * MEGABYTE
    assert size["val"] + size["test"] <= 12 * MEGABYTE
    tuned = list(WEIGHTS.glob("*+*"))
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir() if path not in tuned) <= 6 * MEGABYTE
    assert sum(path.stat().st_size for path in tuned) <= 3 * MEGABYTE


def test_card_counts_and_hashes_are_those_of_the_files(
    card: dict[str, Any], rows: dict[str, list[Row]]
) -> None:
    for split in SPLITS:
        data = (DATA / f"{split}.parquet").read_bytes()
        said = card["splits"][split]
        assert said["bytes"] == len(data)
        assert said["sha256"] == hashlib.sha256(data).hexdigest()
        assert said["by_generator"] == dict(Counter(row.generator for row in rows[split]))


def test_simple_statistics_do_not_give_the_fakes_away(card: dict[str, Any]) -> None:
    for generator in card["generators"]:
        if generator["id"] != "vae":
            for found in generator["logistic_regression"].values():
                assert found["accuracy"] <= card["logistic_regression"]["limit"], generator["id"]


def test_logistic_regression_of_the_card_can_be_repeated(
    card: dict[str, Any], rows: dict[str, list[Row]]
) -> None:
    stacks = {
        name: np.stack(
            [decode_png(row.png) for split in SPLITS for row in rows[split] if row.generator == name]
        )
        for name in ("real", "upgan")
    }
    found = separability(luminance_features(stacks["real"]), luminance_features(stacks["upgan"]), seed=1)
    said = next(g for g in card["generators"] if g["id"] == "upgan")["logistic_regression_shipped"]
    assert abs(found.accuracy - said["luminance_spectrum"]["accuracy"]) < 0.03
    assert found.accuracy <= 0.85


@pytest.mark.parametrize("stem", DETECTORS)
def test_detector_weights_match_their_card_and_architecture(stem: str) -> None:
    path = WEIGHTS / f"{stem}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["id"] == f"minigen/{stem}"
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    weights = load_file(path)
    assert {value.dtype for value in weights.values()} <= {torch.float16, torch.int64}
    network = build_architecture(card["arch"], **card["arch_options"])
    network.load_state_dict(
        {name: value.to(network.state_dict()[name].dtype) for name, value in weights.items()}
    )


def test_detector_reaches_the_accuracy_of_its_card(rows: dict[str, list[Row]]) -> None:
    path = WEIGHTS / "lenet5.safetensors"
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    network = build_architecture(card["arch"])
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    )
    pixels = (
        torch.from_numpy(np.stack([decode_png(row.png) for row in rows["test"]])).permute(0, 3, 1, 2) / 255.0
    )
    mean, std = (torch.tensor(card[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        logits = network.eval()((pixels - mean) / std)
    verdict = logits.softmax(dim=1)[:, card["fake_index"]] >= card["threshold"]
    right = (verdict.numpy() == np.array([row.label for row in rows["test"]])).mean()
    assert right == pytest.approx(card["clean_test"]["accuracy"], abs=0.001)


def test_frechet_distance_of_shifted_and_scaled_gaussians_is_the_closed_form() -> None:
    points = np.random.default_rng(0).standard_normal((5000, 8))
    shift = np.arange(8) / 4
    moved = points * 3.0 + shift
    spread = np.trace(np.cov(points, rowvar=False)) * (3.0 - 1.0) ** 2
    offset = ((points.mean(axis=0) - moved.mean(axis=0)) ** 2).sum()
    assert frechet_distance(points, moved) == pytest.approx(spread + offset, rel=1e-6)
    assert frechet_distance(points, points) == pytest.approx(0.0, abs=1e-6)


def test_separability_is_chance_on_noise_and_certain_on_a_shift() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 400, 5))
    assert abs(separability(a, b).accuracy - 0.5) < 0.08
    assert separability(a, b + 8.0).accuracy > 0.99


def test_moments_agree_with_scipy() -> None:
    from scipy.stats import kurtosis, skew

    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    flat = images.flatten(2).numpy()
    wanted = [flat.mean(2), flat.std(2), skew(flat, axis=2), kurtosis(flat, axis=2, fisher=False)]
    assert np.allclose(moments(images).numpy(), np.concatenate(wanted, axis=1), atol=2e-3)


def test_spectrum_of_a_wave_peaks_at_its_frequency_and_white_noise_is_flat() -> None:
    wave = torch.cos(2 * torch.pi * 5 * torch.arange(32) / 32).repeat(1, 32, 1)
    assert int(log_spectrum(wave).argmax()) + 1 == 5
    noise = torch.randn(2000, 32, 32, generator=torch.Generator().manual_seed(0))
    assert log_spectrum(noise).exp().mean(dim=0).numpy() == pytest.approx(1.0, abs=0.05)


def test_eight_bit_rounds_to_nearest_and_clips() -> None:
    levels = torch.tensor([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 1.3]).reshape(1, 1, 1, 7)
    assert eight_bit(levels.expand(1, 3, 1, 7))[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_allocation_deals_no_photograph_twice() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 10
    images = rng.integers(0, 256, (4000, 32, 32, 3), dtype=np.uint8)
    images[5] = images[2005]
    shares = allocate(
        Cifar10(images[:2000], labels, images[2000:], labels), Counts(20, 20, 40, 100), generators=5
    )
    for part, splits in (("train", ("train", "val")), ("test", ("test",))):
        dealt = np.concatenate(
            [rows for split in splits for rows in (shares[split].reals, shares[split].sources)]
        )
        assert len(set(dealt)) == len(dealt)
        assert all(shares[split].part == part for split in splits)
    assert 5 not in np.concatenate([shares["train"].reals, shares["train"].sources, shares["val"].reals])
    assert np.bincount(labels[shares["test"].reals]).tolist() == [20] * 10


def test_equal_pixels_across_splits_are_refused() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="same pixels"):
        check_disjoint({"val": {"real": image}, "test": {"vae": image}}, np.empty((0, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("name", ["vae", "dcgan", "upgan"])
def test_generator_makes_images_from_latent_vectors(name: str) -> None:
    network = GENERATORS[name].network().eval()
    images = network(torch.randn(2, 128), torch.tensor([0, 9]))
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1.0


def test_flow_network_gives_a_velocity_and_the_autoencoder_an_image() -> None:
    noise = torch.randn(2, 3, 32, 32)
    assert GENERATORS["flow"].network()(noise, torch.rand(2), torch.tensor([3, 10])).shape == noise.shape
    rebuilt = GENERATORS["vqgan"].network().eval()(noise.clamp(-1, 1))
    assert rebuilt.shape == noise.shape
    assert rebuilt.abs().max() <= 1.0
