"""Quantised ONNX models: verdicts of onnxruntime on the integers, gradients of a twin in torch."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_aigen import UserError, attacks, evaluate, explain, load_detector
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.formats.onnx_quantised import QuantisedNetwork, has_twin, twins_answer
from robustbench_aigen.numerics.decoding import decode

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")
pytest.importorskip("onnxscript")
quantization = pytest.importorskip("onnxruntime.quantization")

INPUT = "images"
NORMALISED = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "fake_index": 1}
KINDS = ("qdq", "qdq_channels", "operators", "dynamic")


class Calibration(quantization.CalibrationDataReader):
    def __init__(self, images):
        self.batches = iter(images.split(32))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def minigen(count: int):
    selection = select(open_source("minigen", Path()), "test", count)
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    return levels, torch.tensor([sample.label for sample in selection.samples])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The float model of a shipped detector, and four quantised ones."""
    folder = tmp_path_factory.mktemp("quantised")
    detector = load_detector("minigen/lenet5")
    levels, _ = minigen(64)
    images = levels / 255 * 2 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            detector.network, (images[:2],), folder / "float.onnx", input_names=[INPUT], dynamic_shapes=shapes, verbose=False
        )  # fmt: skip
        prepared, static = folder / "prepared.onnx", quantization.quantize_static
        quantization.shape_inference.quant_pre_process(folder / "float.onnx", prepared)
        formats, types = quantization.QuantFormat, quantization.QuantType
        static(prepared, folder / "qdq.onnx", Calibration(images), quant_format=formats.QDQ)
        static(
            prepared, folder / "qdq_channels.onnx", Calibration(images), quant_format=formats.QDQ, per_channel=True,
            activation_type=types.QInt8, weight_type=types.QInt8,
        )  # fmt: skip
        static(
            prepared, folder / "operators.onnx", Calibration(images), quant_format=formats.QOperator,
            activation_type=types.QUInt8,
        )  # fmt: skip
        quantization.quantize_dynamic(prepared, folder / "dynamic.onnx", weight_type=types.QUInt8)
    return folder


def opened(folder, kind):
    return load_detector({"path": str(folder / f"{kind}.onnx"), **NORMALISED})


def operators_of(file):
    return {node.op_type for node in onnx.load(file).graph.node}


def test_the_models_are_of_four_kinds(models):
    assert "DequantizeLinear" in operators_of(models / "qdq.onnx")
    assert "QLinearConv" in operators_of(models / "operators.onnx")
    assert "ConvInteger" in operators_of(models / "dynamic.onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_is_that_of_the_integers(models, kind):
    detector = opened(models, kind)
    levels, _ = minigen(48)
    options = onnxruntime.SessionOptions()
    # Sums that do not saturate, on processors without VNNI as well.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(models / f"{kind}.onnx", options)
    # One by one: the range of a dynamic quantisation is that of the batch.
    answers = [session.run(None, {INPUT: image.numpy()})[0] for image in (levels / 255 * 2 - 1).split(1)]
    logits = torch.cat([torch.from_numpy(answer) for answer in answers])
    assert torch.allclose(detector.log_odds(levels), logits[:, 1] - logits[:, 0], atol=1e-4)
    assert detector.differentiable
    assert has_twin(detector)
    assert any("gradients are those of a twin" in told for told in detector.assumptions)
    # Also where gradients are wanted: every step of an attack is judged on the integers.
    pixels = (levels / 255).requires_grad_()
    assert torch.allclose(detector(pixels).detach(), detector(pixels.detach()), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_agrees_and_its_attacks_reach_those_on_the_float_model(models, kind):
    detector, whole = opened(models, kind), opened(models, "float")
    levels, labels = minigen(60 if kind == "dynamic" else 160)  # Dynamic ones are scored one by one.
    model = detector.log_odds(levels)
    with twins_answer():
        twin = detector.log_odds(levels)
    assert ((model >= 0) == (twin >= 0)).float().mean() >= 0.99
    assert (model - twin).abs().median() < 0.1 * model.abs().median()
    pgd = attacks.pgd(eps=2 / 255, steps=10)
    through_twin = pgd(detector, levels, labels).success.float().mean()
    # The attack on the float model, judged on the integers as well.
    crafted = pgd(whole, levels, labels).images
    on_float = (detector.predict(crafted) != labels).float().mean()
    assert through_twin > 0.2
    assert through_twin >= on_float - 0.03


@pytest.fixture(scope="module")
def with_sigmoid(models):
    """A confident detector that ends in a sigmoid: as floats, and quantised to 8 bits, where most answers are 0 or 1."""

    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = load_detector("minigen/lenet5").network

        def forward(self, images):
            logits = self.network(images)
            return (6 * (logits[:, 1:] - logits[:, :1])).sigmoid()

    images = minigen(64)[0] / 255 * 2 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            Sure().eval(), (images[:2],), models / "sure.onnx", input_names=[INPUT], dynamic_shapes=shapes, verbose=False
        )  # fmt: skip
        quantization.shape_inference.quant_pre_process(models / "sure.onnx", models / "prepared_sure.onnx")
        formats = quantization.QuantFormat
        for name, form in {"sure_qdq": formats.QDQ, "sure_operators": formats.QOperator}.items():
            quantization.quantize_static(
                models / "prepared_sure.onnx",
                models / f"{name}.onnx",
                Calibration(images),
                quant_format=form,
                activation_type=quantization.QuantType.QUInt8,
            )
    return models


@pytest.mark.parametrize("kind", ["sure_qdq", "sure_operators"])
def test_probabilities_rounded_to_zero_have_gradients(with_sigmoid, kind):
    detector, whole = opened(with_sigmoid, kind), opened(with_sigmoid, "sure")
    levels, labels = minigen(160)
    answer = detector.scores(levels)
    assert ((answer < 1e-6) | (answer > 1 - 1e-6)).float().mean() > 0.3, "the case of the test"
    pixels = (levels / 255).requires_grad_()
    logits = detector(pixels)
    assert torch.allclose(logits.detach(), detector(pixels.detach()), atol=1e-4)
    gradients = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), pixels)[0]
    assert gradients.isfinite().all()
    assert (gradients.flatten(1).norm(dim=1) > 0).all()
    pgd = attacks.pgd(eps=2 / 255, steps=10)
    through_twin = pgd(detector, levels, labels).success.float().mean()
    crafted = pgd(whole, levels, labels).images
    on_float = (detector.predict(crafted) != labels).float().mean()
    assert through_twin > 0.2
    assert through_twin >= on_float - 0.03
    run = evaluate(detector, (levels[:48], labels[:48]), {"pgd": attacks.pgd(eps=1 / 255, steps=2)})
    assert not {"twin_differs", "zero_gradients"} & set(" ".join(run.summary["trust"].astype(str)).split())


def test_a_tensor_of_zeros_has_finite_gradients(models):
    """Its dynamic range is empty."""
    detector = opened(models, "dynamic")
    pixels = torch.full((1, 3, 32, 32), 0.5).requires_grad_()
    gradient = torch.autograd.grad(detector(pixels)[:, 1].sum(), pixels)[0]
    assert detector(pixels).isfinite().all()
    assert gradient.isfinite().all()


def test_a_quantised_input_of_levels_is_recognised(models, tmp_path):
    model = onnx.load(models / "qdq.onnx")
    (first,) = [node for node in model.graph.node if node.input[0] == INPUT]
    assert first.op_type == "QuantizeLinear"
    assert not any("levels from 0 to 255" in told for told in opened(models, "qdq").assumptions)
    for tensor in model.graph.initializer:
        if tensor.name == first.input[1]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(1.0), tensor.name))
    onnx.save(model, tmp_path / "levels.onnx")
    told = load_detector(str(tmp_path / "levels.onnx")).assumptions
    assert any("levels from 0 to 255" in each for each in told)


def test_a_twin_that_judges_otherwise_raises_a_flag(models):
    detector = opened(models, "qdq")
    levels, labels = minigen(48)
    pgd = {"pgd": attacks.pgd(eps=1 / 255, steps=2)}
    run = evaluate(detector, (levels, labels), pgd)
    assert "twin_differs" not in " ".join(run.summary["trust"].astype(str))
    (measured,) = [probe for probe in run.info.trust.probes if probe["flag"] == "twin_differs"]
    assert "agree on 100 % of" in measured["evidence"]

    (network,) = [module for module in detector.modules() if isinstance(module, QuantisedNetwork)]

    class Other(nn.Module):
        def forward(self, images):
            return images.mean(dim=(1, 2, 3))[:, None] * torch.tensor([[-1.0, 1.0]]) - 5

    network.twin = Other()
    detector.refresh()
    with twins_answer():
        assert (detector.log_odds(levels).abs() < 5).all()
    assert (detector.log_odds(levels).abs() > 5).any()
    run = evaluate(detector, (levels, labels), pgd)
    assert "twin_differs" in " ".join(run.summary["trust"].astype(str))


def test_an_unknown_quantised_operator_leaves_scores(models, tmp_path):
    model = onnx.load(models / "operators.onnx")
    # QLinearConv without a constant bias is beyond the twin: verdicts stay, gradients do not.
    first = next(node for node in model.graph.node if node.op_type == "QLinearConv" and len(node.input) > 8)
    bias = next(each for each in model.graph.initializer if each.name == first.input[8])
    doubled = onnx.helper.make_node("Identity", [bias.name], ["moved_bias"])
    model.graph.node.insert(0, doubled)
    first.input[8] = "moved_bias"
    onnx.save(model, tmp_path / "moved.onnx")
    detector = load_detector({"path": str(tmp_path / "moved.onnx"), **NORMALISED})
    assert not detector.differentiable
    assert any(
        "no gradients: onnx2torch cannot convert it (a bias that is no constant)" in told
        for told in detector.assumptions
    )
    levels, _ = minigen(16)
    assert torch.allclose(detector.log_odds(levels), opened(models, "operators").log_odds(levels), atol=1e-4)
    found = explain.maps(detector, levels[:2], "occlusion", window=8, stride=8)
    assert found.problems == ["", ""]
    with pytest.raises(UserError, match="integrated_gradients needs gradients"):
        explain.maps(detector, levels[:2])
