"""The Python interface: detectors, images and attacks in memory, and what a caller's objects look like afterwards."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import robustbench_aigen
from robustbench_aigen import (
    Detector,
    ImageData,
    Run,
    Scenario,
    UserError,
    attacks,
    evaluate,
    interop,
    load_detector,
    perturbations,
)

COUNT = 16
LABELS = [place % 2 for place in range(COUNT)]


@pytest.fixture
def images():
    return torch.randint(0, 256, (COUNT, 3, 32, 32), generator=torch.Generator().manual_seed(3)).to(
        torch.uint8
    )


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def state_of(module):
    return (
        [each.training for each in module.modules()],
        [(each.requires_grad, each.grad is None) for each in module.parameters()],
        {name: value.clone() for name, value in module.state_dict().items()},
    )


def is_unchanged(module, before):
    modes, flags, values = state_of(module)
    same = all(torch.equal(values[name], value) for name, value in before[2].items())
    return modes == before[0] and flags == before[1] and same


def test_every_public_name_is_there_and_completes():
    for name in robustbench_aigen.__all__:
        assert getattr(robustbench_aigen, name) is not None
        assert name in dir(robustbench_aigen)
    assert {"pgd", "auto", "create"} <= {*dir(attacks)}
    assert {"jpeg", "resize", "create"} <= {*dir(perturbations)}


def test_stages_are_made_without_torch_or_pandas():
    code = (
        "import sys\nfrom robustbench_aigen import Scenario, attacks\nattacks.pgd(eps=4/255)\n"
        "Scenario.from_yaml('pgd_eps4')\nassert not {'torch', 'pandas'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stage_says_what_is_wrong_where_it_is_made():
    with pytest.raises(UserError, match="pgd has no parameter 'esp'"):
        attacks.pgd(esp=1)
    with pytest.raises(UserError, match="steps must be at least 1"):
        attacks.pgd(steps=[10, 0])
    with pytest.raises(UserError, match="list of values is empty"):
        perturbations.jpeg(quality=[])
    with pytest.raises(AttributeError, match="did you mean 'pgd'"):
        attacks.pdg  # noqa: B018


def test_stages_pickle_and_are_what_yaml_makes():
    made = attacks.pgd(eps="4/255", through=[perturbations.jpeg(quality=75)])
    assert pickle.loads(pickle.dumps(made)) == made
    scenario = Scenario(
        name="s", data={"source": "minigen"}, detectors=["minigen/lenet5"], pipelines={"p": made}
    )
    assert scenario.pipelines["p"] == [made.written()]
    assert Scenario.from_dict(scenario.to_dict()) == scenario


def test_evaluate_takes_the_depth_of_the_trust_checks_and_the_images_of_ssim(module, images):
    data = (images, LABELS)
    stages = [attacks.pgd(eps="1/255", steps=2), perturbations.jpeg(quality=75)]
    run = evaluate(module, data, stages, trust="off", ssim="off")
    assert {left.reason for left in run.info.trust.unchecked} == {"trust: off"}
    assert run.records["ssim"].isna().all()
    measured = evaluate(module, data, stages, trust="off", ssim="all").records
    assert measured["ssim"][measured["pipeline"].str.startswith("jpeg")].notna().all()
    with pytest.raises(UserError, match="trust: must be 'quick', 'full' or 'off'"):
        evaluate(module, data, trust="deep")


def test_runs_on_other_images_are_gated_only_unpaired(module, images):
    runs = [evaluate(module, (images.roll(shift, 3), LABELS), trust="off") for shift in (0, 5)]
    with pytest.raises(UserError, match="unpaired"):
        runs[0].gate(runs[1])
    assert any(notice.startswith("unpaired") for notice in runs[0].gate(runs[1], unpaired=True).notices)


def test_evaluate_takes_a_module_and_leaves_it_as_it_was(module, images):
    module.train()
    before = state_of(module)
    run = evaluate(
        module,
        (images, LABELS),
        {
            "pgd": attacks.pgd(eps=["1/255", "4/255"], steps=3),
            "upload": [attacks.pgd(eps=4 / 255, steps=2), perturbations.jpeg(quality=[95, 75])],
            "aware": attacks.pgd(eps=4 / 255, steps=2, through=[perturbations.jpeg(quality=75)]),
        },
    )
    assert is_unchanged(module, before)
    module.eval()
    with torch.no_grad():
        logits = module(images.float() / 255)
    expected = ((logits[:, 1] >= logits[:, 0]).long() == torch.tensor(LABELS)).float().mean()
    assert run.accuracy() == pytest.approx(float(expected))
    assert run.pipelines[1:3] == ["pgd[eps=1/255]", "pgd[eps=4/255]"]
    assert run.worst_case("pgd") <= min(run.accuracy(name) for name in run.pipelines[1:3])
    assert len(pickle.loads(pickle.dumps(run)).records) == len(run.records)
    assert run.folder is None
    with pytest.raises(UserError, match="no pipeline 'pdg'"):
        run.accuracy("pdg")


def test_a_module_that_was_trained_further_is_evaluated_anew(module, images):
    detector = Detector(module)
    first = evaluate(detector, (images, LABELS)).records["score"].to_numpy()
    with torch.no_grad():
        module[-1].bias[1] += 3
    second = evaluate(detector, (images, LABELS)).records["score"].to_numpy()
    assert (second > first).all()
    result = attacks.fgsm(eps=1 / 255)(detector, images, LABELS)
    assert torch.allclose(result.clean_score, torch.from_numpy(second))


def test_evaluate_in_memory_is_a_run_on_disk(tmp_path, module, images):
    """The same images as tensors, and as PNG files in folders."""
    for place, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        folder = tmp_path / "images" / ("fake" if label else "real")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{place:02}.png")
    pipelines = {"fgsm": attacks.fgsm(eps=2 / 255), "jpeg": perturbations.jpeg(quality=60)}
    held = evaluate(module, (images, LABELS), pipelines)
    filed = evaluate(module, tmp_path / "images", pipelines, split="all", output=tmp_path / "out")
    for name in held.pipelines:
        one, other = (run.records[run.records["pipeline"] == name] for run in (held, filed))
        other = other.assign(place=other["sample"].str[-6:-4]).sort_values("place")
        np.testing.assert_array_equal(one["score"].to_numpy(), other["score"].to_numpy())
    assert (Run.load(filed.folder).summary["accuracy"] == filed.summary["accuracy"]).all()
    again = evaluate(module, tmp_path / "images", pipelines, split="all", output=tmp_path / "out")
    assert all(row.shards_computed == 0 for row in again.info.timings if row.step == "cell")


def test_an_attack_on_a_batch_keeps_its_budget_and_the_module(module, images):
    module.train()
    before = state_of(module)
    result = attacks.pgd(eps=4 / 255, steps=3)(module, images.float() / 255, LABELS)
    assert is_unchanged(module, before)
    moved = (result.images * 255 - images.float()).abs().amax(dim=(1, 2, 3))
    assert torch.allclose(moved, result.linf * 255, atol=1e-3)
    assert float(moved.max()) <= 4 + 1e-3
    assert torch.allclose(result.images * 255, (result.images * 255).round(), atol=1e-3)
    alone = attacks.pgd(eps=4 / 255, steps=3)(module, images[3:4], LABELS[3:4])
    assert torch.equal(alone.images[0], result.images[3])


def test_perturbations_give_back_what_went_in(images):
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    jpeg = perturbations.jpeg(quality=75)
    assert isinstance(jpeg(picture), Image.Image)
    assert jpeg(images).dtype == torch.uint8
    assert jpeg(images.float() / 255).dtype == torch.float32
    assert torch.equal(jpeg([images[0], images[1]])[1], jpeg(images)[1])
    pixels = (images.float() / 255).requires_grad_()
    jpeg.differentiable(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0


def three_outputs():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: evaluate(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), (x, LABELS)), "3"),
        (lambda m, x: evaluate(m, (x.float() * 2, LABELS)), "pixels"),
        (lambda m, x: evaluate(m, (x.long() + 300, LABELS)), "0 to 255"),
        (lambda m, x: evaluate(m, (x, [2] * COUNT)), "2 is not a label"),
        (lambda m, x: evaluate(m, (x, LABELS[:-1])), "16 images and 15 labels"),
        (lambda m, x: attacks.pgd(eps=[0.01, 0.02])(m, x, LABELS), "several values"),
        (lambda m, x: perturbations.jpeg(quality=[1, 2])(x), "several values"),
        (lambda m, x: evaluate(m, (x, LABELS), {"p": "pgd"}), "pipeline 'p'"),
        (lambda m, x: evaluate(m, 3), "int is not a source of images"),
        (lambda m, x: evaluate(3, (x, LABELS)), "a detector is a int"),
        (
            lambda m, x: ImageData.from_frame(pd.DataFrame({"paths": ["a"], "label": [0]})),
            "did you mean 'paths'",
        ),
    ],
)
def test_bad_input_is_one_error_that_says_what_and_what_to_do(call, message, module, images):
    with pytest.raises(UserError) as refused:
        call(module, images)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


class Unsteady(torch.utils.data.Dataset):
    """Another image each time."""

    targets = (0, 1, 0, 1)
    calls = 0

    def __len__(self):
        return 4

    def __getitem__(self, place):
        self.calls += 1
        return torch.full((3, 16, 16), self.calls % 200, dtype=torch.uint8), self.targets[place]


def test_a_data_set_that_answers_otherwise_is_refused(module):
    with pytest.raises(UserError, match="another image at the second access"):
        evaluate(module, Unsteady())


def test_a_torchattacks_user_attacks_a_detector(images):
    torchattacks = pytest.importorskip("torchattacks")
    detector = load_detector("minigen/lenet5")
    pixels, labels = images.float() / 255, detector.predict(images)
    theirs = torchattacks.FGSM(interop.as_torchattacks(detector), eps=4 / 255)(pixels, labels)
    ours = interop.from_torchattacks(torchattacks.FGSM, eps=4 / 255)(detector, images, labels)
    assert float((theirs - ours.images).abs().max()) < 1e-3


def test_an_art_user_attacks_a_detector(images):
    from art.attacks.evasion import FastGradientMethod

    detector = load_detector("minigen/lenet5")
    classifier = interop.as_art(detector, input_shape=(3, 32, 32))
    labels = detector.predict(images).numpy()
    theirs = FastGradientMethod(classifier, eps=4 / 255).generate((images.float() / 255).numpy(), y=labels)
    ours = interop.from_art("FastGradientMethod", eps=4 / 255)(detector, images, labels.tolist())
    assert np.abs(theirs - ours.images.numpy()).max() < 1e-3
