"""Perturbations against other codecs and closed forms."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.jpeg import jpeg
from robustbench_aigen.perturbations.noise import gaussian_noise
from robustbench_aigen.perturbations.resize import resize


def smooth(count: int = 4, side: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        for _ in range(count)
    ]
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).contiguous()


def test_jpeg_uses_libjpegs_quantisation_tables():
    """The luminance table of quality 75 is half of the standard's example table (Annex K), rounded as libjpeg does."""
    annex_k_first_row = np.array([16, 11, 10, 16, 24, 40, 51, 61])
    image = smooth(1)
    ours = jpeg(image, quality=75)[0].permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=75)
    reference = Image.open(buffer)
    assert list(reference.quantization[0][:8]) == ((annex_k_first_row * 50 + 50) // 100).tolist()
    assert np.array_equal(ours, np.asarray(reference))


def test_jpeg_agrees_with_torchvisions_binding():
    """Another binding of libjpeg, where this version of torchvision still has one."""
    io_ = pytest.importorskip("torchvision.io")
    if not hasattr(io_, "encode_jpeg"):
        pytest.skip("this torchvision has no JPEG codec")
    images = smooth(3)
    theirs = torch.stack([io_.decode_jpeg(io_.encode_jpeg(image, 50)) for image in images])
    assert (jpeg(images, quality=50).int() - theirs.int()).abs().max() <= 2


def test_lower_quality_strays_further():
    images = smooth()
    errors = [(jpeg(images, quality=q).float() - images.float()).square().mean() for q in (95, 75, 50, 10)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("filter_", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize_there_and_back_keeps_size_and_without_back_changes_it(filter_):
    images = smooth(2)
    assert resize(images, scale=0.5, filter=filter_, back=True).shape == images.shape
    assert resize(images, scale=0.5, filter=filter_, back=False).shape == (2, 3, 16, 16)
    assert torch.equal(resize(images, scale=1, filter=filter_, back=True), images)


def test_halving_with_a_box_of_equal_values_is_exact_and_antialiased():
    blocks = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    assert resize(blocks, scale=0.5, filter="bilinear", back=True).unique().tolist() == [90]
    stripes = torch.zeros((1, 3, 32, 32), dtype=torch.uint8)
    stripes[..., ::2] = 200
    inner = resize(stripes, scale=0.5, filter="bilinear", back=False)[..., 2:-2]
    assert (inner.float() - 100).abs().max() <= 26  # aliased, it would be 0 or 200


def test_noise_has_the_standard_deviation_asked_for_and_belongs_to_the_image():
    grey = torch.full((50, 3, 32, 32), 128, dtype=torch.uint8)
    names = tuple(f"n{i}" for i in range(50))
    noisy = gaussian_noise(grey, SampleStreams(0, names, 0), sigma=8 / 255)
    assert noisy.float().std() == pytest.approx(8, rel=0.01)
    assert noisy.float().mean() == pytest.approx(128, abs=0.1)
    alone = gaussian_noise(grey[:1], SampleStreams(0, names[7:8], 0), sigma=8 / 255)
    assert torch.equal(alone[0], noisy[7])
