"""Detectors: the contract, loading, thresholds."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.contract import Detector, Preprocessing, scores, verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.detectors.thresholds import HALF, fit_threshold
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec


@pytest.mark.parametrize("name", shipped_detectors())
def test_every_shipped_detector_loads_frozen_float32_with_its_cards_hash(name):
    detector = load_detector(name)
    card = json.loads(shipped_detectors()[name].with_suffix(".json").read_text())
    assert detector.weights_sha256 == card["sha256"]
    assert not detector.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in detector.parameters())


def test_normalisation_and_resize_are_inside_and_differentiable(weights):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    network = build_architecture("lenet5").eval()
    network.load_state_dict(load_file(weights))
    detector = Detector.assembled(
        network, Preprocessing((32, 32), mean, std), name="d", architecture="lenet5", weights_sha256="0"
    )
    pixels = torch.rand(2, 3, 32, 32)
    by_hand = (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(detector(pixels), network(by_hand))
    large = torch.rand(2, 3, 50, 70, requires_grad=True)
    detector(large).sum().backward()
    assert large.grad.shape == large.shape
    assert (large.grad != 0).float().mean() > 0.9


def test_fake_index_zero_turns_the_logits_round(tmp_path, weights):
    plain = load_detector(weights, arch="lenet5")
    weights.with_suffix(".json").write_text(json.dumps({"arch": "lenet5", "fake_index": 0}))
    pixels = torch.rand(3, 3, 32, 32)
    assert torch.equal(load_detector(weights)(pixels), plain(pixels).flip(1))


def test_a_score_at_the_threshold_is_fake():
    assert verdicts(torch.tensor([-0.1, 0, 0.1]), HALF).tolist() == [0, 1, 1]
    assert scores(torch.zeros(1, 2)).item() == 0.5


def test_predict_is_one_forward_in_any_batch(weights):
    detector = load_detector(weights, arch="lenet5")
    levels = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8)
    whole = predict(detector, levels, 11, torch.device("cpu"))
    assert torch.allclose(predict(detector, levels, 3, torch.device("cpu")), whole, atol=1e-6)


def test_a_state_dict_of_torch_is_read_and_a_pickle_with_code_is_not(tmp_path, weights):
    state = load_file(weights)
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    assert load_detector(tmp_path / "a.pt", arch="lenet5").architecture == "lenet5"
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"state_dict": state, "x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="add --trust-code if you trust"):
        load_detector(tmp_path / "evil.pt", arch="lenet5")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_text("text"), "not a safetensors file"),
        (lambda file: file.write_bytes(file.read_bytes()[:500]), "not a safetensors file"),
        (lambda file: save_file({"w": torch.zeros(2)}, file), "missing features.0.weight"),
        (lambda file: save_file({**load_file(file), "extra": torch.zeros(2)}, file), "unexpected extra"),
        (lambda file: save_file({k: v * float("nan") if v.is_floating_point() else v for k, v in load_file(file).items()}, file), "NaN"),
        (lambda file: file.with_suffix(".json").write_text('{"arch": "lenet5",'), "card is not valid JSON"),
    ],
)  # fmt: skip
def test_damaged_weights_are_named(weights, spoil, message):
    spoil(weights)
    with pytest.raises(UserError, match=message):
        load_detector(weights, arch="lenet5")


def test_a_network_with_other_outputs_is_refused():
    detector = Detector.assembled(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Preprocessing(),
        name="three",
        architecture="none",
        weights_sha256="0",
    )
    with pytest.raises(UserError, match="returns \\(4, 3\\) for 4 images"):
        detector.check()


def test_without_normalisation_the_user_is_told(weights):
    assert "receives pixels in [0, 1]" in load_detector(weights, arch="lenet5").assumptions[0]
    assert load_detector("minigen/lenet5").assumptions == ()


def test_youden_is_found_by_brute_force():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    log_odds = rng.normal(labels - 0.5, 0.75).astype(np.float32)
    ours = fit_threshold("youden", log_odds, labels)

    def youden(threshold):
        verdict = log_odds >= threshold
        return verdict[labels == 1].mean() - verdict[labels == 0].mean()

    assert youden(ours.log_odds) == pytest.approx(max(youden(t) for t in log_odds))
    assert np.float32(ours.log_odds) == ours.log_odds
    assert ours.score == pytest.approx(1 / (1 + np.exp(-ours.log_odds)))


@pytest.mark.parametrize("rule", ["youden", "fpr@0.05", "fpr@0.2"])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (100, 0), (10_000, 0), (1, 500), (0.01, -3)])
def test_a_fitted_threshold_is_the_same_image_at_any_scale_of_the_logits(rule, scale, shift):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    log_odds = rng.normal(1.5 * labels, 1).astype(np.float32)
    plain = log_odds >= fit_threshold(rule, log_odds, labels).log_odds
    changed = np.float32(scale) * log_odds + np.float32(shift)
    assert ((changed >= fit_threshold(rule, changed, labels).log_odds) == plain).all()


def test_fpr_rule_stays_below_its_rate_even_when_scores_saturate():
    labels = np.array([0] * 100 + [1] * 100)
    log_odds = np.array([20.0] * 3 + [-1] * 97 + [20] * 90 + [-2] * 10, dtype=np.float32)
    threshold = fit_threshold("fpr@0.05", log_odds, labels)
    assert -1 < threshold.log_odds < 20
    with pytest.raises(UserError, match="3.0 % of the validation reals"):
        fit_threshold("fpr@0", log_odds, labels)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"input_size": "32"}, "input_size"),
        ({"mean": [0.5] * 4}, "three numbers"),
        ({"std": [1, 1, "a"]}, "three numbers"),
        ({"fake_index": 2}, "fake_index: must be 0 or 1"),
        ({"arch": 5}, "arch: must be text"),
        ({"arch_options": {"input_size": 33}}, "does not take these options"),
        ({"meen": [0.5, 0.5, 0.5]}, "did you mean 'mean'?"),
        ({"sha256": "0" * 64}, "belongs to other weights"),
    ],
)
def test_a_mistake_in_a_card_is_named(weights, card, message):
    weights.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(UserError) as raised:
        load_detector(weights, arch="lenet5")
    assert message in str(raised.value)


def test_the_scenario_wins_over_the_card(weights):
    weights.with_suffix(".json").write_text(
        json.dumps({"arch": "lenet5", "mean": [0.5] * 3, "std": [0.5] * 3, "note": "x"})
    )
    spec = DetectorSpec(path=str(weights), mean=(0.1, 0.2, 0.3))
    preprocessing = load_detector(spec).preprocessing
    assert preprocessing.mean == (0.1, 0.2, 0.3)
    assert preprocessing.std == (0.5, 0.5, 0.5)
