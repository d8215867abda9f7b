"""Explanations of every kind of detector: ensembles, several views, timm, transformers, ONNX without gradients, modules."""

import onnx
import pytest
import torch
from test_explain_sums import check_notes, misses
from test_foreign_formats import PROCESSORS, vit
from test_onnx import channels_last_model
from torch import nn

from robustbench_aigen import Detector, ImageData, UserError, explain, load_detector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.explain.detector_page import PARTS, PageSettings, Pictures, detector_page
from robustbench_aigen.explain.task import blurred

GRADIENTS = ("integrated_gradients", "input_gradients", "smoothgrad", "occlusion", "lime")

FEWER = {
    "integrated_gradients": {"steps": 4, "most_steps": 4},
    "smoothgrad": {"samples": 4},
    "lime": {"samples": 20},
}


def images(count: int = 2, side: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator).to(torch.uint8)


def small_network() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )  # fmt: skip


def with_views(crop: str) -> Detector:
    preprocessing = Preprocessing((16, 16), crop=crop)
    return Detector.assembled(
        small_network().eval(), preprocessing, name=crop, architecture="small", weights_sha256="0"
    )


def ensemble() -> Detector:
    return load_detector({"ensemble": ["minigen/lenet5", "minigen/cifake_cnn"], "name": "both"})


def is_explained(detector, levels, methods) -> None:
    for method in methods:
        found = explain.maps(detector, levels, method, **FEWER.get(method, {}))
        assert found.problems == [""] * len(levels)
        assert [values.shape for values in found.values] == [tuple(image.shape[1:]) for image in levels]


def sums_to_the_difference(detector: Detector, levels: torch.Tensor) -> None:
    found = explain.maps(detector, levels, towards="fake")
    starts = blurred(levels / 255)
    with torch.no_grad():
        odds, before = ((logits := detector(each))[:, 1] - logits[:, 0] for each in (levels / 255, starts))
    assert [values.sum() for values in found.values] == pytest.approx((odds - before).tolist(), rel=0.011)


@pytest.mark.parametrize("crop", ["five", "tiles"])
def test_several_views_have_maps_of_the_whole_image_and_no_grad_cam(crop):
    detector = with_views(crop)
    is_explained(detector, images(), GRADIENTS)
    sums_to_the_difference(detector, images())
    with pytest.raises(UserError, match=f"{crop} sees several views of an image") as said:
        explain.maps(detector, images(), "grad_cam")
    assert said.value.hint == "use integrated_gradients or occlusion"


def test_an_ensemble_has_maps_and_no_grad_cam():
    detector = ensemble()
    is_explained(detector, images(), GRADIENTS)
    sums_to_the_difference(detector, images())
    with pytest.raises(
        UserError, match="both has several networks, and Grad-CAM needs a layer of one"
    ) as said:
        explain.maps(detector, images(), "grad_cam")
    assert "explain the members" in said.value.hint


@pytest.mark.parametrize("make", [ensemble, lambda: with_views("five"), lambda: with_views("tiles")])
def test_a_page_names_the_methods_that_an_ensemble_or_views_lack(make, tmp_path, undrawn):
    data = ImageData.open("minigen", limit=20)
    parts = [part for part in PARTS if part != "fingerprints"]
    page = detector_page(
        make(), Pictures.of(data, 6), PageSettings(parts, images=2, options=FEWER), "c", Silent()
    )
    assert any(notice.startswith("without Grad-CAM:") for notice in page.notices)
    checks = next(table for part in page.parts for table in part.tables if table.name == "sanity")
    assert [row[0].value for row in checks.rows] == ["integrated_gradients", "smoothgrad", "occlusion"]
    assert (page.write(tmp_path / "page") / "explanation.html").is_file()


def test_a_model_of_timm_is_explained():
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    for name in ("test_resnet", "test_vit"):
        network = timm.create_model(name, num_classes=2)
        side = network.default_cfg["input_size"][-1]
        detector = Detector(network, input_size=(side, side), name=name)
        is_explained(detector, images(2, side), ("grad_cam", "integrated_gradients"))


def test_a_model_of_transformers_is_explained(tmp_path):
    transformers = pytest.importorskip("transformers")
    vit(transformers, ["human", "artificial"]).save_pretrained(tmp_path)
    PROCESSORS["bilinear"](transformers).save_pretrained(tmp_path)
    detector = load_detector(f"hf:{tmp_path}")
    is_explained(detector, images(), ("hires_cam", "integrated_gradients", "occlusion"))
    # Its processor rounds to 8 bits after the resize, which no gradient sees: what the sums miss is said.
    levels = [*images()]
    found = explain.maps(detector, levels, towards="fake", most_steps=64)
    check_notes(misses(detector, levels, found), found.notes)


def test_an_onnx_without_gradients_has_maps_that_need_none(tmp_path, cli, undrawn, image_folder):
    onnx.save(channels_last_model("Hardmax"), tmp_path / "m.onnx")
    detector = load_detector(tmp_path / "m.onnx")
    assert not detector.differentiable
    is_explained(detector, images(2, 8), ("occlusion",))
    with pytest.raises(UserError, match="needs gradients, and m has no gradients") as said:
        explain.maps(detector, images(2, 8))
    assert said.value.hint == "use occlusion or lime"
    done = cli(
        "explain", tmp_path / "m.onnx", image_folder, "--split", "all", "--images", 1, "--part", "maps", "--part", "gradients",
        "--part", "activations", "--output", tmp_path / "page",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "m has no gradients: maps by occlusion and LIME, no input gradients, no activations" in done.out


def test_a_module_in_memory_is_explained():
    is_explained(small_network(), images(), ("grad_cam", *GRADIENTS))
    one_output = nn.Sequential(
        nn.Conv2d(3, 2, 9), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    is_explained(one_output, images(), ("grad_cam", "integrated_gradients"))
