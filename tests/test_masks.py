"""Masks: an attack or a perturbation changes the pixels inside alone, and everything outside stays as it was."""

import json

import numpy as np
import pytest
import torch
from attacked import levels, score_of
from PIL import Image, ImageFont
from test_native_attacks import silent, stage, task, untrained

from robustbench_aigen import ImageData, UserError, attacks, evaluate, perturbations
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.documents.document import PartError
from robustbench_aigen.numerics.masks import masks_of
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.stages.recipe_files import known_recipes
from robustbench_aigen.trust.checks.second_attacks import black_box, more_steps
from robustbench_aigen.views.tables.areas import accuracy_by_area

NATIVE = [
    (recipe.name, norm)
    for recipe in known_recipes("attack")
    if recipe.backends.native is not None and not recipe.needs_surrogate and not recipe.whole
    for norm in recipe.norms
    if recipe.backends.has("native", norm)
]
FEW = {"square": 30, "simba": 60, "rotation_translation": 20, "cw": 5}


def mask(text: str, height: int = 32, width: int = 32, count: int = 1) -> torch.Tensor:
    names = tuple(f"picture{number}" for number in range(count))
    return masks_of(text, (height, width), SampleStreams(42, names, 0))


def test_shapes_have_the_pixels_that_their_words_say():
    box = torch.zeros(20, 40, dtype=torch.bool)
    box[5:10, 0:20] = True
    assert torch.equal(mask("box@0,0.25,0.5,0.5", 20, 40)[0, 0], box)
    border = mask("border@0.1", 20, 40)[0, 0]
    assert int(border.sum()) == 20 * 40 - 16 * 36
    assert not border[2:18, 2:38].any()
    windows = mask("area@0.25", 20, 40, count=50)
    assert (windows.flatten(1).sum(dim=1) == 10 * 20).all()
    places = {tuple(window[0].nonzero()[0].tolist()) for window in windows}
    assert len(places) > 20
    letters = mask("text@robust", 100, 200)[0, 0]
    rows, columns = letters.nonzero().unbind(dim=1)
    assert columns.max() - columns.min() <= 0.9 * 200 + 2
    assert abs(float(columns.min() + columns.max()) / 2 - 100) < 5
    assert rows.max() < 100
    assert ImageFont.load_default(25).getlength("robust") < 180
    assert rows.max() - rows.min() > 15


def test_the_place_of_a_window_is_the_images_own():
    together = mask("area@0.1", count=3)
    alone = masks_of("area@0.1", (32, 32), SampleStreams(42, ("picture2",), 0))
    assert torch.equal(together[2], alone[0])


@pytest.mark.parametrize(("name", "norm"), NATIVE)
@pytest.mark.parametrize("shape", ["area@0.1", "border@0.05"])
def test_every_native_attack_stays_inside(name, norm, shape):
    detector = untrained()
    given = {"norm": norm, "mask": shape} | ({"steps": FEW[name]} if name in FEW else {})
    given |= {"steps": 3} if name not in FEW and "steps" in known(name).params else {}
    given |= {"queries": 10, "restarts": 1} if name == "auto" else {}
    made = task(detector, stage(name, **given), levels=levels(4))
    after = run_attack(stage(name, **given), made, silent).levels
    changed = (after != made.levels).any(dim=1, keepdim=True)
    inside = mask(shape, count=4)
    assert not (changed & ~inside).any()
    # A search for the smallest perturbation may find none in a few steps.
    assert known(name).minimum_norm or (changed & inside).any()


def known(name: str):
    return next(recipe for recipe in known_recipes("attack") if recipe.name == name)


def test_an_attack_in_a_mask_is_the_attack_on_the_masked_detector():
    """PGD from the image on pixels inside is PGD on a detector that sees the clean pixels outside."""
    detector, images = untrained(), levels(1)
    inside = mask("border@0.2")
    clean = images.float() / 255

    def composed(pixels):
        return detector(torch.where(inside, pixels, clean))

    labels = torch.tensor([1])
    bound = stage("bim", eps=8 / 255, steps=4, lookahead=False)
    whole = torch.nn.Module()
    whole.forward = composed
    free = run_attack(bound, task(whole, bound, levels=images, labels=labels), silent).levels
    assert (free != images).any()
    masked = stage("bim", eps=8 / 255, steps=4, lookahead=False, mask="border@0.2")
    found = run_attack(masked, task(detector, masked, levels=images, labels=labels), silent).levels
    assert torch.equal(torch.where(inside, free, images), found)
    assert (found != images).any()


def test_images_of_several_sizes_have_masks_of_their_own_sizes():
    images = [levels(1, 32, 32)[0], levels(1, 30, 36)[0]]
    result = attacks.pgd(eps=8 / 255, steps=2, mask="border@0.1")(untrained(), images, [0, 1], ids=["a", "b"])
    for before, after in zip(images, result.images, strict=True):
        changed = ((after * 255).round().byte() != before).any(dim=0)
        inside = masks_of("border@0.1", before.shape[1:], SampleStreams(42, ("a",), 0))[0, 0]
        assert not (changed & ~inside).any()
        assert changed.any()


def test_a_perturbation_and_its_stand_in_stay_inside():
    images = levels(3)
    noise = perturbations.gaussian_noise(sigma=0.2, mask="box@0.5,0,1,1")
    changed = (noise(images) != images).any(dim=1)
    assert changed[:, :, 16:].float().mean() > 0.9
    assert not changed[:, :, :16].any()
    pixels = (images.float() / 255).requires_grad_()
    blur = perturbations.gaussian_blur(sigma=2, mask="box@0.5,0,1,1")
    smooth = blur.differentiable(pixels)
    assert torch.equal(smooth[:, :, :, :16], pixels[:, :, :, :16])
    assert (smooth - blur(images).float() / 255).abs().max() < 2 / 255


def test_a_mask_file_and_its_mistakes(tmp_path):
    picture = np.zeros((32, 32), np.uint8)
    picture[4:8, 6:10] = 255
    Image.fromarray(picture).save(tmp_path / "mask.png")
    Image.fromarray(picture * 0).save(tmp_path / "empty.png")
    inside = mask(f"file@{tmp_path}/mask.png")[0, 0]
    assert inside.nonzero().tolist() == [[row, column] for row in range(4, 8) for column in range(6, 10)]
    for name, size, expected in (
        ("empty.png", 32, "has no white pixel"),
        ("missing.png", 32, "cannot be read: No such file"),
        ("mask.png", 40, "has 32×32 pixels, and an image has 40×32"),
    ):
        with pytest.raises(UserError, match=expected):
            mask(f"file@{tmp_path}/{name}", size)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("area@0", "outside 0 to 1"),
        ("area@nan", "must be a mask such as"),
        ("area@", "must be a mask such as area@0.1"),
        ("half", "must be a mask such as area@0.1"),
        ("box@0.5,0,0.5,1", "empty box or leaves the image"),
        ("box@0,0,2,1", "empty box or leaves the image"),
        ("border@0.6", "outside 0 to 0.5"),
        ("box@1,2", "must be a mask such as"),
        (0.1, "must be a mask such as"),
    ],
)
def test_a_mask_that_makes_no_sense_is_refused_where_it_is_written(given, expected):
    with pytest.raises(PartError, match=expected):
        attacks.pgd(mask=given)


def test_attacks_of_libraries_and_stages_of_chains_have_no_mask():
    with pytest.raises(PartError, match="pgd through torchattacks cannot be restricted to a mask"):
        attacks.pgd(backend="torchattacks", mask="area@0.1")
    with pytest.raises(PartError, match="onepixel through torchattacks cannot be restricted to a mask"):
        attacks.onepixel(mask="area@0.1")


def run_of(tmp_path, cli, pipelines: str, data: str = "{source: minigen, limit: 4}"):
    (tmp_path / "own.yaml").write_text(
        f"version: 1\nname: own\ndata: {data}\ndetectors: [minigen/lenet5]\ntrust: off\n"
        f"pipelines:\n  one: [{pipelines}]\n"
    )
    return cli("validate", str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        (
            "{perturb: resize, scale: 0.5, back: false, mask: area@0.1}",
            "so it cannot be restricted to a mask",
        ),
        ("{attack: pgd, mask: file@small.png}", "has 8×8 pixels, and"),
        ("{attack: pgd, mask: file@none.png}", "cannot be read"),
        (
            "{attack: pgd, through: [{perturb: center_crop, mask: area@0.1}]}",
            "cannot be restricted to a mask",
        ),
    ],
)
def test_validate_finds_a_mask_that_does_not_fit(tmp_path, cli, pipeline, expected):
    Image.new("L", (8, 8), 255).save(tmp_path / "small.png")
    outcome = run_of(tmp_path, cli, pipeline)
    assert outcome.code == 2
    assert expected in outcome.err
    assert len(outcome.err.splitlines()) <= 3


def test_second_attacks_of_trust_keep_the_mask():
    bound = attacks.pgd(eps=4 / 255, mask="area@0.2")
    assert black_box(bound, quick=True).mask == "area@0.2"
    assert more_steps(bound, quick=True).mask == "area@0.2"
    assert more_steps(attacks.auto(mask="border@0.1"), quick=True).mask == "border@0.1"


def colours(count: int) -> tuple[torch.Tensor, list[int]]:
    """Photographs are black, fakes white."""
    labels = [0, 1] * count
    return torch.stack([torch.full((3, 20, 20), 255 * label, dtype=torch.uint8) for label in labels]), labels


class Brightest(torch.nn.Module):
    """Calls an image fake whose mean is above a tenth."""

    def forward(self, pixels):
        return torch.stack([torch.zeros(len(pixels)), 50 * (pixels.mean(dim=(1, 2, 3)) - 0.1)], dim=1)


def test_photographs_with_generated_regions_and_the_accuracy_by_area(tmp_path):
    images, labels = colours(3)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = tmp_path / "data" / ("real", "fake")[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    data = ImageData.open(
        {"source": str(tmp_path / "data"), "mix": ["area@0.04", "box@0,0,0.5,0.5"]}, split="all"
    )
    assert [sample.label for sample in data.samples] == [0, 0, 0, *[1] * 6]
    assert sorted({sample.generated_area for sample in data.samples}) == pytest.approx([0, 0.04, 0.25])
    pipelines = {"noise": perturbations.gaussian_noise(sigma=0.001, mask="border@0.05")}
    run = evaluate(Brightest(), data=data, pipelines=pipelines)
    clean = run.records[run.records["pipeline"] == "clean"]
    right = clean.groupby(clean["generated_area"].astype(float).round(2))["correct"].mean().to_dict()
    assert right == pytest.approx({0.0: 1, 0.04: 0, 0.25: 1})
    table = accuracy_by_area(join_runs([run])).frame()
    shown = table[(table["pipeline"] == "clean")][["area", "images", "accuracy"]].to_numpy().tolist()
    assert shown == [["0 %", "3", "100.0"], ["2–5 %", "3", "0.0"], ["20–35 %", "3", "100.0"]]
    masked = table[table["part"] == "may change"]
    assert masked[["pipeline", "area", "images"]].to_numpy().tolist() == [["noise", "10–20 %", "9"]]
    assert run.records.loc[run.records["pipeline"] == "noise", "masked_area"].unique() == pytest.approx(
        [0.19]
    )


def test_mixing_needs_both_classes_and_one_size(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    Image.new("RGB", (24, 20)).save(tmp_path / "b.png")
    rows = "path,label\na.png,real\nb.png,fake\n"
    (tmp_path / "list.csv").write_text(rows)
    given = {"source": str(tmp_path / "list.csv"), "mix": "area@0.1"}
    with pytest.raises(UserError, match=r"a\.png has 20×20 pixels and b\.png has 20×24"):
        ImageData.open(given, split="all")
    (tmp_path / "list.csv").write_text(rows.replace("fake", "real"))
    with pytest.raises(UserError, match="no image is AI-generated"):
        ImageData.open(given, split="all")


def test_a_sweep_over_masks_names_its_pipelines_and_records_travel(tmp_path, cli):
    (tmp_path / "own.yaml").write_text(
        "version: 1\nname: own\ndata: {source: minigen, limit: 4}\ndetectors: [minigen/lenet5]\ntrust: off\n"
        "pipelines:\n  pgd: [{attack: fgsm, eps: 8/255, mask: [area@0.05, 'box@0,0,1,1']}]\n"
    )
    outcome = cli("run", str(tmp_path / "own.yaml"), "--output", str(tmp_path / "out"))
    assert outcome.code == 0, outcome.err
    stages = json.loads((tmp_path / "out/own/latest/run.json").read_text())["pipelines"]
    assert [each["name"] for each in stages[1:]] == ["pgd[mask=area@0.05]", "pgd[mask=box@0,0,1,1]"]
    assert stages[1]["stages"][0]["mask"] == "area@0.05"


def test_a_sample_without_a_region_has_no_area():
    assert Sample("a", 0, "real", None).generated_area is None


def test_a_mask_of_everything_gives_the_images_without_a_mask():
    detector, images = untrained(), levels(4)
    plain, masked = (stage("pgd", eps=4 / 255, **given) for given in ({}, {"mask": "box@0,0,1,1"}))
    found = [run_attack(each, task(detector, each, levels=images), silent).levels for each in (plain, masked)]
    assert torch.equal(*found)
    assert not torch.equal(score_of(detector, found[0]), score_of(detector, images))


def test_pipelines_that_differ_in_the_mask_alone_do_not_share_images():
    images = levels(6)
    data = ImageData.from_tensors(images, [0, 1] * 3)
    noise = {
        "left": perturbations.gaussian_noise(sigma=0.3, mask="box@0,0,0.5,1"),
        "right": perturbations.gaussian_noise(sigma=0.3, mask="box@0.5,0,1,1"),
    }
    run = evaluate(untrained(), data, noise)
    scores = {name: rows["log_odds"].tolist() for name, rows in run.records.groupby("pipeline")}
    assert scores["left"] != scores["right"] != scores["clean"]
