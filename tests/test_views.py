"""What a network sees of an image: crops, five crops, tiles, padding; against torchvision, numpy and plain loops."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import center_crop, five_crop

from robustbench_aigen import Detector, ImageData, Run, attacks, evaluate, load_detector
from robustbench_aigen.detectors import contract
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.preprocessing_settings import describe_preprocessing
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.joined import join_runs

SIZE = 16


class Small(nn.Module):
    """One logit from a convolution and a pool: different for every view."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)
        self.largest = 0

    def forward(self, images):
        self.largest = max(self.largest, len(images))
        return 30 * self.head(self.convolution(images).relu().mean(dim=(2, 3)))


def scores_of(network, views):
    """The probability of fake of each view: V×N."""
    with torch.no_grad():
        return torch.stack([network(view)[:, 0].sigmoid() for view in views]).double()


def pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def score(detector, images):
    with torch.no_grad():
        return detector(images).softmax(dim=1)[:, 1].double()


def test_the_centre_crop_is_torchvisions():
    for height, width in ((20, 33), (16, 16), (21, 17), (10, 40), (9, 7)):
        images = pictures(2, 3, height, width)
        own = Preprocessing((SIZE, SIZE), crop="center")
        assert torch.equal(own.fit(images), center_crop(images, [SIZE, SIZE]))


def test_five_crops_are_torchvisions():
    network, images = Small().eval(), pictures(3, 3, 25, 38)
    detector = Detector(network, input_size=SIZE, crop="five")
    views = five_crop(images, [SIZE, SIZE])
    assert torch.allclose(score(detector, images), scores_of(network, views).mean(dim=0), atol=1e-6)


def tiles_of(images, stride):
    """Every tile of a grid, and those that end with the image."""
    height, width = images.shape[-2:]
    tops = sorted({*range(0, height - SIZE, stride), height - SIZE})
    lefts = sorted({*range(0, width - SIZE, stride), width - SIZE})
    return [images[..., top : top + SIZE, left : left + SIZE] for top in tops for left in lefts]


@pytest.mark.parametrize(("combine", "count"), [("mean_score", None), ("max_score", 1), ("top3", 3)])
def test_tiles_cover_the_image_and_are_combined(combine, count):
    network, images = Small().eval(), pictures(2, 3, 40, 37)
    detector = Detector(network, input_size=SIZE, crop="tiles", stride=10, combine=combine)
    views = tiles_of(images, 10)
    assert len(views) == 4 * 4
    seen = torch.zeros(40, 37)
    for window in detector.preprocessing.windows(40, 37):
        seen[window.top : window.top + SIZE, window.left : window.left + SIZE] += 1
    assert seen.min() >= 1
    found = scores_of(network, views).sort(dim=0, descending=True).values
    assert torch.allclose(score(detector, images), found[:count].mean(dim=0), atol=1e-6)


def test_the_mean_of_logits_is_not_that_of_scores():
    network, images = Small().eval(), pictures(2, 3, 40, 37)
    logits = torch.stack([network(view)[:, 0] for view in tiles_of(images, SIZE)]).mean(dim=0)
    detector = Detector(network, input_size=SIZE, crop="tiles", combine="mean_logit")
    assert torch.allclose(score(detector, images), logits.sigmoid().double(), atol=1e-6)


@pytest.mark.parametrize("fake_index", [0, 1])
def test_the_highest_score_is_that_of_fake_whichever_output_means_it(fake_index):
    network, images = Small().eval(), pictures(2, 3, 40, 37)
    found = scores_of(network, tiles_of(images, SIZE))
    wanted = found.max(dim=0).values if fake_index == 1 else (1 - found).max(dim=0).values
    detector = Detector(network, input_size=SIZE, crop="tiles", combine="max_score", fake_index=fake_index)
    assert torch.allclose(score(detector, images), wanted, atol=1e-6)


@pytest.mark.parametrize("crop", ["five", "tiles"])
def test_views_stream_with_the_same_gradient(crop, monkeypatch):
    network, images = Small().eval(), pictures(2, 3, 60, 61)
    detector = Detector(network, input_size=SIZE, crop=crop)

    def answer():
        pixels = images.clone().requires_grad_()
        logits = detector(pixels)
        return logits, torch.autograd.grad(logits[:, 1].sum(), pixels)[0]

    network.largest = 0
    whole, gradient = answer()
    views = len(detector.preprocessing.windows(60, 61))
    assert network.largest == 2 * views
    monkeypatch.setattr(contract, "_VIEWS_AT_ONCE", 6 * SIZE * SIZE)
    network.largest = 0
    streamed, again = answer()
    assert network.largest == 6
    assert torch.allclose(whole, streamed, atol=1e-6)
    assert torch.allclose(gradient, again, atol=1e-6)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("crop", "stride"), [("center", None), ("five", None), ("tiles", 8)])
def test_images_of_several_sizes_in_one_batch(crop, stride):
    detector = Detector(Small().eval(), input_size=SIZE, crop=crop, stride=stride, pad="reflect")
    sizes = [(40, 37), (20, 50), (11, 16), (16, 16)]
    batch = torch.zeros(4, 3, 40, 50)
    alone = []
    for place, (height, width) in enumerate(sizes):
        image = pictures(3, height, width, seed=place)
        batch[place, :, :height, :width] = image
        alone.append(detector(image[None]))
    together = detector(batch, torch.tensor(sizes))
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("side", [3, 9, 16, 1])
def test_reflected_padding_is_numpys(side):
    images = pictures(1, 3, side, 30)
    own = Preprocessing((SIZE, SIZE), crop="center", pad="reflect")
    missing = SIZE - side
    edges = ((0, 0), (0, 0), (missing // 2, (missing + 1) // 2), (0, 0))
    wanted = torch.from_numpy(np.pad(images.numpy(), edges, mode="reflect"))
    assert torch.equal(own.resized(images), wanted)


def test_a_grey_level_surrounds_small_images():
    framed = Preprocessing((SIZE, SIZE), crop="center", pad=0.5).fit(pictures(1, 3, 4, 4))
    assert (framed == 0.5).sum() == 3 * (SIZE * SIZE - 16)


def test_a_resize_comes_before_the_crops():
    network = Small().eval()
    images = pictures(2, 3, 64, 80)
    detector = Detector(network, input_size=SIZE, resize_to=24, crop="five")
    resized = nn.functional.interpolate(images, (24, 30), mode="bilinear", antialias=True)
    wanted = scores_of(network, five_crop(resized, [SIZE, SIZE])).mean(dim=0)
    assert torch.allclose(score(detector, images), wanted, atol=1e-6)


def test_what_does_not_go_together_is_one_line():
    network = Small()
    for settings, said in [
        ({"crop": "five"}, "needs input_size"),
        ({"input_size": 8, "stride": 4}, "add crop: tiles"),
        ({"input_size": 8, "crop": "tiles", "stride": 9}, "leaves gaps"),
        ({"input_size": 8, "combine": "top3"}, "combines several views"),
        ({"input_size": 8, "pad": "reflect"}, "nothing is cropped"),
        ({"input_size": 8, "crop": "six"}, "crop"),
        ({"input_size": 8, "crop": "five", "combine": "top0"}, "topK"),
        ({"input_size": 8, "crop": "center", "pad": 128}, "0 to 1"),
        ({"input_size": 8, "crop": "none"}, "does not go with input_size"),
    ]:
        with pytest.raises(UserError, match=said):
            Detector(network, **settings)
    assert Detector(network, crop="none").preprocessing.crop is None


def test_a_shipped_detector_takes_another_crop(tmp_path):
    plain = load_detector("minigen/lenet5")
    tiled = load_detector({"id": "minigen/lenet5", "crop": "tiles", "stride": 16, "name": "tiled"})
    images = pictures(2, 3, 32, 48)
    wanted = torch.stack([score(plain, images[..., :32]), score(plain, images[..., 16:])]).mean(dim=0)
    assert torch.allclose(score(tiled, images), wanted, atol=1e-6)
    assert describe_preprocessing(tiled.preprocessing).startswith("tiles 32×32 every 16×16 (mean score)")
    with pytest.raises(UserError, match="only 'name', 'wrap' and"):
        load_detector({"id": "minigen/lenet5", "fake_index": 0})


def test_a_run_counts_the_images_that_are_smaller_than_the_crop(tmp_path):
    paths = []
    for place, side in enumerate((40, 10, 12, 33)):
        paths.append(tmp_path / f"{place}.png")
        levels = (pictures(side, side, 3, seed=place) * 255).byte().numpy()
        Image.fromarray(levels).save(paths[-1])
    data = ImageData.from_images(paths, [0, 1, 0, 1])
    network = Small().eval()
    for pad, count in ((None, 1), ("reflect", 0), (0, 0)):
        detector = Detector(network, input_size=SIZE, crop="center", pad=pad)
        run = evaluate(detector, data)
        said = [notice for notice in run.notices if "smaller than the crop" in notice]
        assert len(said) == count
        if said:
            assert "2 of 4 images are smaller than the crop of 16×16 and padded with black" in said[0]
            with pytest.warns(UserWarning, match="2 of 4 images are smaller than the crop of 16×16"):
                detector.scores(paths)


def test_predict_counts_the_images_that_are_smaller_than_the_crop(tmp_path, cli):
    for side in (40, 10):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{side}.png")
    said = cli("predict", tmp_path, "--detector", "{id: minigen/lenet5, crop: center}", "--json")
    texts = [notice["text"] for notice in json.loads(said.out)["notices"]]
    assert sum("1 of 2 images is smaller than the crop of 32×32" in text for text in texts) == 1


def test_an_attack_through_tiles_stays_in_its_budget_and_lowers_the_score():
    detector = Detector(Small().eval(), input_size=SIZE, crop="tiles", combine="mean_score")
    images = (pictures(3, 3, 40, 40) * 255).byte()
    labels = 1 - detector.predict(images)  # Wrong ones stay wrong; the other way round is attacked.
    result = attacks.pgd(eps=8 / 255, steps=5)(detector, images, 1 - labels)
    assert (result.linf <= 8 / 255 + 1e-6).all()
    margin = (result.score - result.clean_score) * (1 - 2 * (1 - labels).float())
    assert (margin > 0).all()


def test_a_users_module_can_be_differentiated_after_it_was_given_back(monkeypatch):
    """The second pass over the views comes with the backward pass."""
    monkeypatch.setattr(contract, "_VIEWS_AT_ONCE", 2 * SIZE * SIZE)
    network = Small()
    detector = Detector(network, input_size=SIZE, crop="five")
    pixels = pictures(2, 3, 40, 40).requires_grad_()
    with borrowed(detector):
        logits = detector(pixels)
    assert network.training
    gradient = torch.autograd.grad(logits[:, 1].sum(), pixels)[0]
    assert gradient.abs().sum() > 0
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_scenario_changes_the_crop_of_a_card(tmp_path):
    weights = tmp_path / "mine.safetensors"
    shipped = load_detector("minigen/lenet5")
    save_file(shipped.network.state_dict(), weights)
    card = {
        "arch": "lenet5", "mean": [0.5] * 3, "std": [0.5] * 3, "input_size": 32, "crop": "tiles", "stride": 16,
        "combine": "top2", "pad": 0.5, "fake_index": 1,
    }  # fmt: skip
    weights.with_suffix(".json").write_text(json.dumps(card))
    assert load_detector(weights).preprocessing.stride == (16, 16)
    centre = load_detector({"path": str(weights), "crop": "center"}).preprocessing
    assert (centre.crop, centre.stride, centre.combine, centre.pad) == ("center", None, "mean_score", 0.5)
    assert load_detector({"path": str(weights), "crop": "five"}).preprocessing.combine == "top2"


def test_two_crops_of_one_detector_are_two_detectors_of_a_joined_report(tmp_path):
    paths = []
    for place in range(4):
        paths.append(tmp_path / f"{place}.png")
        Image.fromarray((pictures(40, 40, 3, seed=place) * 255).byte().numpy()).save(paths[-1])
    data = ImageData.from_images(paths, [0, 1, 0, 1])
    runs = [
        evaluate(load_detector({"id": "minigen/lenet5", **crop}), data, name=name)
        for name, crop in (("resized", {}), ("cropped", {"crop": "center"}))
    ]
    assert len(join_runs(runs).detectors) == 2


def test_a_run_notes_the_preprocessing_of_the_members_of_an_ensemble(tmp_path):
    images = torch.randint(
        0, 256, (6, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    data, runs = (images, [0, 1] * 3), []
    for second in ("center", "five"):
        members = [
            Detector(Small(), input_size=SIZE, crop=crop, name=f"net_{crop}") for crop in ("tiles", second)
        ]
        runs.append(evaluate(Ensemble(members, "mean_score", name="both"), data, trust="off", name=second))
    entry = runs[1].info.detectors[0]
    assert [(each.name, each.preprocessing["crop"]) for each in entry.members] == [
        ("net_tiles", "tiles"),
        ("net_five", "five"),
    ]
    run = Run.load(runs[1].save(tmp_path / "run"))
    assert run.info.detectors == runs[1].info.detectors
    report = (run.report() / "report.md").read_text()
    assert "net\\_tiles in both: " in report
    assert "net\\_five in both: " in report
    joined = join_runs(runs)
    assert len({names["both"] for names in joined.detectors}) == 2, "other crops are another detector"
