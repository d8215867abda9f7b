"""What networks answer and in which mode: found where it is clear, asked for where it is not, never taken for sound."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_image
from torch import nn

from robustbench_aigen import Detector, load_detector
from robustbench_aigen.detectors.contract import log_odds
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.engine.examination import examine, judge_repeats
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.trust.check import Checks
from robustbench_aigen.trust.repeatability import repeat

NETWORKS = """
import torch
from collections import namedtuple
from functools import partial
from torch import nn

def base(outputs=2):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)
    )
    net[1].running_mean.uniform_(-0.2, 0.2)
    net[1].running_var.uniform_(0.05, 0.3)
    return net.train()

class Answer(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.net, self.change = base(), change
    def forward(self, x):
        return self.change(self.net(x))

def module(): return base()
def closure():
    net = base()
    return lambda x: net(x)
class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.nets = [base()]
    def forward(self, x): return self.nets[0](x)
def listed(): return Listed()
def in_a_dict():
    nets = {"a": [base()]}
    return lambda x: nets["a"][0](x)
def called(x, net): return net(x)
def in_a_partial(): return partial(called, net=base())
class Holder:
    def __init__(self): self.net = base()
    def answer(self, x): return self.net(x)
def in_a_method(): return Holder().answer
WHOLE = base()
def in_a_global(): return lambda x: WHOLE(x)
class Classy(nn.Module):
    net = [base()]
    def forward(self, x): return type(self).net[0](x)
def in_a_class(): return Classy()

features = nn.Linear(2, 16)
def pair(): return Answer(lambda y: (features(y), y))
def mapping(): return Answer(lambda y: {"prediction": y, "embedding": features(y)})
def logits(): return Answer(lambda y: {"logits": y, "auxiliary": -y})
def named(): return Answer(lambda y: namedtuple("Out", "verdict hidden")(y, features(y)))
def with_label(): return Answer(lambda y: (y.argmax(1), y))
def squeezed(): return Answer(lambda y: y.squeeze())
def as_map(): return Answer(lambda y: y[:, :, None, None])
def double(): return Answer(lambda y: y.double())
def as_array(): return Answer(lambda y: y.detach().numpy())
def an_image_each(): return Answer(lambda y: [each for each in y])
def heads(): return Answer(lambda y: (y, -y))
def three(): return Answer(lambda y: torch.cat([y, y[:, :1]], 1))
def nothing(): return Answer(lambda y: None)
def labels(): return Answer(lambda y: y.argmax(1))
def half(): return base().half()
def one_at_a_time():
    net = base()
    return lambda x: net(x.reshape(1, 3, *x.shape[2:]))

def grey(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
def alpha(): return nn.Sequential(nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
def own_size(): return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 9 * 9, 2))

def sharpness(x): return 60 * ((x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) - 0.05)
def standardised(): return lambda x: sharpness((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True))
def by_its_maximum(): return lambda x: sharpness(x / x.amax((1, 2, 3), keepdim=True))
def damaged():
    net = base()
    net[0].weight.data[0] = float("nan")
    return net

def in_training():
    net = base()
    def answer(x):
        net.train()
        return net(x)
    return answer
def less_the_batch():
    net = base()
    return lambda x: net(x - x.mean(0) + 0.5)
def dropout():
    net = base()
    return lambda x: nn.functional.dropout(net(x), 0.3)
class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.calls = base(), 0
    def forward(self, x):
        self.calls += 1
        return self.net(x) * (1 + self.calls % 2)
def counting(): return Counting()
class Drifting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = base()
        self.register_buffer("shift", torch.zeros(2))
    def forward(self, x):
        self.shift += torch.tensor([0.0, 0.1])
        return self.net(x) + self.shift
def drifting(): return Drifting()
import collections, contextvars, functools, sys, types, weakref
class Slots:
    __slots__ = ("net",)
    def __init__(self): self.net = base()
    def __call__(self, x): return self.net(x)
def in_slots(): return Slots()
def in_a_deque():
    nets = collections.deque([base()])
    return lambda x: nets[0](x)
def in_a_proxy():
    nets = types.MappingProxyType({"a": base()})
    return lambda x: nets["a"](x)
def in_a_weak_reference():
    reference = weakref.ref(WHOLE)
    return lambda x: reference()(x)
@functools.lru_cache(None)
def kept(): return base()
def in_a_cache(): return lambda x: kept()(x)
variable = contextvars.ContextVar("net", default=base())
def in_a_variable(): return lambda x: variable.get()(x)
def in_a_generator():
    def answers():
        net, answer = base(), None
        while True:
            answer = net((yield answer))
    running = answers()
    next(running)
    return running.send
def in_another_module():
    import other_networks
    globals()["other_networks"] = other_networks
    return lambda x: other_networks.predict(x)
def at_the_first_call():
    nets = []
    def answer(x):
        if not nets:
            nets.append(base())
        return nets[0](x)
    return answer

def leaves(): return lambda x: sys.exit(0)
def prints():
    net = base()
    def answer(x):
        print("a batch")
        return net(x)
    return answer
def sets_everything():
    import os
    net = base()
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    def answer(x):
        torch.set_grad_enabled(False)
        return net(x)
    return answer
def two_scores(): return Answer(lambda y: (y[:, 0], y[:, 1]))
def by_name(): return Answer(lambda y: {"real": y[:, 0], "fake": y[:, 1]})
def in_words(): return Answer(lambda y: [{"label": "real", "score": float(n)} for n in y[:, 0]])
def as_sparse(): return Answer(lambda y: y.to_sparse())
def whole_numbers(): return Answer(lambda y: (100 * y).round().long())
def of_a_class(): return Answer
def in_large_batches():
    net = base()
    return lambda x: net(x) if len(x) < 64 else -net(x)
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
def infinite():
    net = base()
    net[5].bias.data[0] = float("inf")
    return net
class Backward(torch.autograd.Function):
    @staticmethod
    def forward(context, x): return x.clone()
    @staticmethod
    def backward(context, gradient):
        if gradient.shape[0] > 4: raise RuntimeError("no gradient of so many")
        return gradient
def fails_backwards():
    net = base()
    return lambda x: net(Backward.apply(x))
def multiples_of_32():
    net = base()
    def answer(x):
        assert x.shape[2] % 32 == 0 and x.shape[3] % 32 == 0, "sides must be multiples of 32"
        return net(x)
    return answer
"""


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    file = tmp_path_factory.mktemp("networks") / "networks.py"
    file.write_text(NETWORKS)
    (file.parent / "other_networks.py").write_text(
        "import networks_of_mine\ndef predict(x): return networks_of_mine.NETS[0](x)\n"
    )
    (file.parent / "networks_of_mine.py").write_text(NETWORKS + "\nNETS = [base()]\n")
    return lambda name, **keys: load_detector(f"python:{file}:{name}", **keys)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def right(load, images) -> torch.Tensor:
    """The answers of the network itself in evaluation mode."""
    network = load("module").network
    with torch.no_grad():
        return network.eval()(images)


@pytest.mark.parametrize(
    "name",
    [
        "module",
        "closure",
        "listed",
        "in_a_dict",
        "in_a_partial",
        "in_a_method",
        "in_a_global",
        "in_a_class",
        "in_slots",
        "in_a_deque",
        "in_a_proxy",
        "in_a_weak_reference",
        "in_a_cache",
        "in_a_variable",
        "in_a_generator",
        "in_another_module",
        "at_the_first_call",
    ],
)
def test_evaluation_mode_reaches_networks_that_torch_does_not_see(load, images, right, name):
    detector = load(name)
    torch.testing.assert_close(detector(images), right)
    torch.testing.assert_close(detector(images[:1]), right[:1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pair", "output: 1 is read as the verdict; the detector also returns 0 (4, 16)"),
        ("mapping", "output: prediction is read as the verdict"),
        ("logits", "output: logits is read as the verdict"),
        ("named", "output: verdict is read as the verdict"),
        ("with_label", "output: 1 is read as the verdict"),
        ("squeezed", ""),
        ("as_map", ""),
        ("double", ""),
        ("as_array", "no gradients"),
        ("an_image_each", ""),
        ("half", "float16"),
        ("one_at_a_time", "the network takes exactly one image at a time"),
    ],
)
def test_the_answer_is_found_and_what_was_chosen_is_said(load, images, right, name, said):
    detector = load(name)
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if name == "half" else {"rtol": 1e-5, "atol": 1e-6}
    for count in (1, 2, 5):
        answer = detector(images[:count])
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, right[:count], **tolerance)
    assert any(said in sentence for sentence in detector.assumptions)
    assert detector.differentiable == (name != "as_array")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("heads", r"could be the verdict: 0 \(4, 2\), 1 \(4, 2\)", "output: 0"),
        ("three", r"returns \(4, 3\) for 4 images", "three or more classes"),
        ("nothing", "returns NoneType, not a tensor", ""),
        ("damaged", "its weights are damaged, 0.weight hold NaN", ""),
    ],
)
def test_what_is_not_clear_or_not_there_is_refused(load, name, message, hint):
    with pytest.raises(UserError, match=message) as refused:
        load(name)
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leaves", r"calls sys.exit\(0\)"),
        ("two_scores", "2 tensors that could be the verdict"),
        ("by_name", r"choose one with output: fake"),
        ("in_words", "the name of a class with its score"),
        ("of_a_class", "returns the class Answer"),
        ("lazy", "lazy module"),
        ("infinite", "5.bias of its weights hold infinity"),
    ],
)
def test_a_misreading_is_refused_with_its_reason(load, name, said):
    with pytest.raises(UserError, match=said):
        load(name)


def test_code_of_others_leaves_the_program_as_it_was(load, images, right, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    detector = load("sets_everything")
    detector(images)
    assert torch.is_grad_enabled()
    assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float32, "cpu")
    assert torch.zeros(1).device.type == "cpu"
    assert tmp_path.samefile(".")
    torch.testing.assert_close(detector(images), right)
    load("prints")(images)
    assert capsys.readouterr().out == ""


def test_sparse_answers_and_whole_numbers_are_scores(load, images, right):
    torch.testing.assert_close(load("as_sparse")(images), right)
    whole = load("whole_numbers")
    torch.testing.assert_close(whole(images), (100 * right).round())
    assert "the outputs are whole numbers, and scores have this precision" in whole.assumptions


def test_a_batch_as_large_as_in_a_run_is_tried(load, images):
    detector = load("in_large_batches")
    levels = (images * 255).round().to(torch.uint8)
    assert not repeat(detector, levels, torch.device("cpu")).moved_by_batch.any()
    assert repeat(detector, levels, torch.device("cpu"), 128).moved_by_batch.all()


class Watched(nn.Module):
    """Notes the sizes of what it is asked for; refuses images with a side below the least."""

    def __init__(self, least: int = 0) -> None:
        super().__init__()
        self.least, self.sizes = least, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if min(x.shape[2:]) < self.least:
            raise ValueError("too small")
        self.sizes.append(tuple(x.shape))
        level = x.mean(dim=(1, 2, 3))
        return torch.stack([-level, level], dim=1)


@pytest.mark.parametrize(
    ("least", "settings", "largest"),
    [
        (0, {}, (512, 512)),
        (600, {}, (1400, 1800)),
        (0, {"crop": "tiles", "input_size": 32}, (32, 32)),
    ],
)
def test_of_a_large_image_the_middle_is_examined(least, settings, largest):
    levels = torch.zeros(3, 1400, 1800, dtype=torch.uint8)
    levels[:, 700 - 256 : 700 + 256, 900 - 256 : 900 + 256] = 255
    network = Watched(least)
    detector = Detector(network, **settings)
    network.sizes.clear()
    repeated = examine(detector, [levels], ["image"], torch.device("cpu"))
    assert {size[2:] for size in network.sizes} == {largest}
    assert sum(size[0] * size[2] * size[3] for size in network.sizes) < 30 * max(
        512**2, least and 1400 * 1800
    )
    inside = levels.float().mean().item() / 255 if least else 1.0
    torch.testing.assert_close(repeated.margin, torch.tensor([2 * inside]), rtol=1e-4, atol=1e-4)


def test_a_fault_in_the_gradient_names_its_place(folder, cli):
    place, scenario = folder
    outcome = cli(
        "run", scenario("fails_backwards", "{attack: pgd, eps: 1/255, steps: 1}"), "--output", place / "out"
    )
    assert outcome.code == 2
    assert re.search(
        r"on detector '.*fails_backwards' fails: RuntimeError: no gradient of so many \(.*networks.py:\d+\)",
        outcome.err,
    )


def test_one_of_several_outputs_is_chosen_by_its_place(load, images, right, tmp_path):
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    place = load("module").architecture.removeprefix("python:")
    spec = DetectorSpec(id=f"python:{place.rpartition(':')[0]}:heads", output=1)
    torch.testing.assert_close(load_detector(spec)(images), -right)
    with pytest.raises(UserError, match="has no output 'verdict'"):
        load_detector(spec.model_copy(update={"output": "verdict"}))


def test_labels_are_told_from_scores(load, images, right):
    detector = load("labels")
    assert torch.equal(detector(images).argmax(1), right.argmax(1))
    assert any("labels, not scores" in sentence for sentence in detector.assumptions)
    assert not detector.differentiable


def test_grey_and_alpha_and_a_size_of_its_own_are_found(load, images):
    grey, alpha, own = load("grey"), load("alpha"), load("own_size")
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    opaque = torch.cat([images, torch.ones(5, 1, 64, 64)], dim=1)
    for detector, seen in ((grey, luma), (alpha, opaque)):
        torch.testing.assert_close(log_odds(detector(images)), detector.network(seen)[:, 0])
    assert own.preprocessing.input_size == (18, 18)
    assert any("input_size: 18 was found by trying" in sentence for sentence in own.assumptions)


def test_an_image_is_no_constant_for_what_standardises(load, images):
    expected = load("standardised").network.function(images)
    torch.testing.assert_close(log_odds(load("standardised")(images)), expected)


LEVELS = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def flags(detector, count: int = 6) -> set[str]:
    repeated = repeat(detector, LEVELS[:count], torch.device("cpu"))
    return {flag for flag, measured in judge_repeats(repeated, Checks()).items() if measured.raised}


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("in_training", "depends_on_batch"),
        ("less_the_batch", "depends_on_batch"),
        ("dropout", "stochastic_output"),
        ("counting", "stochastic_output"),
        ("drifting", "stochastic_output"),
        ("module", None),
        ("squeezed", None),
        ("labels", None),
        ("standardised", None),
    ],
)
def test_an_answer_that_is_not_the_images_own_is_flagged(load, name, flag, count):
    assert flags(load(name), count) == ({flag} if flag else set())


@pytest.mark.parametrize("name", shipped_detectors())
def test_shipped_detectors_answer_the_same_alone_and_together(name):
    assert flags(load_detector(name)) == set()


class HalfInside(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.network(x).float()


def test_round_off_of_half_precision_is_no_dependence(load):
    detector = load("module")
    detector.network = HalfInside(detector.network)
    assert flags(detector) == set()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    for number in range(8):
        write_image(tmp_path / "data/real" / f"{number}.png", number, fake=False)
        write_image(tmp_path / "data/fake" / f"{number}.png", 100 + number, fake=True)

    def scenario(name: str, pipeline: str, **keys: object) -> str:
        settings = "".join(f", {key}: {value}" for key, value in keys.items())
        file = tmp_path / "s.yaml"
        file.write_text(
            f"version: 1\nname: s\ndata: {{source: data, split: all}}\npipelines: {{p: [{pipeline}]}}\n"
            f'detectors: [{{id: "python:networks.py:{name}", fake_index: 1{settings}}}]\n'
        )
        return str(file)

    return tmp_path, scenario


JPEG, PGD = "{perturb: jpeg, quality: 90}", "{attack: pgd, eps: 2/255, steps: 2}"


@pytest.mark.parametrize(
    ("name", "flag"), [("in_training", "depends_on_batch"), ("dropout", "stochastic_output")]
)
def test_a_run_without_attacks_flags_every_cell(folder, cli, name, flag):
    tmp_path, scenario = folder
    outcome = cli("run", scenario(name, JPEG), "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    summary = pd.read_csv(tmp_path / "out/s/latest/summary.csv")
    assert summary["trust"].str.contains(flag).all()


def test_a_detector_that_changes_itself_is_not_attacked(folder, cli):
    tmp_path, scenario = folder
    outcome = cli("run", scenario("drifting", PGD), "--output", tmp_path / "out")
    assert outcome.code == 2
    assert re.search(r"changes its own weights with every call \(shift\)", outcome.err)
    assert len(outcome.err.strip().splitlines()) <= 3


def test_a_picture_without_a_number_is_named_before_anything_is_attacked(folder, cli):
    from PIL import Image

    tmp_path, scenario = folder
    Image.new("RGB", (32, 32)).save(tmp_path / "data/fake/black.png")
    outcome = cli("run", scenario("by_its_maximum", PGD), "--output", tmp_path / "out")
    assert outcome.code == 2
    assert re.search(
        "detector 'python:networks.py:by_its_maximum' answers NaN or infinity for fake/black.png", outcome.err
    )
    outcome = cli(
        "predict", tmp_path / "data", "--detector", f"python:{tmp_path}/networks.py:by_its_maximum", "--json"
    )
    assert outcome.code == 2
    assert "no verdict on" in outcome.err
    assert "black.png" in outcome.err
    import json

    rows = {row["image"].rpartition("/")[2]: row for row in json.loads(outcome.out)["predictions"]}
    assert rows["black.png"]["verdict"] is None
    assert sum(row["verdict"] in ("real", "fake") for row in json.loads(outcome.out)["predictions"]) == 16
    black = cli(
        "predict",
        tmp_path / "data/fake/black.png",
        "--detector",
        f"python:{tmp_path}/networks.py:by_its_maximum",
    )
    assert "another answer" not in black.err  # NaN at every call is the same answer.


def test_images_of_a_size_that_a_network_does_not_take_get_a_hint_that_works(folder, cli):
    tmp_path, scenario = folder
    write_image(tmp_path / "data/real/odd.png", 7, fake=False, size=(50, 40))
    for number in range(8):
        (tmp_path / "data/real" / f"{number}.png").unlink()
    outcome = cli("run", scenario("multiples_of_32", JPEG), "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "fails on 40×50 input (real/odd.png): sides must be multiples of 32" in outcome.err
    hint = re.search(r"set input_size: (\[\d+, \d+\])", outcome.err)
    assert hint is not None, outcome.err
    outcome = cli("run", scenario("multiples_of_32", JPEG, input_size=hint[1]), "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err


def test_predict_begins_with_what_it_assumes_and_ends_with_what_does_not_hold(folder, cli):
    tmp_path, _ = folder
    outcome = cli("predict", tmp_path / "data", "--detector", f"python:{tmp_path}/networks.py:in_training")
    first = outcome.out.splitlines()[0]
    assert "assumed" in first
    assert "output 1 means fake" in first
    assert "in [0, 1]" in first
    assert "depends_on_batch" in outcome.err
    declared = cli("predict", tmp_path / "data", "--detector", "minigen/lenet5")
    assert "assumed" not in declared.out


def test_a_search_goes_on_from_where_there_is_no_gradient():
    """The deviation of a flat image has no gradient, and one step away it has: PGD has to leave the flat image."""
    from robustbench_aigen.attacks.execution import make_task, run_attack
    from robustbench_aigen.detectors.thresholds import HALF
    from robustbench_aigen.numerics.seeding import SampleStreams
    from robustbench_aigen.stages.recipe_files import shipped_recipes
    from robustbench_aigen.stages.stage import make_stage

    class Deviation(nn.Module):
        def forward(self, pixels):
            margin = 100 * (
                (pixels - pixels.mean((1, 2, 3), keepdim=True)).square().sum((1, 2, 3)).sqrt() - 0.05
            )
            return torch.stack([-margin / 2, margin / 2], dim=1)

    levels = torch.full((3, 3, 8, 8), 100, dtype=torch.uint8)
    levels[1, :, ::2] = 101
    recipe = shipped_recipes()["pgd"]
    stage = make_stage(recipe, {"eps": 4 / 255, "steps": 5, "random_start": False})
    task = make_task(
        stage, Deviation(), levels, torch.zeros(3, dtype=torch.long), SampleStreams(0, ("a", "b", "c"), 0),
        threshold=HALF, early_stop=False, batch_size=3, device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    outcome = run_attack(stage, task, lambda _: None)
    assert outcome.log_odds.isfinite().all()
    assert (outcome.log_odds >= 0).all()
    assert (outcome.linf <= 4 / 255 + 1e-6).all()


def test_numpy_and_torch_agree_on_what_a_list_of_numbers_is(load, images):
    from robustbench_aigen.detectors.outputs import as_columns

    numbers = [0.1, 0.2, 0.3]
    for raw in (numbers, tuple(numbers), np.array(numbers), torch.tensor(numbers), [[n] for n in numbers]):
        assert as_columns(raw, "d", 3).flatten().tolist() == pytest.approx(numbers)


PERCENT = """
import torch
def level(x): return ((x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) * 400).clamp(0, 100)
def one(): return lambda x: level(x)
def two(): return lambda x: torch.stack([100 - level(x), level(x)], 1)
def whole(): return lambda x: level(x).round().int()
def logits(): return lambda x: level(x) - 20
def two_logits(): return lambda x: torch.stack([level(x) - 20, 40 - level(x)], 1)
def small(): return lambda x: level(x) / 20
def share(): return lambda x: level(x) / 100
def two_shares(): return lambda x: torch.stack([100 - level(x), level(x)], 1) / 100
"""


@pytest.mark.parametrize("name", ["one", "two", "whole"])
def test_percentages_are_named_with_what_to_write(tmp_path, name):
    (tmp_path / "percent.py").write_text(PERCENT)
    detector = load_detector(f"python:percent.py:{name}", folder=tmp_path)
    (told,) = [said for said in detector.assumptions if "percentages" in said]
    assert "set outputs: percentages or outputs: logits" in told
    assert told.is_warning
    assert detector.preprocessing.outputs == "logits"


@pytest.mark.parametrize("name", ["logits", "two_logits", "small", "share", "two_shares"])
def test_other_outputs_are_not_called_percentages(tmp_path, name):
    (tmp_path / "percent.py").write_text(PERCENT)
    detector = load_detector(f"python:percent.py:{name}", folder=tmp_path)
    assert not [said for said in detector.assumptions if "percentages" in said]


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("word", ["percentages", "percent"])
def test_percentages_that_are_declared_are_probabilities(tmp_path, images, name, word):
    (tmp_path / "percent.py").write_text(PERCENT)
    spec = DetectorSpec.model_validate({"id": f"python:percent.py:{name}", "outputs": word})
    detector = load_detector(spec, folder=tmp_path)
    level = (images.diff(dim=-1).abs().mean((1, 2, 3)) * 400).clamp(0, 100)
    assert torch.allclose(detector(images).softmax(1)[:, 1], level / 100, atol=1e-5)
    assert not [said for said in detector.assumptions if "percentages" in said]


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("mean", [127.5, 127.5, 127.5], "[127.5/255, 127.5/255, 127.5/255]"),
        ("mean", [103.939, 116.779, 123.68], "[103.939/255, 116.779/255, 123.68/255]"),
        ("std", [255, 255, 255], "[255/255, 255/255, 255/255]"),
        ("std", [0.5, 0.5, 58.395], "[0.5/255, 0.5/255, 58.395/255]"),
    ],
)
def test_a_mean_or_deviation_of_levels_is_refused_with_what_to_write(tmp_path, weights, key, value, written):
    weights.with_suffix(".json").write_text(json.dumps({"arch": "lenet5", key: value}))
    with pytest.raises(UserError, match="must be in pixel units, at most 1") as raised:
        load_detector(weights)
    assert written in raised.value.message
    card = json.dumps({"arch": "lenet5", key: written[1:-1].split(", ")})
    weights.with_suffix(".json").write_text(card)
    assert getattr(load_detector(weights).preprocessing, key) == pytest.approx([each / 255 for each in value])
