"""Operations that hide traces of generators, each against a computation of its own: loops, closed forms, scikit-image."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.feature import graycomatrix, graycoprops

from robustbench_aigen import perturbations
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.encoded_files import encoded_files

ROWS, COLUMNS = 48, 64


def streams(count: int = 1, step: int = 0) -> SampleStreams:
    return SampleStreams(42, tuple(f"picture{number}" for number in range(count)), 0).for_step(step)


def ids(count: int = 1) -> list[str]:
    return [f"picture{number}" for number in range(count)]


def cloudy(exponent: float = 1.6, height: int = ROWS, width: int = COLUMNS) -> torch.Tensor:
    """A grey image whose spectrum falls with a power of the frequency, with room below white and above black."""
    rng = np.random.default_rng(3)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    radius = np.hypot(rows, columns)
    radius[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / radius**exponent).real
    noise = (noise - noise.mean()) / np.abs(noise - noise.mean()).max()
    levels = np.rint(128 + 90 * noise).astype(np.uint8)
    return torch.from_numpy(np.stack([levels] * 3))[None]


def flat(value: int, height: int = ROWS, width: int = COLUMNS) -> torch.Tensor:
    return torch.full((1, 3, height, width), value, dtype=torch.uint8)


def wave(cycles: int, height: int = 64, width: int = 64, amplitude: float = 50) -> np.ndarray:
    """Columns of a wave with some cycles over the width, around 128."""
    return 128 + amplitude * np.cos(2 * math.pi * cycles * np.arange(width) / width)[None].repeat(
        height, axis=0
    )


def as_levels(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.rint(values).astype(np.uint8)] * 3))[None]


def amplitude(image: torch.Tensor, cycles: int) -> float:
    return 2 * np.abs(np.fft.fft2(image[0, 0].double().numpy())[0, cycles]) / image[0, 0].numel()


def ring_means(image: np.ndarray) -> dict[int, float]:
    """Mean magnitude of each ring of whole cycles over the shorter side, by loops."""
    height, width = image.shape
    magnitude, rings = np.abs(np.fft.fft2(image)), {}
    for row in range(height):
        for column in range(width):
            down = min(row, height - row) / height
            right = min(column, width - column) / width
            radius = round(math.hypot(down, right) * min(height, width))
            rings.setdefault(radius, []).append(magnitude[row, column])
    return {radius: float(np.mean(values)) for radius, values in rings.items()}


def test_spectrum_match_gives_the_rings_the_slope_of_photographs():
    image = cloudy(exponent=2.2)
    done = perturbations.spectrum_match(exponent=1.2, start=0.25)(image)
    before, after = (ring_means(each[0, 0].double().numpy() / 255) for each in (image, done))
    rings = np.arange(
        8, 24
    )  # From a quarter of 24 cycles on, without the rings that are close to the change.
    slopes = [np.polyfit(np.log(rings), np.log([means[r] for r in rings]), 1)[0] for means in (before, after)]
    assert slopes[0] < -1.9
    assert slopes[1] == pytest.approx(-1.2, abs=0.05)
    assert [after[ring] for ring in range(1, 5)] == pytest.approx(
        [before[ring] for ring in range(1, 5)], rel=0.03
    )


def test_phase_noise_turns_the_phases_above_the_start_alone():
    image = cloudy(exponent=0.5)
    done = perturbations.phase_noise(sigma=0.4, start=0.5)(image, ids=ids())
    before, after = (np.fft.fft2(each[0, 1].double().numpy()) for each in (image, done))
    rows, columns = np.fft.fftfreq(ROWS)[:, None], np.fft.fftfreq(COLUMNS)[None]
    frequency = 2 * np.hypot(rows, columns)
    turned = np.angle(after / before)
    # Rounding to 8 bits turns weak frequencies by some hundredths.
    assert turned[(frequency < 0.45) & (frequency > 0)].std() < 0.03
    assert turned[frequency > 0.5].std() == pytest.approx(0.4, abs=0.04)
    assert np.abs(after)[frequency > 0].sum() == pytest.approx(np.abs(before)[frequency > 0].sum(), rel=0.02)


def test_frequency_attenuation_weakens_waves_above_the_start():
    low, high = (as_levels(wave(cycles)) for cycles in (8, 28))  # Of 32: a quarter, and seven eighths.
    weaker = perturbations.frequency_attenuation(start=0.7, strength=0.6)
    assert amplitude(weaker(low), 8) == pytest.approx(amplitude(low, 8), rel=0.01)
    assert amplitude(weaker(high), 28) == pytest.approx(0.4 * amplitude(high, 28), rel=0.02)


def test_peak_removal_cuts_a_lattice_to_what_is_around_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (64, 64))
    image = as_levels(wave(13, amplitude=12) + noise)
    done = perturbations.peak_removal(threshold=4, size=5, start=0.2)(image)
    magnitude = np.abs(np.fft.fft2(image[0, 0].double().numpy()))
    around = sorted(magnitude[row % 64, column] for row in range(-2, 3) for column in range(11, 16))
    assert amplitude(image, 13) > 11
    # Rounding errs alike in all rows of a column, and so leaves some of a wave of columns.
    assert amplitude(done, 13) == pytest.approx(2 * around[12] / 64**2, abs=0.15)
    assert (done.double() - image.double()).std() < 12


def test_a_noiseless_sensor_is_bilinear_demosaicing():
    """Each missing colour is the mean of the known ones nearest to it, by loops."""
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 12, 14), dtype=np.uint8))
    done = perturbations.sensor_noise(shot=0, read=1e-9)(image)[0].numpy()
    pattern = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}
    for channel in range(3):
        for row in range(1, 11):
            for column in range(1, 13):
                rings = [[(0, 0)], [(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]]
                for ring in rings:
                    known = [
                        float(image[0, channel, row + down, column + right])
                        for down, right in ring
                        if pattern[(row + down) % 2, (column + right) % 2] == channel
                    ]
                    if known:
                        break
                assert done[channel, row, column] == pytest.approx(np.mean(known), abs=0.51)


def test_the_noise_of_a_sensor_grows_with_the_light():
    for value, shot, read in ((200, 0.002, 0.01), (60, 0.002, 0.01), (128, 0, 0.02)):
        noisy = perturbations.sensor_noise(shot=shot, read=read)(flat(value, 128, 128), ids=ids())[0, 1]
        known = noisy.double().numpy()[0::2, 1::2] / 255  # Green pixels keep what was measured.
        assert known.std() == pytest.approx(math.sqrt(shot * value / 255 + read**2), rel=0.05)


def ramp(height: int = 41, width: int = 61) -> torch.Tensor:
    values = np.arange(width)[None] * 3 + np.zeros((height, 1)) + 30
    return torch.from_numpy(np.stack([values.astype(np.uint8)] * 3))[None]


def test_chromatic_aberration_moves_red_and_blue_apart():
    image = ramp()
    done = perturbations.chromatic_aberration(shift=2)(image)[0].double()
    corner = math.hypot(20, 30)
    columns = torch.arange(61).double() - 30
    inside = slice(4, 57)
    assert torch.equal(done[1], image[0, 1].double())
    for channel, sign in ((0, 1), (2, -1)):
        expected = 30 + 3 * (columns * (1 - sign * 2 / corner) + 30)
        assert (done[channel, 20, inside] - expected[inside]).abs().max() <= 0.51
    # Of an edge in the corner, red and blue lie two pixels from green.
    assert 30 * 2 / corner == pytest.approx(1.664, abs=0.001)


def test_lens_distortion_takes_colours_from_the_radius_of_its_formula():
    done = perturbations.lens_distortion(strength=0.2)(ramp())[0, 0].double()
    for row in (20, 10, 0):
        for column in range(4, 57, 4):
            radius = math.hypot(row - 20, column - 30) / math.hypot(20, 30)
            source = (column - 30) * (1 + 0.2 * radius**2) / 1.2 + 30
            assert float(done[row, column]) == pytest.approx(30 + 3 * source, abs=0.52)
    assert float(done[0, 0]) == pytest.approx(30, abs=1)


def test_vignetting_is_the_fourth_power_of_the_cosine():
    done = perturbations.vignetting(strength=0.4)(flat(200, 41, 61))[0, 0].double()
    tangent = math.sqrt(0.6**-0.5 - 1)
    for row, column in ((20, 30), (0, 0), (20, 0), (5, 50)):
        radius = math.hypot(row - 20, column - 30) / math.hypot(20, 30)
        assert float(done[row, column]) == pytest.approx(
            200 * math.cos(math.atan(tangent * radius)) ** 4, abs=0.51
        )
    assert float(done[0, 0]) == pytest.approx(120, abs=0.51)


def test_film_grain_is_grey_correlated_and_strongest_in_the_middle():
    grain = perturbations.film_grain(sigma=0.05, size=1)
    middle, dark = (
        grain(flat(value, 128, 128), ids=ids()).double()[0] / 255 - value / 255 for value in (128, 20)
    )
    assert torch.equal(middle[0], middle[2])
    assert float(middle[0].std()) == pytest.approx(0.05, rel=0.06)
    share = 20 / 255
    assert float(dark[0].std()) == pytest.approx(0.05 * 2 * math.sqrt(share * (1 - share)), rel=0.06)
    # White noise under a Gaussian of sigma 1 correlates by exp(-1/4) with its neighbour.
    neighbours = float((middle[0, :, 1:] * middle[0, :, :-1]).mean() / middle[0].square().mean())
    assert neighbours == pytest.approx(math.exp(-0.25), abs=0.04)


@pytest.mark.parametrize("contrast", [40.0, 300.0])
def test_texture_match_gives_the_co_occurrence_contrast_of_scikit_image(contrast):
    rng = np.random.default_rng(2)
    image = as_levels(cloudy(1.2)[0, 0].numpy() * 0.6 + 50 + rng.normal(0, 6, (ROWS, COLUMNS)))
    done = perturbations.texture_match(contrast=contrast, sigma=1, strongest=5)(image)[0, 0].numpy()

    def measured(levels: np.ndarray) -> float:
        counts = graycomatrix(levels, [1], [0, math.pi / 2], levels=256)
        each = graycoprops(counts, "contrast")[0]
        pairs = [ROWS * (COLUMNS - 1), (ROWS - 1) * COLUMNS]
        return float(np.average(each, weights=pairs))

    # Rounding adds twice the variance of a uniform error, a sixth of a squared level.
    assert measured(done) == pytest.approx(contrast + 1 / 6, rel=0.02)
    assert abs(measured(image[0, 0].numpy()) - contrast) > 10


def test_jpeg_cycles_move_the_grid():
    image = cloudy(1.0)
    done = perturbations.jpeg_cycles(cycles=3, quality=70)(image, ids=ids())[0].permute(1, 2, 0).numpy()
    drawn, picture = streams(), image[0].permute(1, 2, 0).numpy()
    grids = set()
    for _ in range(3):
        top, left = (int(8 * share) for share in drawn.uniform(0, 1, (2,))[0])
        grids.add((top, left))
        larger = picture[np.maximum(np.arange(-top, ROWS), 0)][:, np.maximum(np.arange(-left, COLUMNS), 0)]
        buffer = io.BytesIO()
        Image.fromarray(larger).save(buffer, "JPEG", quality=70, subsampling="4:2:0")
        picture = np.asarray(Image.open(buffer))[top:, left:]
    assert len(grids) == 3
    assert np.array_equal(done, picture)


@pytest.mark.parametrize(
    ("name", "format_"), [("camera", "JPEG"), ("print_scan", "JPEG"), ("messenger", "WEBP")]
)
def test_presets_are_their_operations_one_after_another_and_deliver_a_file(name, format_):
    image, bound = cloudy(1.0), getattr(perturbations, name)()
    expected = image
    for step, operation in enumerate(bound.operations):
        given = operation.recipe.arguments(operation.params)
        one = getattr(perturbations, operation.recipe.name)(**given)
        # Each operation of a chain has streams of its own.
        own = SampleStreams(42, ("picture0",), 0, 0, step)
        expected = perturb_with(one, expected, own)
    done = bound(image, ids=ids())
    assert torch.equal(done, expected)
    (content,) = encoded_files(bound, image, streams())
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == format_
        assert np.array_equal(np.asarray(picture.convert("RGB")), done[0].permute(1, 2, 0).numpy())


def perturb_with(bound, levels: torch.Tensor, own: SampleStreams) -> torch.Tensor:
    from robustbench_aigen.imports import import_function

    (operation,) = bound.operations
    function = import_function(operation.recipe.implementation)
    given = [levels, own] if operation.recipe.random else [levels]
    return function(*given, **operation.recipe.arguments(operation.params))
