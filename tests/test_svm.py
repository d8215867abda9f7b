"""Support vector machines and HOG as torch modules, against scikit-learn and scikit-image."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.color import rgb2gray
from skimage.feature import hog as skimage_hog
from sklearn.svm import SVC, LinearSVC

from robustbench_aigen.detectors.hog import hog
from robustbench_aigen.detectors.svm import LinearDecision, RBFDecision, fit_estimator, grid_search
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.errors import UserError


def pictures(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth 8-bit pictures with flat parts, N×H×W×3."""
    rng = np.random.default_rng(seed)
    made = [
        Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((side, side))
        for _ in range(count)
    ]
    levels = np.stack([np.asarray(picture) for picture in made])
    levels[:, : side // 4, : side // 4] = 128
    return levels


def as_pixels(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(
    ("side", "orientations", "cell", "block"), [(128, 9, 8, 3), (64, 8, 16, 2), (50, 12, 7, 1)]
)
def test_hog_is_scikit_images(side, orientations, cell, block):
    levels = pictures(4, side)
    ours = hog(as_pixels(levels), orientations=orientations, cell=cell, block=block)
    theirs = [
        skimage_hog(rgb2gray(picture), orientations, (cell, cell), (block, block)) for picture in levels
    ]
    assert ours.shape == np.shape(theirs)
    assert np.abs(ours.numpy() - theirs).max() < 1e-5


def test_the_gradient_of_hog_sees_an_edge_turn_where_its_value_does_not():
    """On a slope all pixels vote for one direction, and go on doing so while it turns inside their bin."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")

    def away_from_the_border(turn: torch.Tensor) -> torch.Tensor:
        slope = 0.01 * (columns * torch.cos(turn) + rows * torch.sin(turn))
        return hog(slope.expand(1, 3, 32, 32), block=1).view(4, 4, 9)[1:3, 1:3]

    turn = torch.tensor(0.6, requires_grad=True)
    described = away_from_the_border(turn)
    assert torch.allclose(described, away_from_the_border(torch.tensor(0.65)), atol=1e-6)
    # From 30° on the vote is shared with the next bin (40° to 60°), which gains by the turn.
    (gain,) = torch.autograd.grad(described[..., 2].sum(), turn)
    assert gain > 1


def test_a_flat_picture_has_a_finite_gradient():
    pixels = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    hog(pixels).sum().backward()
    assert pixels.grad.isfinite().all()


def features(count: int = 80, width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 2
    return rng.normal(size=(count, width)) + 0.6 * labels[:, None] * (np.arange(width) % 3), labels


@pytest.mark.parametrize("gamma", [0.01, "scale", "auto"])
def test_the_gaussian_kernel_is_scikit_learns(gamma):
    x, labels = features()
    fitted = fit_estimator(SVC(C=1.7, gamma=gamma), x, labels)
    decision = RBFDecision(20, 1)
    decision.take(fitted)
    probe = np.random.default_rng(2).normal(size=(50, 20))
    ours = decision(torch.from_numpy(probe).float())[:, 0].numpy()
    assert np.abs(ours - fitted.decision_function(probe)).max() < 1e-4
    # A support vector itself is at distance 0, where a root has no gradient.
    at = decision.vectors[:3].clone().requires_grad_()
    decision(at).sum().backward()
    assert at.grad.isfinite().all()


def test_the_linear_decision_is_scikit_learns():
    x, labels = features()
    fitted = fit_estimator(LinearSVC(random_state=0), x, labels)
    decision = LinearDecision(20)
    decision.take(fitted)
    ours = decision(torch.from_numpy(x).float())[:, 0].numpy()
    assert np.abs(ours - fitted.decision_function(x)).max() < 1e-4
    assert ((ours > 0) == (fitted.predict(x) == 1)).all()


def test_hog_svm_is_the_pipeline_of_the_two_libraries():
    levels, labels = pictures(12, 128), np.arange(12) % 2
    network = build_architecture("hog_svm").eval()
    network.fit(network.features(as_pixels(levels)), labels, c=0.5)
    theirs = np.stack([skimage_hog(rgb2gray(picture)) for picture in levels])
    fitted = LinearSVC(C=0.5, random_state=0, max_iter=10_000).fit(theirs, labels)
    logits = network(as_pixels(pictures(6, 128, seed=5)))
    probe = np.stack([skimage_hog(rgb2gray(picture)) for picture in pictures(6, 128, seed=5)])
    assert (
        np.abs((logits[:, 1] - logits[:, 0]).detach().numpy() - fitted.decision_function(probe)).max() < 1e-4
    )


def test_a_fitted_network_is_saved_and_built_again_with_its_support_vectors(tmp_path):
    torch.manual_seed(0)
    network = build_architecture("resnet18_svm").eval()
    images = torch.randn(10, 3, 32, 32)
    with torch.no_grad():
        network.fit(network.features(images), [0, 1] * 5, c=1.7, gamma=1 / 512)
        save_file(network.state_dict(), tmp_path / "svm.safetensors")
        again = build_architecture("resnet18_svm", **network.architecture_options()).eval()
        again.load_state_dict(load_file(tmp_path / "svm.safetensors"))
        assert torch.equal(again(images), network(images))
    assert network.architecture_options()["support_vectors"] > 1


def test_the_grid_search_finds_the_kernel_that_separates_rings():
    rng = np.random.default_rng(0)
    radius, turn = np.repeat([1.0, 3.0], 60) + rng.normal(0, 0.2, 120), rng.uniform(0, 2 * np.pi, 120)
    rings = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    found = grid_search(
        build_architecture("resnet18_svm"), rings, np.repeat([0, 1], 60), {"c": [1.0], "gamma": [1e-6, 0.5]}
    )
    assert found.best == {"c": 1.0, "gamma": 0.5}
    by_gamma = {row["gamma"]: row["accuracy"] for row in found.table}
    assert by_gamma[0.5] > 0.95
    assert by_gamma[1e-6] < 0.75


def test_the_grid_search_keeps_groups_in_one_fold():
    """Each picture stands twice, with one label per pair drawn at random: only leaking pairs can be told."""
    rng = np.random.default_rng(0)
    x, labels = np.repeat(rng.normal(size=(60, 5)), 2, axis=0), np.repeat(rng.integers(0, 2, 60), 2)
    network, grid = build_architecture("resnet18_svm"), {"c": [100.0], "gamma": [100.0]}
    leaking = grid_search(network, x, labels, grid).table[0]["accuracy"]
    kept = grid_search(network, x, labels, grid, groups=np.repeat(np.arange(60), 2)).table[0]["accuracy"]
    assert leaking > 0.8
    assert kept < 0.7


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((4, 2)), [1, 1, 1, 1], "both classes"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "not finite"),
        (np.zeros((3, 2)), [0, 1], "one row of features per label"),
    ],
)
def test_features_that_nothing_can_be_fitted_to(x, labels, message):
    with pytest.raises(UserError, match=message):
        build_architecture("resnet18_svm").fit(x, labels)


def test_more_folds_than_images_of_a_class():
    with pytest.raises(UserError, match="5 folds cannot be made of 2 images"):
        grid_search(
            build_architecture("resnet18_svm"), np.zeros((8, 2)), [0, 0, 1, 1, 1, 1, 1, 1], {"c": [1.0]}
        )
