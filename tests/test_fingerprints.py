"""Fingerprints of generators: known artefacts at their frequencies, closed forms, and what processing leaves."""

import numpy as np
import pytest
import torch

from robustbench_aigen import ImageData, UserError, explain, perturbations
from robustbench_aigen.explain.fingerprinting import peaks, power_spectrum, remaining, residual_of

SIDE = 64
DOWN, ACROSS = 8 / SIDE, 20 / SIDE


def data(count: int = 16) -> ImageData:
    """Noise; the fakes of one generator have a faint wave of known frequency, those of another have none."""
    generator = torch.Generator().manual_seed(5)
    images = 128 + 12 * torch.randn((3 * count, 3, SIDE + 8, SIDE), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIDE + 8), torch.arange(SIDE), indexing="ij")
    images[count : 2 * count] += 10 * torch.cos(2 * torch.pi * (DOWN * rows + ACROSS * columns))
    names = ["real"] * count + ["waves"] * count + ["plain"] * count
    levels = images.round().clamp(0, 255).to(torch.uint8)
    return ImageData.from_tensors(levels, [0] * count + [1] * 2 * count, generators=names)


@pytest.fixture(scope="module")
def found() -> explain.fingerprints:
    return explain.fingerprints(data())


def test_a_periodic_artefact_is_found_at_its_frequency_and_not_elsewhere(found):
    assert found.side == SIDE
    assert found.generators == ["plain", "waves"]
    first = found.peaks("waves")[0]
    assert (first.down, first.across) == (DOWN, ACROSS)
    assert first.decibels > 15
    assert found.peaks("plain") == []
    assert found.peaks("real") == []
    # The spectrum of the residuals has it as well, over that of the real images.
    excess = found.excess("waves")
    place = (SIDE // 2 + round(DOWN * SIDE), SIDE // 2 + round(ACROSS * SIDE))
    assert np.unravel_index(excess.argmax(), excess.shape) in {place, (SIDE - place[0], SIDE - place[1])}


def test_the_artefact_is_gone_after_a_low_pass_that_removes_its_frequency(found):
    blur = perturbations.gaussian_blur(sigma=3)
    after = explain.fingerprints(data(), process=lambda levels, _: blur(levels))
    assert all(peak[:2] != (DOWN, ACROSS) for peak in after.peaks("waves"))
    left, unchanged = remaining(found, after)["waves"], remaining(found, found)["waves"]
    assert abs(left.residual) < 0.2
    assert unchanged == pytest.approx((1, 1, 1))


def test_a_fingerprint_repeats_in_both_halves_and_resembles_no_other(found):
    similarity = found.residual_similarity()
    names = list(found.each)
    waves, plain, real = (names.index(name) for name in ("waves", "plain", "real"))
    assert similarity[waves, waves] > 0.8
    assert np.allclose(similarity, similarity.T)
    assert abs(similarity[plain, plain]) < 0.2
    assert abs(similarity[waves, real]) < 0.2
    assert found.spectrum_similarity().diagonal() == pytest.approx(1)


def test_residuals_and_spectra_are_those_of_the_definition():
    image = data(1).source.encoded(0)
    from scipy.ndimage import median_filter

    from robustbench_aigen.numerics.decoding import decode

    levels = decode(image)
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]) / 255, levels.numpy().astype(float), 1)
    # The middle begins at row 4, and the next multiple of 8 above is 0.
    expected = luma[:SIDE] - median_filter(luma[:SIDE], 3)
    assert residual_of(levels, SIDE) == pytest.approx(expected)
    power = power_spectrum(expected)
    assert power.mean() == pytest.approx((expected**2).mean())
    assert power[SIDE // 2, SIDE // 2] == pytest.approx(expected.sum() ** 2 / expected.size)
    assert (residual_of(torch.full((3, 16, 16), 9, dtype=torch.uint8), 16) == 0).all()


def test_noise_seldom_has_a_peak():
    rng = np.random.default_rng(0)
    with_peak = sum(bool(peaks(power_spectrum(rng.normal(size=(32, 32))), 1)) for _ in range(200))
    assert with_peak <= 20  # 5 % are meant; the median is itself uncertain.


def test_the_band_holds_the_mean_and_narrows_with_the_images(found):
    middle, low, high = found.each["waves"].band()
    assert ((low <= middle) & (middle <= high)).all()
    assert middle == pytest.approx(found.each["waves"].profiles.mean(axis=0))
    error = found.each["waves"].profiles.std(axis=0) / np.sqrt(16)
    assert np.median((high - low) / error) == pytest.approx(2 * 1.96, rel=0.15)


def test_data_without_fingerprints_say_why():
    levels = torch.randint(0, 256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    fakes = ImageData.from_tensors(levels, [1] * 12, generators=["a"] * 12)
    with pytest.raises(UserError, match="need real images and a generator with at least 4 images each"):
        explain.fingerprints(fakes)
    small = ImageData.from_tensors(levels[..., :8, :8], [0, 1] * 6, generators=["real", "a"] * 6)
    with pytest.raises(UserError, match="images of 8 pixels have no spectrum"):
        explain.fingerprints(small)
    mixed = ImageData.from_tensors(levels, [0, 1] * 6, generators=["real", "a"] * 5 + ["real", "b"])
    assert explain.fingerprints(mixed).left_out == ("b has only 1 image",)
    assert explain.fingerprints(mixed, side=16).side == 16
    with pytest.raises(UserError, match="need real images"):
        explain.fingerprints(mixed, side=64)
