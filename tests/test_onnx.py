"""ONNX as torch's exporter writes it today: differentiable, and equal to onnxruntime."""

import numpy as np
import pytest
import torch
from attacked import is_attacked_with_gradients, is_attacked_without_gradients, levels, score_of
from test_foreign_formats import small
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock

from robustbench_aigen import load_detector
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")
pytest.importorskip("onnxscript")
timm = pytest.importorskip("timm")
ConvNeXtBlock = pytest.importorskip("timm.models.convnext").ConvNeXtBlock


def export(
    network: nn.Module, file, side: int, *, batch: int | None = None, opset: int | None = None
) -> None:
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        network.eval(), (torch.rand(batch or 2, 3, side, side),), file, dynamic_shapes=shapes, opset_version=opset, verbose=False
    )  # fmt: skip


def by_onnxruntime(file, images: torch.Tensor, batch: int | None = None) -> torch.Tensor:
    session = onnxruntime.InferenceSession(file)
    parts = images.div(255).split(batch or len(images))
    return torch.cat(
        [
            torch.from_numpy(session.run(None, {session.get_inputs()[0].name: part.numpy()})[0])
            for part in parts
        ]
    )


class Blocks(nn.Sequential):
    """One block each of ResNet, MobileNetV2, ConvNeXt and a vision transformer, one after the other.

    The exporter's time grows with the number of networks and blocks, not with what they were trained for.
    """

    def __init__(self) -> None:
        vit = timm.create_model(
            "deit_tiny_patch16_224", num_classes=2, img_size=8, patch_size=2, in_chans=24, depth=1
        )
        super().__init__(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            BasicBlock(16, 16), InvertedResidual(16, 24, 1, 6), ConvNeXtBlock(24), vit,
        )  # fmt: skip


NETWORKS = {"a fixed batch": 2, "any batch": None}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_torchs_exporter_writes_is_differentiable_and_equal(tmp_path, name):
    torch.manual_seed(0)
    file, network, batch = tmp_path / "m.onnx", Blocks(), NETWORKS[name]
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = (
                None  # The statistics of what it sees, whole: with a tenth of them signals die away.
            )
    with torch.no_grad():
        network(torch.rand(4, 3, 32, 32))
    export(network, file, 32, batch=batch)
    assert onnx.load(file, load_external_data=False).opset_import[0].version >= 18
    detector = load_detector(file)
    images = levels(4)
    assert torch.allclose(
        score_of(detector, images), by_onnxruntime(file, images, batch).softmax(1)[:, 1], atol=1e-4
    )
    assert score_of(detector, levels(3)).shape == (3,)
    assert is_attacked_with_gradients(detector, images[:2])


class Exercise(nn.Module):
    """Operators that changed since opset 17 and that the four networks do not use."""

    def forward(self, x):
        x = nn.functional.pad(x, (1, 2, 0, 1), mode="reflect")
        parts = nn.functional.mish(x).chunk(3, dim=1)
        x = torch.cat(
            [nn.functional.silu(parts[0]), parts[1].cumsum(dim=3), nn.functional.pad(parts[2], (1, -1))],
            dim=1,
        )
        x = nn.functional.group_norm(x, 3)
        x = x + nn.functional.interpolate(
            nn.functional.avg_pool2d(x, 2, ceil_mode=True), x.shape[2:], mode="bilinear"
        )
        row = x.flatten(2).transpose(1, 2)
        row = nn.functional.scaled_dot_product_attention(row[:, None], row[:, None], row[:, None])[:, 0]
        x = nn.functional.rms_norm(row, (3,)).transpose(1, 2).reshape(x.shape)
        stats = [
            x.amax((2, 3)),
            x.amin((2, 3)),
            x.norm(dim=(2, 3)),
            x.abs().sum((2, 3)),
            x.flatten(2).logsumexp(2),
            x.prod(2).mean(2),
        ]
        return torch.stack(stats, dim=0).mean(0)[:, :2]


@pytest.mark.parametrize("opset", [18, 24])
def test_every_opset_of_the_exporter_is_converted(tmp_path, opset):
    file = tmp_path / "m.onnx"
    export(Exercise(), file, 12, opset=opset)
    detector = load_detector(file)
    assert detector.differentiable, detector.assumptions
    images = levels(3, 12, 12)
    assert torch.allclose(
        score_of(detector, images), by_onnxruntime(file, images).softmax(1)[:, 1], atol=1e-4
    )


def test_a_final_sigmoid_is_taken_off(tmp_path):
    file = tmp_path / "m.onnx"
    export(small(1, nn.Sigmoid()), file, 32)
    detector = load_detector(file)
    assert detector.preprocessing.outputs == "logits"
    assert torch.allclose(score_of(detector, levels()), by_onnxruntime(file, levels())[:, 0], atol=1e-5)


def channels_last_model(operator: str) -> "onnx.ModelProto":
    """Means over an N×8×8×3 image, after an operator."""
    helper, tensor = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node(operator, ["x"], ["y"], **({"axis": -1} if operator == "Hardmax" else {})),
        helper.make_node("ReduceMean", ["y", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["z"]),
    ]
    constants = [
        helper.make_tensor("axes", tensor.INT64, [2], [1, 2]),
        helper.make_tensor("weight", tensor.FLOAT, [3, 2], [0.5, 2.0, -1.0, 1.0, 3.0, 0.1]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", tensor.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("z", tensor.FLOAT, ["n", 2])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("operator", ["Tanh", "Hardmax"])
def test_channels_may_come_last_and_what_cannot_be_converted_is_a_black_box(tmp_path, operator):
    file = tmp_path / "m.onnx"
    onnx.save(channels_last_model(operator), file)
    detector = load_detector(file)
    images = levels(4, 8, 8)
    session = onnxruntime.InferenceSession(file)
    theirs = session.run(None, {"x": (images.permute(0, 2, 3, 1) / 255).numpy()})[0]
    assert np.allclose(score_of(detector, images), torch.from_numpy(theirs).softmax(1)[:, 1], atol=1e-5)
    if operator == "Tanh":
        assert is_attacked_with_gradients(detector, images)
    else:
        assert "no gradients: onnx2torch cannot convert it" in detector.assumptions[0]
        assert is_attacked_without_gradients(detector, images)


def test_damaged_files_and_other_inputs_are_told(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        load_detector(tmp_path / "a.onnx")
    torch.onnx.export(nn.Linear(4, 2).eval(), (torch.rand(1, 4),), tmp_path / "b.onnx", verbose=False)
    with pytest.raises(UserError, match="a detector takes one float or uint8 tensor"):
        load_detector(tmp_path / "b.onnx")


def table_model(outputs: "list[tuple[str, int, list]]", kind: str = "float", source: str = "x"):
    """Means over an N×3×8×8 image, then logits, their softmax, the label, and features; some of them are outputs."""
    helper, tensor = onnx.helper, onnx.TensorProto
    numbers = {"float": tensor.FLOAT, "float16": tensor.FLOAT16, "uint8": tensor.UINT8}[kind]
    weight_kind = tensor.FLOAT16 if kind == "float16" else tensor.FLOAT
    nodes = [
        *([helper.make_node("Cast", ["x"], ["cast"], to=tensor.FLOAT)] if kind == "uint8" else []),
        *([helper.make_node("Div", ["cast", "levels"], ["scaled"])] if kind == "uint8" else []),
        helper.make_node("ReduceMean", ["scaled" if kind == "uint8" else source], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["features", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        helper.make_node("Cast", ["label"], ["float_label"], to=tensor.FLOAT),
        helper.make_node("MatMul", ["features", "weight2"], ["other"]),
    ]  # fmt: skip
    constants = [
        helper.make_tensor("weight", weight_kind, [3, 2], [0.5, 2.0, -1.0, 1.0, 3.0, 0.1]),
        helper.make_tensor("weight2", weight_kind, [3, 2], [5.0, 0.2, 1.0, -1.0, 3.0, 0.7]),
        helper.make_tensor("levels", tensor.FLOAT, [], [255.0]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", numbers, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(*each) for each in outputs], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
LABEL, LOGITS, PROBABILITIES = (
    ("label", INT64, ["n"]),
    ("logits", FLOAT, ["n", 2]),
    ("probabilities", FLOAT, ["n", 2]),
)
FEATURES, OTHER, FLOAT_LABEL = ("features", FLOAT, ["n", 3]), ("other", FLOAT, ["n", 2]), ("float_label", FLOAT, ["n"])  # fmt: skip


def fakes(file, images: torch.Tensor, output: str = "probabilities") -> torch.Tensor:
    session = onnxruntime.InferenceSession(file)
    (answer,) = session.run([output], {"x": (images / 255).numpy()})
    return torch.from_numpy(answer)[:, 1]


@pytest.mark.parametrize(
    ("outputs", "taken"),
    [
        ([LABEL, PROBABILITIES], "probabilities"),
        ([LABEL, LOGITS], "logits"),
        ([FEATURES, LOGITS], "logits"),
        ([PROBABILITIES, LOGITS], "logits"),
        ([FLOAT_LABEL, PROBABILITIES], "probabilities"),
    ],
)
def test_of_several_outputs_the_scores_are_taken_and_a_line_says_so(tmp_path, outputs, taken):
    onnx.save(table_model([*outputs]), tmp_path / "m.onnx")
    onnx.save(table_model([PROBABILITIES]), tmp_path / "plain.onnx")
    detector = load_detector(tmp_path / "m.onnx")
    images = levels(5, 8, 8)
    assert torch.allclose(score_of(detector, images), fakes(tmp_path / "plain.onnx", images), atol=1e-5)
    assert f"'{taken}' is scored; output: NAME selects another output" in detector.assumptions[0]
    assert is_attacked_with_gradients(detector, images)


def test_labels_alone_are_refused_and_two_tables_asked_for(tmp_path):
    onnx.save(table_model([LABEL]), tmp_path / "label.onnx")
    with pytest.raises(UserError, match="labels, not scores"):
        load_detector(tmp_path / "label.onnx")
    onnx.save(table_model([LOGITS, OTHER]), tmp_path / "two.onnx")
    with pytest.raises(UserError, match="2 outputs that could be scores: logits, other") as raised:
        load_detector(tmp_path / "two.onnx")
    assert "output: logits" in str(raised.value)
    images = levels(5, 8, 8)
    other = load_detector(DetectorSpec(path=str(tmp_path / "two.onnx"), output="other"))
    theirs = onnxruntime.InferenceSession(tmp_path / "two.onnx").run(
        ["other"], {"x": (images / 255).numpy()}
    )[0]
    assert torch.allclose(score_of(other, images), torch.from_numpy(theirs).softmax(1)[:, 1], atol=1e-5)
    logits = load_detector(DetectorSpec(path=str(tmp_path / "two.onnx"), output="logits"))
    assert other.made_of != logits.made_of
    for wanted, message in (("nothing", "has no output 'nothing'"), ("label", "has no output 'label'")):
        with pytest.raises(UserError, match=message):
            load_detector(DetectorSpec(path=str(tmp_path / "two.onnx"), output=wanted))


@pytest.mark.parametrize("names", [None, ["ai", "nature"]])
def test_a_sequence_of_maps_is_scored_by_its_probabilities(tmp_path, names):
    helper = onnx.helper
    model = table_model([LABEL])
    labels = {"classlabels_int64s": [0, 1]} if names is None else {"classlabels_strings": names}
    key = INT64 if names is None else onnx.TensorProto.STRING
    model.graph.node.append(
        helper.make_node("ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", **labels)
    )
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, None))
    )
    model.graph.output.append(helper.make_value_info("maps", maps))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    onnx.save(model, tmp_path / "m.onnx")
    images = levels(5, 8, 8)
    answers = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(["maps"], {"x": (images / 255).numpy()})[
        0
    ]
    theirs = torch.tensor([row[1 if names is None else "ai"] for row in answers])
    assert torch.allclose(score_of(load_detector(tmp_path / "m.onnx"), images), theirs, atol=1e-5)


def test_half_precision_is_computed_in_float32(tmp_path):
    outputs = [("logits", onnx.TensorProto.FLOAT16, ["n", 2])]
    model = table_model(outputs, "float16")
    onnx.save(model, tmp_path / "m.onnx")
    detector = load_detector(tmp_path / "m.onnx")
    images = levels(5, 8, 8)
    weight = torch.from_numpy(onnx.numpy_helper.to_array(model.graph.initializer[0]).astype(np.float32))
    theirs = (images / 255).mean(dim=(2, 3)) @ weight
    assert torch.allclose(score_of(detector, images), theirs.softmax(1)[:, 1], atol=1e-6)
    assert "stored in float16, computed in float32" in detector.assumptions
    assert is_attacked_with_gradients(detector, images)


def test_a_model_of_8_bit_levels_is_given_levels(tmp_path):
    onnx.save(table_model([LOGITS], "uint8"), tmp_path / "m.onnx")
    detector = load_detector(tmp_path / "m.onnx")
    images = levels(5, 8, 8)
    theirs = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": images.numpy()})[0]
    assert torch.allclose(score_of(detector, images), torch.from_numpy(theirs).softmax(1)[:, 1], atol=1e-5)
    assert any("the network receives levels from 0 to 255" in text for text in detector.assumptions)
    assert is_attacked_with_gradients(detector, images)


def test_a_replaced_file_of_weights_beside_a_model_changes_its_hash(tmp_path):
    model = table_model([LOGITS])
    for tensor in model.graph.initializer:  # Only raw bytes are put into a file of their own.
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(np.array(onnx.numpy_helper.to_array(tensor)), tensor.name)
        )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    before = load_detector(tmp_path / "m.onnx").weights_sha256
    content = bytearray((tmp_path / "m.data").read_bytes())
    content[2] ^= 0x10
    (tmp_path / "m.data").write_bytes(content)
    assert load_detector(tmp_path / "m.onnx").weights_sha256 != before
    (tmp_path / "m.data").unlink()
    with pytest.raises(UserError, match="'m.data', which is missing beside the file"):
        load_detector(tmp_path / "m.onnx")
