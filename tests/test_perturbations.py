"""Perturbations against other codecs, other libraries and closed forms, and what holds for all of them."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image, features

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_levels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations import blur, codecs, geometry, noise, overlay, tone
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.perturbations.resizing import fit_within, pixelate, resize, resize_to
from robustbench_aigen.stages.recipe import ParameterError
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage

RECIPES = {
    name: recipe
    for name, recipe in shipped_recipes().items()
    if recipe.kind == "perturb" and not recipe.needs_files
}
NAMES = tuple(f"picture{number}" for number in range(6))


def smooth(count: int = 6, height: int = 32, width: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for _ in range(count)
    ]
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).contiguous()


def applied(name: str, levels: torch.Tensor, rows=range(6), **given) -> torch.Tensor:
    stage = make_stage(RECIPES[name], given)
    return perturb(stage, levels[list(rows)], SampleStreams(42, tuple(NAMES[row] for row in rows), 0))


@pytest.fixture(autouse=True)
def _needs_its_codec(request):
    if "avif" in request.node.name and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


@pytest.mark.parametrize("name", RECIPES)
def test_every_perturbation_gives_8_bit_images_that_belong_to_their_image_alone(name):
    levels = smooth()
    # Their defaults leave these as they are.
    given = {"fit_within": {"side": 24}, "peak_removal": {"threshold": 1.5}}.get(name, {})
    together = applied(name, levels, **given)
    assert together.dtype == torch.uint8
    assert together.shape[:2] == (6, 3)
    stays = together.shape == levels.shape and torch.equal(together, levels)
    # Its effect is in the file.
    assert stays == (name == "camera_metadata")
    for rows in ([3], [5, 3, 0]):
        assert torch.equal(applied(name, levels, rows, **given), together[list(rows)])


@pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipe.severities and "crop" not in name]
)
def test_a_higher_severity_strays_further(name):
    levels = smooth()
    if name == "screenshot":
        levels = resize(levels, scale=0.8, filter="bicubic", back=True)
        reference = resize(levels, scale=1.25, filter="bicubic", back=False).float()
    else:
        reference = levels.float()
    errors = [
        (applied(name, levels, severity=s).float() - reference).square().mean().item() for s in range(1, 6)
    ]
    if name == "saturation":  # CIFAR-10-C's severities take colour away first and then add it.
        assert errors[0] < errors[1]
        assert errors[2:] == sorted(errors[2:])
    else:
        assert errors == sorted(errors)
        assert errors[0] < errors[-1]


def test_a_severity_sets_its_parameters_and_excludes_them():
    assert RECIPES["jpeg"].bind({"severity": 3})["quality"] == 58
    assert "severity" not in RECIPES["jpeg"].bind({})
    with pytest.raises(ParameterError, match="either severity or quality"):
        RECIPES["jpeg"].bind({"severity": 3, "quality": 50})
    with pytest.raises(ParameterError, match="at most 5"):
        RECIPES["jpeg"].bind({"severity": 6})


def test_jpeg_uses_libjpegs_quantisation_tables():
    """The luminance table of quality 75 is half of the standard's example table (Annex K), rounded as libjpeg does."""
    annex_k_first_row = np.array([16, 11, 10, 16, 24, 40, 51, 61])
    image = smooth(1)
    ours = codecs.jpeg(image, quality=75, subsampling="4:2:0", repeats=1)[0].permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=75)
    reference = Image.open(buffer)
    assert list(reference.quantization[0][:8]) == ((annex_k_first_row * 50 + 50) // 100).tolist()
    assert np.array_equal(ours, np.asarray(reference))


def test_full_chroma_keeps_more_and_a_second_generation_loses_a_little():
    images = smooth()

    def error(**options):
        given = {"quality": 60, "subsampling": "4:2:0", "repeats": 1} | options
        return (codecs.jpeg(images, **given).float() - images.float()).square().mean()

    assert error(subsampling="4:4:4") < error(subsampling="4:2:2") < error()
    assert error(repeats=5) > error()


def test_an_image_too_large_for_a_format_is_said_so():
    with pytest.raises(UserError, match="70000×1 pixels cannot be stored as JPEG"):
        codecs.jpeg(
            torch.zeros((1, 3, 1, 70000), dtype=torch.uint8), quality=75, subsampling="4:2:0", repeats=1
        )


@pytest.mark.parametrize("filter_", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resize_there_and_back_keeps_size_and_without_back_changes_it(filter_):
    images = smooth(2)
    assert resize(images, scale=0.5, filter=filter_, back=True).shape == images.shape
    assert resize(images, scale=0.5, filter=filter_, back=False).shape == (2, 3, 16, 20)
    assert torch.equal(resize(images, scale=1, filter=filter_, back=True), images)
    assert resize_to(images, side=8, filter=filter_, back=False).shape == (2, 3, 8, 10)


def test_fit_within_shrinks_to_the_longer_side_and_never_enlarges():
    images = smooth(2)
    assert fit_within(images, side=20, filter="bicubic").shape == (2, 3, 16, 20)
    assert torch.equal(
        fit_within(images, side=20, filter="lanczos"), resize(images, scale=0.5, filter="lanczos", back=False)
    )
    for side in (40, 41, 5000):
        assert torch.equal(fit_within(images, side=side, filter="bicubic"), images)
    assert fit_within(smooth(1, 100, 3), side=10, filter="box").shape == (1, 3, 10, 1)


def test_shrinking_is_antialiased():
    stripes = torch.zeros((1, 3, 32, 32), dtype=torch.uint8)
    stripes[..., ::2] = 200
    inner = resize(stripes, scale=0.5, filter="bilinear", back=False)[..., 2:-2]
    assert (inner.float() - 100).abs().max() <= 26  # aliased, it would be 0 or 200


def test_pixelate_averages_blocks():
    ramp = torch.arange(8, dtype=torch.uint8).repeat_interleave(4).mul(8).expand(1, 3, 32, 32).contiguous()
    halved = pixelate(ramp, scale=0.25)
    assert torch.equal(halved, ramp)


def test_gaussian_noise_has_the_standard_deviation_asked_for():
    grey = torch.full((50, 3, 32, 32), 128, dtype=torch.uint8)
    streams = SampleStreams(0, tuple(f"n{i}" for i in range(50)), 0)
    noisy = noise.gaussian_noise(grey, streams, sigma=8 / 255).float()
    assert noisy.std() == pytest.approx(8, rel=0.01)
    assert noisy.mean() == pytest.approx(128, abs=0.1)


def test_shot_noise_has_the_variance_of_counting():
    grey = torch.full((50, 3, 32, 32), 102, dtype=torch.uint8)  # 0.4
    streams = SampleStreams(0, tuple(f"n{i}" for i in range(50)), 0)
    noisy = noise.poisson_noise(grey, streams, photons=100).float() / 255
    assert noisy.mean() == pytest.approx(0.4, abs=0.002)
    assert noisy.var() == pytest.approx(0.4 / 100, rel=0.03)


def test_speckle_is_proportional_and_salt_is_rare():
    ramp = torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 3, 200, 3).contiguous()
    speckled = noise.speckle_noise(ramp, SampleStreams(0, ("a",), 0), sigma=0.1).float()
    assert speckled.std(dim=(0, 1, 2)).tolist() == pytest.approx([0, 10, 20], rel=0.15, abs=0.1)
    salted = noise.salt_and_pepper(
        torch.full((1, 3, 100, 100), 77).byte(), SampleStreams(0, ("a",), 0), amount=0.05
    )
    assert (salted == 0).float().mean() == pytest.approx(0.025, abs=0.005)
    assert (salted == 255).float().mean() == pytest.approx(0.025, abs=0.005)


def test_gaussian_blur_is_the_convolution():
    point = torch.zeros((1, 3, 41, 41), dtype=torch.uint8)
    point[..., 20, 20] = 255
    axis = np.arange(-20, 21)
    kernel = np.exp(-(axis**2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    expected = to_levels(torch.from_numpy(kernel))
    assert (blur.gaussian_blur(point, sigma=1.5)[0, 0].int() - expected.int()).abs().max() <= 1


def test_motion_blur_smears_one_way_and_keeps_the_light():
    point = torch.zeros((1, 3, 61, 61), dtype=torch.uint8)
    point[..., 30, 30] = 255
    smeared = blur.motion_blur(point, SampleStreams(1, ("a",), 0), radius=6, sigma=3)[0, 0].double()
    assert smeared.sum() == pytest.approx(255, rel=0.1)
    columns = smeared.sum(dim=0).nonzero().flatten()
    assert columns.min() >= 29 or columns.max() <= 31, "one-sided"
    assert len(columns) > 5


def test_median_removes_a_speck_and_sharpening_undoes_a_blur_in_part():
    speck = torch.full((1, 3, 9, 9), 50, dtype=torch.uint8)
    speck[..., 4, 4] = 255
    assert blur.median_blur(speck, size=3).unique().tolist() == [50]
    images = smooth()
    soft = blur.gaussian_blur(images, sigma=1)
    sharper = blur.sharpen(soft, amount=0.7, sigma=1)
    assert (sharper.float() - images.float()).square().mean() < (
        soft.float() - images.float()
    ).square().mean()


def hsv_reference(levels: torch.Tensor, change) -> torch.Tensor:
    hsv = rgb_to_hsv(levels.permute(0, 2, 3, 1).double().numpy() / 255)
    return to_levels(torch.from_numpy(hsv_to_rgb(change(hsv))).permute(0, 3, 1, 2))


@pytest.mark.parametrize("shift", [-0.2, 0.1, 0.3])
def test_brightness_is_a_shift_of_value_in_hsv(shift):
    images = smooth()

    def change(hsv):
        hsv[..., 2] = np.clip(hsv[..., 2] + shift, 0, 1)
        return hsv

    assert (tone.brightness(images, shift=shift).int() - hsv_reference(images, change).int()).abs().max() <= 1


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0), (2.5, 0.2)])
def test_saturation_is_a_change_of_saturation_in_hsv(factor, shift):
    images = torch.cat([smooth(), torch.full((1, 3, 32, 40), 90, dtype=torch.uint8)])

    def change(hsv):
        hsv[..., 1] = np.clip(hsv[..., 1] * factor + shift, 0, 1)
        return hsv

    ours = tone.saturation(images, factor=factor, shift=shift)
    assert (ours.int() - hsv_reference(images, change).int()).abs().max() <= 1


def test_contrast_gamma_and_bit_depth_are_their_closed_forms():
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16).contiguous()
    x = ramp.double() / 255
    assert torch.equal(tone.contrast(ramp, factor=0.5), to_levels((x - x.mean()) * 0.5 + x.mean()))
    assert torch.equal(tone.gamma(ramp, exponent=2), to_levels(x**2))
    assert tone.bit_depth(ramp, bits=1).unique().tolist() == [0, 255]
    assert len(tone.bit_depth(ramp, bits=3).unique()) == 8
    assert torch.equal(tone.bit_depth(ramp, bits=8), ramp)


def test_crops_flips_and_rotations_put_pixels_where_they_belong():
    image = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(1, 3, 8, 8)
    assert torch.equal(geometry.center_crop(image, share=0.5), image[..., 2:6, 2:6])
    cropped = geometry.random_crop(image, SampleStreams(0, ("a",), 0), share=0.5)
    assert any(torch.equal(cropped, image[..., y : y + 4, x : x + 4]) for y in range(5) for x in range(5))
    assert torch.equal(geometry.flip(image, direction="horizontal"), image[..., ::1].flip(3))
    assert torch.equal(geometry.flip(image, direction="vertical")[..., 0, :], image[..., 7, :])
    assert torch.equal(geometry.rotate(image, degrees=90, expand=False), image.rot90(1, (2, 3)))
    assert geometry.rotate(image, degrees=45, expand=True).shape[-1] > 8


def test_text_is_white_and_in_the_lower_right():
    black = torch.zeros((1, 3, 100, 200), dtype=torch.uint8)
    written = overlay.text_overlay(black, text="abc", height=0.2, opacity=1)[0, 0]
    rows, columns = written.nonzero(as_tuple=True)
    assert written.max() == 255
    assert rows.min() > 60
    assert columns.min() > 100
    faint = overlay.text_overlay(black, text="abc", height=0.2, opacity=0.5)
    assert faint.max() == pytest.approx(128, abs=1)
