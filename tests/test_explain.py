"""Explanations: against the libraries called directly, closed forms, and detectors whose reasons are known."""

import json
import re
import shlex
import time

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from robustbench_aigen import Detector, UserError, explain
from robustbench_aigen.detectors.formats.wrappers import BlackBox
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.explain import mapping
from robustbench_aigen.explain.page import Page, PagePart
from robustbench_aigen.explain.randomising import randomised
from robustbench_aigen.explain.sanity_checks import rank_correlation
from robustbench_aigen.explain.task import TaskMaps, blurred

CORNER = 16


def levels(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator).to(torch.uint8)


class CornerNetwork(nn.Module):
    """Answers how bright the top left quarter of a 32×32 image is, and sees nothing else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.ReLU())
        self.head = nn.Linear(6, 2)
        with torch.no_grad():
            self.body[0].weight.abs_()
            self.head.weight[0], self.head.weight[1] = 0, 1

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        seen = torch.zeros_like(pixels)
        seen[..., :CORNER, :CORNER] = pixels[..., :CORNER, :CORNER]
        return 20 * self.head(self.body(seen).mean(dim=(2, 3)))


class BlockNetwork(nn.Module):
    """Compares the red of a block in the image with grey."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 16 * 16, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.conv.weight[0, 0, 1, 1] = 1
            weights = torch.zeros(4, 16, 16)
            weights[0, 2:6, 2:6] = 1
            self.head.weight[1] = weights.flatten()
            self.head.bias[1] = -8.0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(pixels).relu().flatten(1))


@pytest.fixture(scope="module")
def corner() -> Detector:
    return Detector(CornerNetwork(), name="corner")


def block_images(count: int = 24) -> tuple[torch.Tensor, list[int]]:
    """Noise, in which a block is red in every second image, and without red in the others."""
    images = torch.rand((count, 3, 16, 16), generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3
    for row in range(count):
        images[row, 0, 2:6, 2:6] = 0.9 if row % 2 else 0.1
    return images, [row % 2 for row in range(count)]


OPTIONS = {"occlusion": {"window": 2, "stride": 2}, "lime": {"baseline": "black"}}


@pytest.mark.parametrize("method", mapping.METHODS)
def test_a_detector_of_the_corner_is_explained_by_the_corner_alone(corner, method):
    found = explain.maps(corner, levels(3), method, towards="fake", **OPTIONS.get(method, {}))
    assert found.problems == [""] * 3
    for values in found.values:
        mass = np.abs(values)
        assert mass[:CORNER, :CORNER].sum() >= 0.95 * mass.sum() > 0


def test_grad_cam_is_that_of_the_library():
    from pytorch_grad_cam import GradCAM

    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 2),
    ).eval()  # fmt: skip
    images = levels(4)
    found = explain.maps(network, images, "grad_cam", towards="fake", layer="4")
    with GradCAM(network, [network[4]]) as cam:
        said = cam(images / 255, [lambda output: output[1] - output[0]] * 4)
    assert not any(found.problems)
    for ours, theirs in zip(found.values, said, strict=True):
        scaled = (ours - ours.min()) / (ours.max() - ours.min())
        assert rank_correlation(ours, theirs) > 0.999
        # The library scales before it enlarges the map.
        assert np.abs(scaled - (theirs - theirs.min()) / (theirs.max() - theirs.min())).max() < 1e-4


def test_integrated_gradients_sum_to_the_difference_of_the_log_odds():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(294, 1))
    network[0].weight.data.mul_(8)
    images = (levels(3) * torch.linspace(0, 1, 32)).to(torch.uint8)
    pixels = images / 255
    starts = {
        "black": torch.zeros_like(pixels),
        "mean": pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels),
    }
    for baseline, start in starts.items():
        found = explain.maps(network, images, towards="fake", baseline=baseline)
        with torch.no_grad():
            change = (network(pixels) - network(start))[:, 0]
        assert found.notes == [""] * 3
        assert [values.sum() for values in found.values] == pytest.approx(change.tolist(), rel=0.01)
    short = explain.maps(network, images, towards="fake", baseline="black", steps=1, most_steps=1)
    assert any("misses the log-odds by" in note for note in short.notes)


def test_input_gradients_are_those_of_a_linear_detector():
    weights = torch.randn((1, 3 * 32 * 32), generator=torch.Generator().manual_seed(3))
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1, bias=False))
    network[1].weight.data.copy_(weights)
    found = explain.maps(network, levels(2), "input_gradients")
    assert found.values[0] == pytest.approx(weights.view(3, 32, 32).abs().amax(dim=0).numpy(), rel=1e-5)
    smooth = explain.maps(network, levels(2), "smoothgrad", samples=4)
    assert smooth.values[0] == pytest.approx(found.values[0], rel=1e-4)
    real = explain.maps(network, levels(2), "occlusion", window=8, stride=8, baseline="black", towards="real")
    lost = (weights.view(3, 32, 32) * levels(2)[0] / 255)[:, :8, :8].sum()
    assert real.values[0][3, 3] == pytest.approx(-float(lost), rel=1e-3)


@pytest.mark.parametrize("method", ["smoothgrad", "lime"])
def test_the_same_seed_gives_the_same_map_alone_and_in_a_batch(method):
    detector = Detector(nn.Sequential(nn.Conv2d(3, 2, 9), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    before = torch.get_rng_state()
    together = explain.maps(detector, levels(3), method, samples=20)
    alone = explain.maps(detector, levels(3)[1:2], method, samples=20)
    other = explain.maps(detector, levels(3)[1:2], method, samples=20, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(together.values[1], alone.values[0])
    assert not np.array_equal(other.values[0], alone.values[0])


def test_images_of_several_sizes_and_small_batches_give_the_same_maps(corner):
    images = [levels(1, side)[0] for side in (32, 40, 32)]
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    detector = Detector(network, input_size=24)
    found = explain.maps(detector, images, "grad_cam", batch_size=1)
    assert [values.shape for values in found.values] == [(32, 32), (40, 40), (32, 32)]
    again = explain.maps(detector, images, "grad_cam")
    for one, other in zip(found.values, again.values, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_module_of_the_user_stays_what_it_was():
    network = CornerNetwork().train()
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    explain.sanity(network, levels(6), [0, 1] * 3, "grad_cam")
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network.head.weight.grad, torch.ones_like(network.head.weight))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_lie_where_the_network_sees_the_image():
    ones = torch.ones(1, 4, 4)
    crop = Preprocessing((8, 8), crop="center")
    placed = crop.onto_image(ones, 12, 16)[0]
    expected = torch.zeros(12, 16)
    expected[2:10, 4:12] = 1
    assert torch.equal(placed, expected)
    assert torch.equal(crop.onto_image(ones, 4, 6), torch.ones(1, 4, 6))
    ramp = torch.linspace(0, 1, 8).expand(8, 8)[None]
    assert torch.equal(Preprocessing((8, 8)).onto_image(ramp, 8, 8), ramp)
    assert torch.equal(Preprocessing(None).onto_image(ramp, 8, 8), ramp)


def test_the_blur_of_large_images_is_that_of_a_gaussian_and_fast():
    ramp = torch.rand((1, 3, 24, 40), generator=torch.Generator().manual_seed(1))
    whole = vision.gaussian_blur(ramp, [13, 13], [3.0, 3.0])
    assert torch.allclose(blurred(ramp), whole, atol=1e-6)
    large = functional.interpolate(ramp, (768, 1280), mode="bilinear")
    clock = time.process_time()
    found = functional.interpolate(blurred(large), (24, 40), mode="area")
    assert time.process_time() - clock < 5  # A kernel of both sides at once takes minutes.
    assert (found - whole).abs().mean() < 0.01


def test_a_random_detector_fails_and_the_detector_it_was_made_of_passes():
    images, labels = block_images()
    detector = Detector(BlockNetwork(), name="block")
    right = explain.sanity(detector, images, labels, "input_gradients")
    assert right.trust == "ok"
    assert right.unchecked == ()
    assert right.gains.min() > 0
    random = randomised(detector, [*(images * 255).to(torch.uint8)], 5)
    wrong = explain.sanity(random, images, labels, "input_gradients")
    assert "like_random_weights" in wrong.flags
    assert "copies with random weights reach" in wrong.flags["like_random_weights"]


def test_maps_that_ignore_the_weights_and_maps_of_the_wrong_place_are_flagged(monkeypatch):
    images, labels = block_images()

    def edges(task):
        return TaskMaps((task.pixels - task.pixels.roll(1, 3)).abs().sum(dim=1))

    method = mapping.MapMethod(edges, "edges", needs_gradients=False, is_signed=False)
    monkeypatch.setitem(mapping.METHODS, "edges", method)
    found = explain.sanity(BlockNetwork(), images, labels, "edges")
    assert found.similarity == pytest.approx(1)
    assert set(found.flags) == {"ignores_weights", "unfaithful"}
    assert found.trust == "ignores_weights, unfaithful"


def test_checks_that_cannot_be_made_say_why():
    box = Detector(BlackBox(lambda pixels: pixels.mean(axis=(1, 2, 3))), name="box")
    few = explain.sanity(box, levels(3), None, "occlusion")
    assert [text.partition(": ")[0] for text in few.unchecked] == [
        "ignores_weights", "unfaithful", "like_random_weights",
    ]  # fmt: skip
    assert "the weights of the detector cannot be reached" in few.unchecked[0]
    assert "the test needs 5" in few.unchecked[1]


class NanGradient(nn.Module):
    def forward(self, pixels):
        return (pixels.mean(dim=(1, 2, 3)) * 0).sqrt() + pixels.mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("detector", "images", "method", "problem"),
    [
        (NanGradient(), levels(2), "input_gradients", "the map has values that are NaN or infinite"),
        (NanGradient(), levels(2, 1), "input_gradients", "an image of one pixel has no map"),
        (
            Detector(BlackBox(lambda pixels: pixels[:, 0, 0, 0] * 0 + 1)), levels(2), "occlusion",
            "the map is constant",
        ),
    ],
)  # fmt: skip
def test_maps_without_content_are_named(detector, images, method, problem):
    assert explain.maps(detector, images, method).problems == [problem] * 2


def test_wrong_input_gets_one_line(corner):
    box = Detector(BlackBox(lambda pixels: pixels.mean(axis=(1, 2, 3))), name="box")
    with pytest.raises(UserError, match="grad_cam needs gradients, and box has no gradients") as said:
        explain.maps(box, levels(1), "grad_cam")
    assert said.value.hint == "use occlusion or lime"
    with pytest.raises(UserError, match="corner has no layer 'bdy.0' for a map") as said:
        explain.maps(corner, levels(1), "grad_cam", layer="bdy.0")
    assert said.value.hint == "did you mean 'body.0'? layers: body.0, body.1, body"
    with pytest.raises(UserError, match="its output is not laid out over the image"):
        explain.maps(corner, levels(1), "grad_cam", layer="head")
    with pytest.raises(UserError, match="unknown method 'gradcam'") as said:
        explain.maps(corner, levels(1), "gradcam")
    assert said.value.hint == "did you mean 'grad_cam'?"
    with pytest.raises(UserError, match="occlusion has no option 'windw'"):
        explain.maps(corner, levels(1), "occlusion", windw=3)
    with pytest.raises(UserError, match="a window of 40 pixels"):
        explain.maps(corner, levels(1), "occlusion", window=40)
    with pytest.raises(UserError, match="unknown baseline 'grey'"):
        explain.maps(corner, levels(1), baseline="grey")
    with pytest.raises(UserError, match="towards='ai' is not a class"):
        explain.maps(corner, levels(1), towards="ai")
    with pytest.raises(UserError, match="no convolution 'body.1'") as said:
        explain.filters(corner, ["body.1"])
    assert "body.0" in said.value.hint


def test_filters_and_activations_are_those_of_the_network(corner):
    (found,) = explain.filters(corner)
    weights = corner.network.body[0].weight.detach()
    assert found.layer == "body.0"
    assert np.array_equal(found.weights, weights.numpy())
    scaled = found.normalised()
    assert scaled.min(axis=(2, 3)) == pytest.approx(0)
    assert scaled.max(axis=(2, 3)) == pytest.approx(1)
    (seen,) = explain.activations(corner, levels(2), ["body.1"])
    masked = torch.zeros(2, 3, 32, 32)
    masked[..., :CORNER, :CORNER] = (levels(2) / 255)[..., :CORNER, :CORNER]
    with torch.no_grad():
        assert seen.values == pytest.approx(corner.network.body(masked).numpy(), abs=1e-6)


def test_the_distribution_of_gradients_is_that_of_the_values(corner):
    images, labels = levels(8), [0, 0, 0, 0, 1, 1, 1, 1]
    found = explain.gradient_distribution(corner, images, labels)
    assert [(each.name, each.images) for each in found] == [("real", 4), ("fake", 4)]
    leaf = (images[4:] / 255).requires_grad_()
    logits = corner.network(leaf)
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), leaf)
    inside = found[1].place[:CORNER, :CORNER].sum() / found[1].place.sum()
    assert inside > 0.95
    assert found[1].shares.sum() == pytest.approx(1)
    # Three quarters of the pixels have no gradient; the upper quantile is that of the corner.
    assert found[1].quantiles[4] == pytest.approx(float(gradient.abs().quantile(0.95)), rel=0.15)


def test_the_hardest_mistakes_are_the_surest_wrong_verdicts():
    bright = Detector(BlackBox(lambda pixels: 20 * (pixels.mean(axis=(1, 2, 3)) - 0.5)), name="bright")
    greys = [10, 250, 200, 60, 90, 240, 160]
    images = torch.stack([torch.full((3, 8, 8), grey, dtype=torch.uint8) for grey in greys])
    found = explain.worst_mistakes(bright, (images, [0, 0, 0, 1, 1, 1, 0]), count=2)
    assert [int(each.levels[0, 0, 0]) for each in found.false_positives] == [250, 200]
    assert [int(each.levels[0, 0, 0]) for each in found.false_negatives] == [60, 90]
    assert (found.positives, found.negatives, found.images) == (3, 2, 7)


def test_the_command_writes_a_page_and_names_what_it_leaves_out(
    tmp_path, image_folder, weights, cli, undrawn
):
    done = cli(
        "explain", weights, image_folder, "--arch", "lenet5", "--split", "all", "--limit", 12, "--images", 1,
        "--method", "input_gradients", "--output", tmp_path / "page", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    content = json.loads(done.out)
    page = (tmp_path / "page" / "explanation.html").read_text(encoding="utf-8")
    assert content["tables"]["sanity"][0]["method"] == "input_gradients"
    assert {"maps", "sanity", "gradients", "filters-1", "activations-1", "hardest"} <= {
        file.stem for file in (tmp_path / "page" / "figures").glob("*.png")
    }
    assert "robust-aigen explain" in page
    assert page.count("data:image/svg+xml") >= 6
    shared = cli(
        "explain", weights, image_folder, "--arch", "lenet5", "--split", "all", "--limit", 12, "--images", 2,
        "--part", "activations", "--part", "hardest", "--no-pictures", "--output", tmp_path / "shared",
    )  # fmt: skip
    assert shared.code == 0, shared.err
    assert "activation maps show the images and are left out" in shared.out
    assert not list((tmp_path / "shared" / "figures").iterdir())


def test_single_pictures_and_wrong_arguments(tmp_path, image_folder, weights, cli, undrawn):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    picture = image_folder / "real" / "00.png"
    call = ("explain", weights, "--arch", "lenet5", "--method", "input_gradients", "--part", "hardest")
    done = cli(*call, picture, broken, "--output", tmp_path / "page")
    assert done.code == 0, done.err
    assert "broken.png" in done.out
    assert "the hardest mistakes need data with labels" in done.out
    alone = cli(*call, broken, "--output", tmp_path / "other")
    assert alone.code == 2
    assert "no picture can be read" in alone.err
    assert cli(*call, picture, "--part", "map").err.startswith("error: unknown part 'map'")
    assert cli(*call, picture, "--method", "gradcam").err.startswith("error: unknown method 'gradcam'")
    assert "--limit does not apply to single pictures" in cli(*call, picture, "--limit", 3).err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    kept = cli(*call, picture, "--output", tmp_path / "mine")
    assert kept.code == 2
    assert "has files that are no explanation" in kept.err
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_page_shows_names_as_text(tmp_path):
    page = Page("<b>x</b>", [("Detector", "<script>")], [PagePart("P", ["<i>"])], ["<u>"], "robust-aigen <s>")
    text = (page.write(tmp_path / "page") / "explanation.html").read_text()
    assert not any(tag in text for tag in ("<b>", "<script>\n<", "<i>", "<u>", "<s>"))


DOCUMENT = (REPOSITORY / "docs" / "EXPLAIN.md").read_text(encoding="utf-8")


def test_the_python_of_the_document_runs(capsys):
    for block in re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL):
        exec(compile(block, "EXPLAIN", "exec"), {})
    assert "(32, 32)" in capsys.readouterr().out


def test_the_commands_of_the_document_run(tmp_path, image_folder, cli, monkeypatch, undrawn):
    """On fewer images and with fewer steps; the commands for runs are in test_explain_run.py."""
    monkeypatch.setattr("robustbench_aigen.explain.detector_page._CHECKED", 2)
    monkeypatch.setattr("robustbench_aigen.explain.detector_page.affordable_steps", lambda detector: 32)
    monkeypatch.chdir(tmp_path)
    image_folder.rename(tmp_path / "my_images")
    lines = re.findall(r"^\$ robust-aigen (explain (?!results/).*)$", DOCUMENT, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        fewer = [] if "my_images" in line else ["--limit", 40]
        chosen = [] if "--part" in line or "--no-pictures" in line else ["--images", 2]
        done = cli(*shlex.split(line), *fewer, *chosen)
        assert done.code == 0, done.err
    written = tmp_path / "results" / "explanations" / "minigen_cifake_cnn"
    assert (written / "explanation.html").is_file()
    shared = (tmp_path / "shared_page" / "explanation.html").read_text(encoding="utf-8")
    assert "The images are left out." in shared
