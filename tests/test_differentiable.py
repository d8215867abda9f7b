"""Differentiable stand-ins against the real operations, other libraries and finite differences."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from test_perturbations import RECIPES, smooth

from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations import codecs
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.perturbations.differentiable import blur
from robustbench_aigen.perturbations.differentiable import codecs as stand_ins
from robustbench_aigen.perturbations.differentiable.resize import resampling_matrix
from robustbench_aigen.perturbations.differentiable.rounding import softly_rounded, straight_through
from robustbench_aigen.stages.stage import Stage, make_stage

WITHOUT = {
    "webp": "an encoder that predicts blocks and chooses among modes: applied for real with a gradient of 1",
    "avif": "the same",
    "bit_depth": "rounding alone, whose gradient is 0: applied for real with a gradient of 1",
    "spectrum_match": "a change of rings of frequencies that hides traces: applied for real with a gradient of 1",
    "phase_noise": "the same",
    "frequency_attenuation": "the same",
    "peak_removal": "the same",
    "sensor_noise": "a weak blur with noise: applied for real with a gradient of 1",
    "chromatic_aberration": "moves by a few pixels at most: applied for real with a gradient of 1",
    "lens_distortion": "the same",
    "vignetting": "nearly the identity: applied for real with a gradient of 1",
    "film_grain": "noise, whose gradient is nearly 1",
    "texture_match": "a factor near 1 on fine texture: applied for real with a gradient of 1",
    "jpeg_cycles": "JPEGs, whose gradient is nearly 1 on average",
    "camera_metadata": "leaves the pixels as they are, and is refused in 'through'",
}
"""Perturbations without a stand-in, and why."""


class Case(NamedTuple):
    """A perturbation and how far, in levels, its stand-in may be from it: at most, and on average."""

    name: str
    given: dict
    largest: float
    mean: float


FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
# Where a coefficient falls between two steps of quantisation, the last bit decides between them: rare and large.
JPEG_LARGEST = 64
CASES = [
    *(Case("jpeg", {"quality": q, "subsampling": s}, JPEG_LARGEST, 0.4)
      for q in (95, 75, 30) for s in ("4:2:0", "4:2:2", "4:4:4")),
    Case("jpeg", {"quality": 60, "repeats": 3}, JPEG_LARGEST, 0.4),
    *(Case("resize", {"filter": f, "back": b, "scale": s}, 2, 0.05)
      for f in FILTERS for b in (True, False) for s in (0.35, 1.6)),
    *(Case("resize_to", {"side": s, "back": False}, 1, 0.05) for s in (1, 20, 50)),
    *(Case("fit_within", {"side": s, "filter": "lanczos"}, 1, 0.05) for s in (20, 40, 300)),
    *(Case("pixelate", {"scale": s}, 1, 0.05) for s in (0.85, 0.3)),
    Case("screenshot", {}, JPEG_LARGEST, 0.6),
    *(Case("gaussian_blur", {"sigma": s}, 1, 0.01) for s in (0.4, 1, 20)),
    *(Case("median_blur", {"size": s}, 0, 0) for s in (1, 2, 3, 4, 7)),
    *(Case("sharpen", {"amount": a}, 1, 0.01) for a in (0.5, 2)),
    *(Case("motion_blur", {"radius": r, "sigma": 3}, 1, 0.01) for r in (1, 6)),
    # A shift of 0.3 is 76.5 levels: exact halves.
    *(Case("brightness", {"shift": s}, 1, 0.2) for s in (-0.3, 0.15)),
    *(Case("contrast", {"factor": f}, 1, 0.01) for f in (0.3, 2)),
    Case("saturation", {"factor": 0.3}, 1, 0.1),
    Case("saturation", {"factor": 2.5, "shift": 0.2}, 1, 0.1),
    *(Case("gamma", {"exponent": e}, 1, 0.01) for e in (0.4, 1.5, 3)),
    # Pillow truncates what the bicubic filter gives, half a level on average.
    *(Case("rotate", {"degrees": d, "expand": e}, 1, 0.55) for d in (5, -30, 123.4) for e in (True, False)),
    *(Case("rotate", {"degrees": d, "expand": True}, 0, 0) for d in (0, 90, 180, -90)),
    *(Case("flip", {"direction": d}, 0, 0) for d in ("horizontal", "vertical")),
    Case("center_crop", {"share": 0.7}, 0, 0),
    Case("random_crop", {"share": 0.7}, 0, 0),
    Case("gaussian_noise", {}, 1, 0.01),
    Case("speckle_noise", {}, 1, 0.01),
    Case("poisson_noise", {}, 1, 0.01),
    Case("salt_and_pepper", {}, 0, 0),
    Case("text_overlay", {}, 1, 0.01),
    Case("facebook", {}, JPEG_LARGEST, 0.4),
    Case("facebook", {"severity": 2}, JPEG_LARGEST, 0.4),
    *(Case(name, {}, JPEG_LARGEST, 0.4) for name in ("reshared", "signal", "telegram", "twitter", "whatsapp")),
    Case("camera", {}, JPEG_LARGEST, 0.6), Case("print_scan", {"degrees": 0}, JPEG_LARGEST, 0.6),
    # The rotation differs by half a level on average (its case above); sharpening and JPEG quadruple the difference.
    Case("print_scan", {}, JPEG_LARGEST, 2),
    Case("messenger", {}, JPEG_LARGEST, 0.6),
]  # fmt: skip


def stage(name: str, **given) -> Stage:
    return make_stage(RECIPES[name], given)


def streams(count: int, restart: int = 0) -> SampleStreams:
    return SampleStreams(7, tuple(f"image{number}" for number in range(count)), 1, restart)


def textured(height: int, width: int, count: int = 3) -> torch.Tensor:
    noise = torch.randint(-12, 13, (count, 3, height, width), generator=torch.Generator().manual_seed(0))
    levels = (smooth(count, height, width).int() + noise).clamp(0, 255).byte()
    levels[0, :, :3] = 0  # black, where hue and powers have no slope
    levels[1, :, :, -3:] = 255
    return levels


def test_every_perturbation_has_a_stand_in_or_a_reason():
    assert {case.name for case in CASES} | WITHOUT.keys() == RECIPES.keys()
    for name in WITHOUT:
        assert perturb_differentiably(stage(name), torch.rand(1, 3, 8, 8), streams(1)) is None


@pytest.mark.parametrize("size", [(33, 47), (32, 32)], ids=["33x47", "32x32"])
@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: "-".join([c.name, *(str(value) for value in c.given.values())])
)
def test_a_stand_in_gives_what_the_real_operation_gives_and_a_gradient(case, size):
    levels, bound = textured(*size), stage(case.name, **case.given)
    real = perturb(bound, levels, streams(3))
    pixels = to_pixels(levels).requires_grad_()
    done = perturb_differentiably(bound, pixels, streams(3))
    assert done.shape == real.shape
    assert done.dtype == torch.float32
    assert done.detach().min() >= -1e-6
    assert done.detach().max() <= 1 + 1e-6
    apart = (to_levels(done.detach().clone()).int() - real.int()).abs().float()
    assert apart.max() <= case.largest
    assert apart.mean() <= case.mean
    (gradient,) = torch.autograd.grad(done.square().sum(), pixels)
    assert gradient.isfinite().all()
    assert gradient.flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipe.random and name not in WITHOUT]
)
def test_noise_is_the_streams_and_an_images_own(name):
    pixels, bound = to_pixels(textured(16, 20)), stage(name)
    drawn = perturb_differentiably(bound, pixels, streams(3))
    assert torch.equal(perturb_differentiably(bound, pixels, streams(3)), drawn)
    assert not torch.equal(perturb_differentiably(bound, pixels, streams(3, restart=1)), drawn)
    alone = perturb_differentiably(bound, pixels[[2]], streams(3).select([2]))
    assert torch.allclose(alone, drawn[[2]], atol=1e-6)


SMOOTH = [
    ("gaussian_blur", {"sigma": 0.8}), ("sharpen", {}), ("motion_blur", {"radius": 2}), ("median_blur", {}),
    ("brightness", {}), ("contrast", {}), ("saturation", {"factor": 0.6}), ("gamma", {}),
    ("rotate", {"degrees": 20, "expand": True}), ("flip", {}), ("center_crop", {}), ("random_crop", {}),
    ("gaussian_noise", {"sigma": 0.02}), ("speckle_noise", {"sigma": 0.02}), ("salt_and_pepper", {"amount": 0.2}),
    ("text_overlay", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given"), SMOOTH, ids=[name for name, _ in SMOOTH])
def test_gradients_agree_with_finite_differences(name, given):
    bound = stage(name, **given)
    pixels = 0.2 + 0.5 * torch.rand(
        1, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    assert torch.autograd.gradcheck(
        lambda x: perturb_differentiably(bound, x, streams(1)), pixels.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize(("length", "target"), [(47, 16), (16, 47), (33, 5), (33, 32), (1, 4), (9, 1)])
def test_resampling_weights_are_pillows(filter_, length, target):
    row = np.random.default_rng(0).random((1, length), dtype=np.float32)
    pillow = Image.fromarray(row).resize((target, 1), Image.Resampling[filter_.upper()])
    assert np.allclose(row @ resampling_matrix(length, target, filter_).T, np.asarray(pillow), atol=1e-5)


@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
def test_the_gradient_of_a_resize_is_its_adjoint(filter_):
    """⟨Aᵀw, v⟩ = ⟨w, Av⟩, with Av from Pillow in floats."""
    rng = np.random.default_rng(1)
    pixels = torch.full((1, 3, 20, 24), 0.5, requires_grad=True)
    w, v = rng.standard_normal((10, 12)).astype(np.float32), rng.standard_normal((20, 24)).astype(np.float32)
    done = perturb_differentiably(stage("resize", filter=filter_, back=False), pixels, streams(1))
    (gradient,) = torch.autograd.grad((done[0, 0] * torch.from_numpy(w)).sum(), pixels)
    moved = np.asarray(Image.fromarray(v).resize((12, 10), Image.Resampling[filter_.upper()]))
    assert (gradient[0, 0] * torch.from_numpy(v)).sum().item() == pytest.approx((w * moved).sum(), rel=1e-3)


@pytest.fixture(scope="module")
def minigen() -> tuple[torch.Tensor, torch.Tensor]:
    """Some test images of minigen and their labels."""
    chosen = select(open_source("minigen", None), "test", 150)
    levels = torch.stack([decode(chosen.source.encoded(index)) for index in chosen.indices])
    return levels, torch.tensor([sample.label for sample in chosen.samples])


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
def test_jpeg_is_within_a_tenth_of_a_level_of_libjpeg_on_average(minigen, quality):
    """Measured on these images: 0.075, 0.053, 0.038 and 0.027 levels; the codec itself moves them by 3 to 9."""
    levels, _ = minigen
    options = {"quality": quality, "subsampling": "4:2:0", "repeats": 1}
    real = codecs.jpeg(levels, **options)
    assert (stand_ins.jpeg(to_pixels(levels), **options) * 255 - real).abs().mean() < 0.1


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (50, 2), (2, 50), (9, 17)])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_jpeg_of_any_size(size, subsampling):
    levels = textured(*size, count=6)
    options = {"quality": 75, "subsampling": subsampling, "repeats": 1}
    real = codecs.jpeg(levels, **options)
    assert (stand_ins.jpeg(to_pixels(levels), **options) * 255 - real).abs().mean() < 1


def test_soft_rounding_rounds_with_the_slope_of_the_cubic():
    values = torch.tensor([-1.5, -0.3, 0.0, 0.1, 0.45, 0.5, 2.8], requires_grad=True)
    whole = softly_rounded(values)
    assert whole.tolist() == pytest.approx([-2, 0, 0, 0, 0, 1, 3], abs=1e-6)
    whole.sum().backward()
    assert values.grad.tolist() == pytest.approx([0.75, 0.27, 0, 0.03, 0.6075, 0.75, 0.12], abs=1e-4)


def test_gradients_through_the_stand_in_survive_jpeg_better_than_gradients_that_ignore_it(minigen):
    """Ten steps of PGD at 4/255 on images that the detector has right, judged behind the real codec."""
    levels, labels = (part[:60] for part in minigen)
    detector, eps = load_detector("minigen/lenet5"), 4 / 255
    options = {"quality": 50, "subsampling": "4:2:0", "repeats": 1}

    def accuracy(through) -> float:
        start = to_pixels(levels)
        pixels = start.clone()
        for _ in range(10):
            pixels.requires_grad_()
            loss = torch.nn.functional.cross_entropy(detector(through(pixels)), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, pixels)
            pixels = (pixels.detach() + eps / 4 * gradient.sign()).clamp(start - eps, start + eps).clamp(0, 1)
        stored = codecs.jpeg(to_levels(pixels), **options)
        return (detector(to_pixels(stored)).argmax(1) == labels).float().mean().item()

    def real(pixels):
        return straight_through(pixels, to_pixels(codecs.jpeg(to_levels(pixels.detach().clone()), **options)))

    adaptive = accuracy(lambda pixels: stand_ins.jpeg(pixels, **options))
    assert adaptive < accuracy(real) - 0.05
    assert adaptive < accuracy(lambda pixels: pixels) - 0.05


@pytest.mark.parametrize("name", ["jpeg", "resize", "gaussian_blur", "facebook"])
def test_a_detector_in_bfloat16_leaves_the_stand_in_in_float32(name):
    pixels = to_pixels(textured(20, 30))
    alone = perturb_differentiably(stage(name), pixels, streams(3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = perturb_differentiably(stage(name), pixels, streams(3))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, alone)


def test_covering_text_has_no_gradient_and_the_rest_has_all_of_it():
    pixels = torch.full((1, 3, 60, 80), 0.3, requires_grad=True)
    done = perturb_differentiably(
        stage("text_overlay", text="abc", height=0.3, opacity=1), pixels, streams(1)
    )
    (gradient,) = torch.autograd.grad(done.sum(), pixels)
    assert (gradient[done.detach() == 1] == 0).all()
    assert (done.detach() == 1).any()
    assert (gradient[done.detach() == pixels.detach()] == 1).all()


def test_the_median_takes_strips_without_a_seam(monkeypatch):
    pixels = to_pixels(textured(33, 21))
    whole = blur.median_blur(pixels, size=5)
    monkeypatch.setattr(blur, "_MOST_VALUES", 3 * 3 * 21 * 25 * 4)
    assert torch.equal(blur.median_blur(pixels, size=5), whole)
