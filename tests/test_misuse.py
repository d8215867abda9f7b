"""What users get wrong: one ``UserError`` of two lines at most, with what, where and what to do."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from robustbench_aigen import (
    Detector,
    ImageData,
    Run,
    Scenario,
    UserError,
    attacks,
    benchmark,
    evaluate,
    interop,
    list_attacks,
    load_detector,
    perturbations,
    report,
    training,
)

LABELS = [0, 1] * 4


class Answers(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pixels):
        return self.answer(pixels)


def no_gradients(pixels):
    return torch.stack([pixels.detach().mean(dim=(1, 2, 3)), torch.full((len(pixels),), 0.5)], dim=1)


class Place:
    """What a case may use: a module, images, a folder, a finished run."""

    def __init__(self, folder):
        torch.manual_seed(0)
        self.m = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randint(0, 256, (8, 3, 32, 32), generator=generator).to(torch.uint8)
        self.data = (self.x, LABELS)
        self.folder = folder
        (folder / "file.txt").write_text("x")

    def evaluate(self, *pipelines, **settings):
        return evaluate(
            settings.pop("detector", self.m), settings.pop("data", self.data), *pipelines, **settings
        )

    def run(self):
        return self.evaluate()


@pytest.fixture
def at(tmp_path):
    return Place(tmp_path)


PGD = attacks.pgd(steps=1)
DATA = {
    "floats up to 510": (lambda at: at.evaluate(data=(at.x.float() * 2, LABELS)), "images[0]: floats from"),
    "integers up to 555": (lambda at: at.evaluate(data=(at.x.long() + 300, LABELS)), "levels are integers from 0 to 255"),
    "label 2": (lambda at: at.evaluate(data=(at.x, [2] * 8)), "labels[0]: 2 is not a label"),
    "label true": (lambda at: at.evaluate(data=(at.x, ["true"] * 8)), "'true' is not a label"),
    "three labels": (lambda at: at.evaluate(data=(at.x, [0, 1, 0])), "8 images and 3 labels"),
    "three parts": (lambda at: at.evaluate(data=(at.x, LABELS, LABELS)), "not (images, labels)"),
    "no labels": (lambda at: at.evaluate(data=at.x), "images without labels"),
    "no data": (lambda at: at.evaluate(data=None), "not a source of images"),
    "no such path": (lambda at: at.evaluate(data="no/where"), "no data at 'no/where'"),
    "no images": (lambda at: at.evaluate(data=(at.x[:0], [])), "there are no images"),
    "another split": (lambda at: at.evaluate(split="test"), "too few images"),
    "limit 0": (lambda at: at.evaluate(limit=0), "limit=0"),
    "two same ids": (lambda at: ImageData.from_tensors(at.x, LABELS, ids=["a"] * 8), "'a' is listed twice"),
    "no frame": (lambda at: ImageData.from_frame(None), "not a pandas data frame"),
    "frame without paths": (lambda at: ImageData.from_frame(pd.DataFrame({"paths": ["a"], "label": [0]})), "did you mean 'paths'"),
    "no data set": (lambda at: ImageData.from_dataset(3), "has no length"),
    "unknown split": (lambda at: ImageData.open("minigen", split="tset"), "no split 'tset'"),
}  # fmt: skip
DETECTORS = {
    "three outputs": (lambda at: at.evaluate(detector=nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))), "one or two numbers"),
    "None": (lambda at: at.evaluate(detector=None), "a detector is a NoneType"),
    "none at all": (lambda at: at.evaluate(detector=[]), "there is no detector"),
    "a function": (lambda at: at.evaluate(detector=lambda pixels: pixels), "a detector is a function"),
    "unknown id": (lambda at: at.evaluate(detector="minigen/lenet6"), "did you mean 'minigen/lenet5'"),
    "forward fails": (lambda at: at.evaluate(detector=Answers(lambda pixels: pixels.nope)), "has no attribute 'nope'"),
    "answers text": (lambda at: at.evaluate(detector=Answers(lambda pixels: "fake")), "returns str, not a tensor"),
    "answers one for all": (lambda at: at.evaluate(detector=Answers(lambda pixels: pixels.mean().expand(1, 2))), "(1, 2) for 4 images"),
    "answers NaN": (lambda at: at.evaluate(detector=Answers(lambda pixels: no_gradients(pixels) * torch.nan)), "NaN or infinity"),
    "device that is not there": (lambda at: at.evaluate(device="cuda:99"), "not available"),
    "device of another name": (lambda at: at.evaluate(device="gpu"), "unknown device 'gpu'"),
    "module on another device": (lambda at: at.evaluate(detector=nn.Linear(2, 2, device="meta"), device="cpu"), "the module is on meta"),
    "load on another device": (lambda at: load_detector("minigen/lenet5", device="gpu"), "unknown device 'gpu'"),
    "two means": (lambda at: Detector(at.m, mean=(1, 2)), "three numbers"),
    "fake_index 2": (lambda at: Detector(at.m, fake_index=2), "must be 0 or 1"),
    "rule without images": (lambda at: Detector(at.m).with_threshold("youden"), "images or labels are missing"),
    "threshold 3 of a call": (lambda at: PGD(at.m, at.x, LABELS, threshold=3), "between 0 and 1"),
    "rule of a call": (lambda at: PGD(at.m, at.x, LABELS, threshold="youden"), "with_threshold"),
    "rule in memory": (lambda at: at.evaluate(threshold="youden"), "with_threshold"),
}  # fmt: skip
STAGES = {
    "a text": (lambda at: at.evaluate("pgd"), "holds a str"),
    "a number": (lambda at: at.evaluate({"p": 3}), "pipeline 'p' holds a int"),
    "None": (lambda at: at.evaluate(None), "holds a NoneType"),
    "a recipe that is not called": (lambda at: at.evaluate({"p": attacks.pgd}), "attacks.pgd()"),
    "a function": (lambda at: at.evaluate({"p": lambda m, x, y: x}), "interop.from_function"),
    "an object of torchattacks": (lambda at: at.evaluate({"p": pytest.importorskip("torchattacks").PGD(at.m)}), "interop.from_torchattacks('PGD'"),
    "nothing": (lambda at: at.evaluate({"p": []}), "at least one stage"),
    "the name clean": (lambda at: at.evaluate({"clean": PGD}), "'clean' is always run"),
    "eps by place": (lambda at: attacks.pgd(4 / 255), "takes its parameters by name"),
    "unknown parameter": (lambda at: attacks.pgd(esp=1), "did you mean 'eps'"),
    "eps in levels": (lambda at: attacks.pgd(eps=4), "write eps: 4/255"),
    "eps 0": (lambda at: attacks.pgd(eps=0), "greater than 0"),
    "through one stage": (lambda at: attacks.pgd(through=perturbations.jpeg()), "through=[perturbations.jpeg()]"),
    "through an attack": (lambda at: attacks.pgd(through=[PGD]), "only perturbations"),
    "through a recipe": (lambda at: attacks.pgd(through=[perturbations.jpeg]), "only perturbations"),
    "no surrogate": (lambda at: attacks.transfer(eps=0.01), "needs a surrogate"),
    "no such recipe": (lambda at: attacks.create("pdg"), "did you mean 'pgd'"),
    "a perturbation as an attack": (lambda at: attacks.create("jpeg"), "write perturb: jpeg"),
    "a sweep that is called": (lambda at: attacks.pgd(eps=[0.01, 0.02])(at.m, at.x, LABELS), "expand()"),
    "a swept perturbation that is called": (lambda at: perturbations.jpeg(quality=[1, 2])(at.x), "expand()"),
    "gradients that are not there": (lambda at: PGD(Answers(no_gradients), at.x, LABELS), "needs gradients"),
    "gradients that are not there, in a run": (lambda at: at.evaluate(PGD, detector=Answers(no_gradients)), "square"),
    "batch_size 0": (lambda at: PGD(at.m, at.x, LABELS, batch_size=0), "batch_size must be"),
    "precision fp16": (lambda at: PGD(at.m, at.x, LABELS, precision="fp16"), "unknown precision 'fp16'"),
    "a text as seed": (lambda at: PGD(at.m, at.x, LABELS, seed="a"), "seed must be a whole number"),
    "a text as ids": (lambda at: PGD(at.m, at.x, LABELS, ids="abcdefgh"), "ids is the text"),
    "arguments in another order": (lambda at: PGD(at.x, at.m, LABELS), "images[0]: Conv2d is not an image"),
    "one-hot labels": (lambda at: PGD(at.m, at.x, torch.eye(2)[LABELS]), "not of shape 8×2"),
    "channels last": (lambda at: PGD(at.m, at.x.permute(0, 2, 3, 1), LABELS), "permute(0, 3, 1, 2)"),
    "levels to a stand-in": (lambda at: perturbations.jpeg().differentiable(at.x), "images.float() / 255"),
    "unknown norm": (lambda at: list_attacks("l7"), "known: l0, l1, l2, linf, spatial"),
    "ART on any size": (lambda at: interop.as_art(at.m), "input_shape=(3, 224, 224)"),
}  # fmt: skip
RUNS = {
    "unknown mode": (lambda at: at.evaluate(mode="fast"), "must be 'accuracy' or 'score'"),
    "a slash in the name": (lambda at: at.evaluate(name="a/b"), "names a folder"),
    "a file as output": (lambda at: at.evaluate(output=at.folder / "file.txt"), "cannot write results"),
    "a number as output": (lambda at: at.evaluate(output=3), "output is a int"),
    "a text as progress": (lambda at: at.evaluate(progress="yes"), "progress=True"),
    "unknown suite": (lambda at: benchmark(at.m, "quik"), "did you mean 'quick'"),
    "no such run": (lambda at: Run.load(at.folder / "none"), "no run folder"),
    "None as run": (lambda at: Run.load(None), "a run is a NoneType"),
    "unknown pipeline": (lambda at: at.run().accuracy("pdg"), "no pipeline 'pdg'"),
    "unknown detector": (lambda at: at.run().accuracy(detector="x"), "no detector 'x'"),
    "report in memory": (lambda at: at.run().report(), "needs a folder"),
    "save over something": (lambda at: at.run().save(at.folder), "exists"),
    "compare with None": (lambda at: at.run().compare(None), "give a Run"),
    "gate with None": (lambda at: at.run().gate(None), "give a Run"),
    "report of nothing": (lambda at: report([]), "a list of runs"),
    "report of one run": (lambda at: report(at.run(), at.folder / "r"), "a list of runs"),
    "unknown scenario": (lambda at: Scenario.from_yaml("pdg_eps4"), "did you mean 'pgd_eps4'"),
    "a number as scenario": (lambda at: Scenario.from_yaml(3), "a scenario is a int"),
    "a list as scenario": (lambda at: Scenario.from_dict([1]), "a mapping of keys"),
    "scenario without data": (lambda at: Scenario(name="s"), "the key 'data' is missing"),
    "scenario with an unknown key": (lambda at: Scenario(name="s", data={"source": "minigen"}, detectors=["minigen/lenet5"], pipelines={}, sed=1), "did you mean 'seed'"),
    "unknown recipe": (lambda at: training.train("nope"), "no training recipe 'nope'"),
    "unknown key of a recipe": (lambda at: training.train("lenet5", settings={"lr": 1}), "no key 'lr'"),
    "module to fine-tune": (lambda at: training.finetune("finetune_pgd_eps2", detector=at.m), "save the weights"),
    "two budgets": (lambda at: training.finetune("finetune_pgd_eps2", epochs=1, minutes=1), "exclude each other"),
    "tensors across generators": (lambda at: training.cross_generator(data=at.data), "minigen, a path, or a mapping"),
}  # fmt: skip
CASES = [
    pytest.param(call, message, id=f"{group}: {name}")
    for group, cases in (("data", DATA), ("detector", DETECTORS), ("stage", STAGES), ("run", RUNS))
    for name, (call, message) in cases.items()
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_a_mistake_is_one_error_that_says_what_and_what_to_do(call, message, at):
    with pytest.raises(UserError) as refused:
        call(at)
    said = str(refused.value)
    assert message in said
    assert len(said.splitlines()) <= 2
    assert len(said) < 500


def test_numbers_of_numpy_and_torch_are_numbers():
    assert attacks.pgd(eps=np.float32(0.25)).eps == 0.25
    assert attacks.pgd(eps=torch.tensor(0.25)).eps == 0.25
    assert [each.eps for each in attacks.pgd(eps=np.array([0.25, 0.5])).expand()] == [0.25, 0.5]


def test_an_attack_that_needs_no_gradients_takes_a_detector_without_and_one_with(at):
    square = attacks.square(steps=5)
    for detector in (at.m, Answers(no_gradients)):
        assert square(detector, at.x, LABELS).success.shape == (8,)


def test_a_surrogate_is_a_detector_in_memory_or_an_id(at):
    run = at.evaluate(
        {
            "object": attacks.transfer(surrogate=Detector(at.m, name="other"), eps=8 / 255),
            "id": attacks.transfer(surrogate="minigen/lenet5", eps=8 / 255),
        }
    )
    assert run.pipelines == ["clean", "object", "id"]
