"""The public Detector: any module in memory, borrowed, evaluated as it is now."""

import json
import pickle
import subprocess
import sys
import warnings
from functools import partial
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robustbench_aigen import evaluate, load_detector
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.object_identity import object_identity
from robustbench_aigen.attacks.verification import AttackContractError
from robustbench_aigen.detectors import remembering
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.detectors.trim import trimmed
from robustbench_aigen.engine.examination import examine_detectors
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import make_experiment
from robustbench_aigen.engine.lending import lent
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.shards import make_shards
from robustbench_aigen.engine.store import ShardCache
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.images_like import labels_of, like_given, to_levels_list
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.scenario.trim_spec import TrimSpec
from robustbench_aigen.stages.recipe_files import shipped_recipe
from robustbench_aigen.stages.stage import make_stage
from robustbench_aigen.trust.check import Checks


class Net(nn.Module):
    """Batch norm, dropout, a frozen layer: all that a mode or a flag changes."""

    def __init__(self, outputs=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, outputs)

    def forward(self, images):
        return self.head(self.drop(self.norm(self.conv(images)).relu().mean((2, 3))))


@pytest.fixture
def module():
    torch.manual_seed(0)
    made = Net().train()
    made.norm.eval()
    made.conv.weight.requires_grad_(False)
    with torch.no_grad():
        made.head.weight.mul_(20)
    made.head.weight.grad = torch.ones_like(made.head.weight)
    return made


@pytest.fixture
def levels():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (6, 3, 20, 20), dtype=torch.uint8, generator=generator)


def state(module):
    return (
        [inner.training for inner in module.modules()],
        [
            (p.requires_grad, p.device, None if p.grad is None else p.grad.tolist())
            for p in module.parameters()
        ],
        {name: tensor.tolist() for name, tensor in module.state_dict().items()},
    )


def plain(module, levels, mean=0.0, std=1.0):
    """Score with torch alone."""
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    with torch.no_grad():
        answer = module((levels.float() / 255 - mean) / std)
    for inner, mode in modes:
        inner.training = mode
    return answer.softmax(1)[:, 1] if answer.shape[1] == 2 else answer.sigmoid()[:, 0]


def attacked(detector, levels, eps="8/255", name="pgd", **given):
    stage = make_stage(shipped_recipe(name), {"eps": eps, **given})
    streams = SampleStreams(42, tuple(map(str, range(len(levels)))), 0)
    task = make_task(
        stage, detector, levels, torch.ones(len(levels), dtype=torch.long), streams, threshold=HALF,
        early_stop=False, batch_size=4, device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    return run_attack(stage, task, lambda _: None)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.25)])
def test_scores_are_those_of_plain_torch(levels, outputs, mean, std):
    torch.manual_seed(3)
    module = Net(outputs)
    detector = Detector(module, mean=[mean] * 3, std=(std,) * 3)
    expected = plain(module, levels, mean, std)
    assert torch.allclose(detector.scores(levels), expected, atol=1e-6)
    assert detector.predict(levels).tolist() == (expected >= 0.5).long().tolist()
    assert detector.scores(levels).dtype == torch.float32


def test_every_form_of_images_has_the_same_scores(module, levels, tmp_path):
    detector = Detector(module)
    expected = plain(module, levels)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in levels]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(len(levels))]
    mixed = [levels[0], pictures[1], str(paths[2]), paths[3], levels[4] / 255, levels[5].long()]
    for form in (
        levels,
        levels / 255,
        levels.int(),
        (levels / 255).double(),
        [*levels],
        pictures,
        paths,
        mixed,
    ):
        assert torch.allclose(detector.scores(form), expected, atol=1e-6)
    assert torch.allclose(detector.scores(pictures[0]), expected[:1], atol=1e-6)
    assert detector.scores([]).shape == detector.predict(levels[:0]).shape == (0,)


def test_images_may_be_of_different_sizes(module, levels):
    wide = torch.cat([levels, levels], dim=3)
    found = Detector(module).scores([levels[0], wide[1], levels[2]])
    assert torch.allclose(found[[0, 2]], plain(module, levels[[0, 2]]), atol=1e-6)
    assert torch.allclose(found[1:2], plain(module, wide[1:2]), atol=1e-6)


def test_the_module_is_as_it_was(module, levels):
    before = state(module)
    detector = Detector(module, input_size=16)
    detector.scores(levels)
    detector.predict([*levels])
    detector.with_threshold("youden", levels, [0, 1, 0, 1, 0, 1])
    detector.identity()
    detector.refresh()
    attacked(detector, levels, steps=2)
    attacked(detector, levels, name="square", steps=5)
    attacked(detector, levels, steps=2, backend="torchattacks")
    Ensemble([detector, Detector(module)], "mean_score", name="both").scores(levels)
    trimmed(detector, TrimSpec(defence="trim")).scores(levels)
    assert state(module) == before


def test_the_module_is_as_it_was_after_an_exception(module, levels):
    class Breaks(nn.Module):
        broken = False

        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, images):
            if self.broken:
                raise RuntimeError("out of order")
            return self.inner(images)

    detector, before = Detector(Breaks()), state(module)
    detector.scores(levels)
    Breaks.broken = True
    with pytest.raises(UserError, match="out of order"):
        detector.scores(levels)
    with pytest.raises(UserError, match="out of order"):
        attacked(detector, levels, steps=5)
    assert state(module) == before


def test_an_attack_that_changes_the_flags_is_still_caught(module, levels, monkeypatch):
    detector = Detector(module)
    detector.see(20, 20)
    before = state(module)

    def spoiled(stage, task):
        task.detector.requires_grad_()
        yield from ()

    monkeypatch.setattr("robustbench_aigen.attacks.execution._chunks", spoiled)
    with pytest.raises(AttackContractError, match="gradient flags"):
        attacked(detector, levels)
    assert state(module) == before


def test_more_training_gives_new_numbers(module, levels):
    detector = Detector(module)
    old, old_attack = detector.scores(levels), attacked(detector, levels, steps=3).log_odds
    optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
    module(levels / 255)[:, 1].sum().backward()
    optimiser.step()
    new = detector.scores(levels)
    assert not torch.allclose(new, old, atol=1e-3)
    assert torch.allclose(new, plain(module, levels), atol=1e-6)
    outcome = attacked(detector, levels, steps=3)
    assert not torch.allclose(outcome.log_odds, old_attack, atol=1e-3)
    assert torch.allclose(outcome.log_odds.sigmoid(), plain(module, outcome.levels), atol=1e-5)


def test_probabilities_that_are_read_as_logits_are_warned_of(levels):
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Sigmoid())
    detector = Detector(network)
    with pytest.warns(UserWarning, match="look like probabilities .* read as logits") as caught:
        detector.scores(levels)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.scores(levels)  # Told once.
        Detector(network, outputs="probabilities").scores(levels)
        Detector(network[:-1]).scores(levels)
    run = evaluate(Detector(network), (levels / 255, [0, 1] * 3))
    assert any("look like probabilities" in notice for notice in run.notices)


def test_a_search_looks_at_the_weights_once(module, levels, monkeypatch):
    """Whether they have changed: for the judge, for gradients and for queries, whatever the number of its steps."""
    detector, walks = Detector(module), []
    looked_at = remembering._tensors
    attacked(detector, levels, name="cw", steps=1)  # Makes the copies.
    monkeypatch.setattr(remembering, "_tensors", lambda networks: walks.append(1) or looked_at(networks))
    attacked(detector, levels, name="cw", steps=12)
    assert 1 <= len(walks) <= 3


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.load_state_dict(Net().state_dict()),
        lambda m: m.load_state_dict(Net().state_dict(), assign=True),
        lambda m: setattr(m, "head", nn.Linear(4, 2)),
        lambda m: m.head.weight.data.__class__ and setattr(m.head.weight, "data", torch.randn(2, 4)),
        lambda m: m.norm.running_mean.add_(3),
        lambda m: setattr(m.head, "weight", nn.Parameter(torch.randn(2, 4))),
    ],
)
def test_changes_of_every_kind_are_seen(module, levels, change):
    detector = Detector(module)
    detector.scores(levels)
    prepare(detector, "fp32")
    for seed in range(2):
        torch.manual_seed(10 + seed)
        with torch.no_grad():
            change(module)
        assert torch.allclose(detector.scores(levels), plain(module, levels), atol=1e-6)
        fast = prepare(detector, "fp32")(levels / 255).softmax(1)[:, 1]
        assert torch.allclose(fast, plain(module, levels), atol=1e-5)


def test_refresh_is_for_writes_that_no_counter_shows(module, levels):
    detector = Detector(module)
    detector.scores(levels)
    module.head.weight.data.mul_(-1)
    detector.refresh()
    assert torch.allclose(detector.scores(levels), plain(module, levels), atol=1e-6)


def test_the_prepared_copy_is_made_once(module):
    detector = Detector(module)
    assert prepare(detector, "fp32") is prepare(detector, "fp32")
    assert prepare(detector, "fp32") is not prepare(detector, "bf16")
    first = prepare(detector, "fp32")
    detector.refresh()
    assert prepare(detector, "fp32") is not first


def test_blocks_in_threads_and_inside_each_other_put_the_mode_back_once(module):
    detector, other = Detector(module), Detector(module)
    inside = []

    def work():
        for _ in range(50):
            with borrowed(detector), borrowed(other):
                inside.append(module.training or module.head.weight.requires_grad)

    before = state(module)
    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(inside)
    assert state(module) == before


def test_a_network_that_torch_does_not_see_is_borrowed_too(levels):
    hidden = Net().train()

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = [hidden]

        def forward(self, images):
            return self.held[0](images)

    before = state(hidden)
    detector = Detector(Holder())
    assert torch.allclose(detector.scores(levels), plain(hidden, levels), atol=1e-6)
    assert state(hidden) == before
    with torch.no_grad():
        hidden.head.weight.mul_(-3)
    assert torch.allclose(detector.scores(levels), plain(hidden, levels), atol=1e-6)


class Proxy:
    """An object as the ``request`` of Flask: reading an attribute outside a request raises an error."""

    @property
    def __dict__(self):
        raise RuntimeError("outside of a request")


def test_an_object_that_cannot_be_read_hides_no_other_network(levels):
    hidden = Net().train()

    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = [Proxy(), hidden, Proxy()]

        def forward(self, x):
            return self.held[1](x)

    detector = Detector(Caller())
    assert torch.allclose(detector.scores(levels), plain(hidden, levels), atol=1e-6)
    before = detector.scores(levels)
    with torch.no_grad():
        hidden.head.weight.mul_(-3)
    assert not torch.allclose(detector.scores(levels), before)


def test_an_attack_that_holds_an_unreadable_object_is_known_in_its_process_alone():
    proxy = Proxy()
    assert object_identity(partial(len, proxy)) == object_identity(partial(len, proxy))
    assert object_identity(partial(len, proxy)) != object_identity(partial(len, Proxy()))


def test_a_module_is_tried_on_the_size_of_the_first_images(levels):
    torch.manual_seed(0)
    only_20 = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 20, 2))
    detector = Detector(only_20)
    assert torch.allclose(detector.scores(levels), plain(only_20, levels), atol=1e-6)
    assert detector.probes().shape == (4, 3, 20, 20)
    assert (attacked(Detector(only_20), levels, steps=2).linf <= 8 / 255 + 1e-6).all()
    with pytest.raises(UserError, match="fails on 19×20") as caught:
        Detector(only_20).scores(levels[:, :, :19])
    assert "input_size" in caught.value.hint


def test_a_detector_pickles(module, levels):
    detector = Detector(module, name="mine", threshold=0.3, mean=(0.1, 0.2, 0.3))
    expected = detector.scores(levels)
    again = pickle.loads(pickle.dumps(detector))
    assert torch.equal(again.scores(levels), expected)
    assert (again.name, again.threshold) == ("mine", detector.threshold)
    assert again.identity() == detector.identity()


def test_thresholds(module, levels):
    detector = Detector(module)
    scores = detector.scores(levels)
    middle = float(scores.sort().values[3])
    other = detector.with_threshold(middle)
    assert other.predict(levels).tolist() == (scores >= middle).long().tolist()
    assert detector.threshold == HALF
    labels = (scores >= middle).long()
    fitted = detector.with_threshold("youden", levels, labels)
    assert fitted.predict(levels).tolist() == labels.tolist()
    assert fitted.network is module
    words = ["fake" if label else "real" for label in labels]
    assert detector.with_threshold("fpr@0", levels, words).predict(levels).tolist() == labels.tolist()
    half = Detector(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)))
    with torch.no_grad():
        half.network[2].weight.zero_()
        half.network[2].bias.zero_()
    assert half.predict(levels).tolist() == [1] * 6


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((2, 3, 8, 8), 1.5), r"images\[0\]: floats from 1.5 to 1.5"),
        (torch.full((2, 3, 8, 8), -0.5), r"images\[0\]: floats from -0.5"),
        (torch.full((1, 3, 8, 8), torch.nan), r"images\[0\]: the image has NaN"),
        (torch.full((1, 3, 8, 8), torch.inf), "has infinite values"),
        (torch.full((1, 3, 8, 8), 256), "integers from 256 to 256"),
        (torch.full((1, 3, 8, 8), -1), "integers from 0 to 255"),
        (torch.zeros(3, 8, 8), "the shape 3×8×8: one image"),
        (torch.zeros(2, 8, 8, 3), "N×8×8×3, not N×3×H×W: the channels are last"),
        (torch.zeros(2, 1, 8, 8), "there is one channel"),
        (torch.zeros(2, 3, 0, 8), "the image is empty"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.bool), "truth values"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.complex64), "complex numbers"),
        (torch.zeros(2, 3, 8, 8, device="meta"), "no values"),
        ([torch.zeros(3, 8, 8), torch.zeros(8, 8, 3)], r"images\[1\]: .*, not 3×H×W"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 2.0)], r"images\[1\]: floats from 2"),
        ([torch.zeros(1, 3, 8, 8)], r"images\[0\]: .* 1×3×8×8, not 3×H×W"),
        (["nowhere.png"], "nowhere.png: cannot be read"),
        ([3], r"images\[0\]: int is not an image"),
        ([None], r"images\[0\]: NoneType is not an image"),
        (None, "images are None"),
        ({"a": 1}, "images are dict"),
        ([np.zeros((8, 8, 3))], r"images\[0\]: .* the channels are last"),
        ((image for image in []), "read once"),
    ],
)
def test_images_that_are_none_are_named(module, images, message):
    with pytest.raises(UserError, match=message) as caught:
        Detector(module).scores(images)
    assert caught.value.hint or caught.value.file


def test_an_array_has_the_scores_of_its_tensor(module, levels):
    detector = Detector(module)
    assert torch.equal(detector.scores(levels.numpy()), detector.scores(levels))
    pixels = (levels / 255).numpy()
    assert torch.equal(detector.scores([*pixels]), detector.scores(levels))
    for given in (pixels, levels.numpy(), [*pixels]):
        back = like_given(to_levels_list(given), given)
        assert type(back) is type(given)
        assert back[0].dtype == given[0].dtype
        assert np.array_equal(np.stack([*back]), np.stack([*given]))


def test_a_file_that_is_no_image_is_named(module, tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match=r"a\.png: is not a readable image"):
        Detector(module).scores([tmp_path / "a.png"])


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [0, 2, 1], ["real", "ai", "fake"], [0.5, 1, 0], [float("nan"), 0, 1], [None, 0, 1], "real", 1, None,
     torch.zeros(3, 1), np.zeros((3, 2)), {"a": 0}, [[0], [1], [0]], ["0", 1, 0]],
)  # fmt: skip
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(UserError, match="label"):
        labels_of(labels, 3)


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 1], ("real", "fake", "fake"), torch.tensor([0, 1, 1]), np.array([0, 1, 1]), [False, True, 1.0],
     torch.tensor([0.0, 1.0, 1.0]), np.array(["real", "fake", "fake"]), [torch.tensor(0), np.int64(1), 1]],
)  # fmt: skip
def test_labels_in_every_form(labels):
    found = labels_of(labels, 3)
    assert found.tolist() == [0, 1, 1]
    assert found.dtype == torch.long


def test_out_comes_what_went_in(levels, tmp_path):
    picture = Image.fromarray(levels[0].permute(1, 2, 0).numpy())
    back = like_given(to_levels_list(picture), picture)
    assert isinstance(back, Image.Image)
    assert np.array_equal(np.asarray(back), np.asarray(picture))
    for dtype in (torch.float32, torch.float64, torch.uint8, torch.int64):
        given = levels.to(dtype) / 255 if dtype.is_floating_point else levels.to(dtype)
        again = like_given(to_levels_list(given), given)
        assert again.dtype == dtype
        assert torch.allclose(again, given, atol=1e-6)
    listed = [levels[0], picture, levels[1] / 255]
    again = like_given(to_levels_list(listed), listed)
    assert [type(item) for item in again] == [torch.Tensor, Image.Image, torch.Tensor]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (127, 127, 127)}, "127/255"),
        ({"mean": (0.5, 0.5)}, "three numbers"),
        ({"mean": None}, "mean=None"),
        ({"std": (0, 1, 1)}, "greater than 0"),
        ({"fake_index": 2}, "fake_index"),
        ({"outputs": "scores"}, "outputs"),
        ({"channels": "hsv"}, "channels"),
        ({"resample": "box"}, "resample"),
        ({"input_size": (0, 3)}, "input_size"),
        ({"input_size": 22.5}, "input_size"),
        ({"resize_to": 256}, "input_size"),
        ({"threshold": 1.0}, "threshold must be a number between 0 and 1"),
        ({"threshold": "youden"}, "with_threshold|fitted"),
        ({"name": " "}, "name must be a text"),
        ({"version": 3}, "version must be a text"),
    ],
)
def test_settings_that_are_none_are_refused(module, arguments, message):
    with pytest.raises(UserError, match=message):
        Detector(module, **arguments)


@pytest.mark.parametrize("given", [Net, lambda images: images, None, "minigen/lenet5"])
def test_what_is_no_module_is_refused(given):
    with pytest.raises(UserError, match=r"Detector\(Net\(\)\)|torch.nn.Module"):
        Detector(given)


def test_settings_take_tensors_and_arrays(module, levels):
    detector = Detector(
        module,
        mean=torch.tensor([0.1, 0.2, 0.3]).double(),
        std=np.array([0.5, 0.5, 0.5]),
        input_size=torch.Size([16, 16]),
    )
    assert detector.preprocessing.input_size == (16, 16)
    assert detector.preprocessing.mean == pytest.approx((0.1, 0.2, 0.3))
    assert len(detector.scores(levels)) == 6


def test_load_detector_takes_what_is_in_memory(module, levels):
    loaded = load_detector(module)
    assert torch.allclose(loaded.scores(levels), plain(module, levels), atol=1e-6)
    assert load_detector(loaded) is loaded
    assert load_detector({"id": "minigen/lenet5", "name": "mine"}).name == "mine"
    with pytest.raises(UserError, match="unknown key 'ids'"):
        load_detector({"ids": "minigen/lenet5"})
    with pytest.raises(UserError, match="three or more classes"):
        load_detector(Net(3))
    with pytest.raises(UserError, match="torch.nn.Module"):
        load_detector(3)
    with pytest.raises(UserError, match="leave arch"):
        load_detector(module, arch="lenet5")
    with pytest.raises(UserError, match="is on meta, and cpu is required"):
        load_detector(Net().to("meta"))


def test_identity_follows_weights_settings_and_not_the_name(module):
    first = Detector(module).identity()
    assert Detector(module, name="other").identity() == first
    assert Detector(module, mean=(0.5, 0, 0)).identity() != first
    assert Detector(module, fake_index=0).identity() != first
    module.head.bias.data.add_(1)
    assert Detector(module).identity() != first


SCRIPT = """
import json, sys, torch
from robustbench_aigen.detectors.contract import Detector
for code, seen, arguments in json.loads(sys.argv[1]):
    space = {"torch": torch, "__name__": "__main__"}
    exec(code, space)
    torch.manual_seed(0)
    detector = Detector(space["Net"](), **arguments)
    if seen:
        detector.scores(torch.zeros(1, 3, 40, 40))
    print(detector.identity())
"""
OF_A_NOTEBOOK = """
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 2)
    def forward(self, images):
        return self.head(images.mean((2, 3)))
"""


def identities_elsewhere(*given):
    """Of detectors of a new process: each by the code of its class, whether it has scored, and its arguments."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.split()


def test_identity_in_another_process(tmp_path):
    file = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from own_network import Net"
    (tmp_path / "own_network.py").write_text("import torch\n" + OF_A_NOTEBOOK)
    of_a_notebook = ((OF_A_NOTEBOOK, False, {}), (OF_A_NOTEBOOK, False, {"version": "v3"}))
    of_file, unnamed, named = identities_elsewhere((file, False, {}), *of_a_notebook)
    of_file_seen, unnamed_again, named_again = identities_elsewhere((file, True, {}), *of_a_notebook)
    assert of_file_seen == of_file
    assert unnamed_again != unnamed
    assert named_again == named
    (tmp_path / "own_network.py").write_text("import torch\n" + OF_A_NOTEBOOK + "# changed\n")
    (changed,) = identities_elsewhere((file, False, {}))
    assert changed != of_file


class Noisy(Net):
    def forward(self, images):
        return super().forward(images + 0.05 * torch.randn_like(images))


def test_a_detector_that_draws_has_an_identity_that_repeats():
    torch.manual_seed(0)
    module = Noisy()
    before = torch.get_rng_state()
    assert Detector(module).identity() == Detector(module).identity()
    assert torch.equal(torch.get_rng_state(), before)


def records(module, folder, seed_of_code, monkeypatch):
    monkeypatch.setattr("robustbench_aigen.engine.identity._base_code", lambda: [seed_of_code])
    experiment = make_experiment(load_scenario("fgsm_sweep").replace(
        data={"source": "minigen", "split": "test", "limit": 8}, pipelines={"fgsm": [{"attack": "fgsm", "eps": "4/255"}]}
    ), device="cpu")  # fmt: skip
    detector = Detector(module, input_size=16, name="mine")
    experiment = experiment.replaced(detectors=(detector,), thresholds={"mine": HALF}, specs=(None,))
    execution = Execution(experiment, ShardCache(folder, fresh=False), Silent())
    with lent(experiment):
        examine_detectors(experiment, execution.cache, Checks())
        found = execution.records(list(make_shards(experiment.selection)))
    return found, detector


def test_an_edit_of_the_code_moves_no_draw_of_a_detector(tmp_path, monkeypatch):
    torch.manual_seed(0)
    module = Noisy().train()
    before = state(module)
    one, detector = records(module, tmp_path / "a", "one", monkeypatch)
    other, _ = records(module, tmp_path / "b", "other", monkeypatch)
    assert detector.draws
    assert one.equals(other)
    assert state(module) == before


def test_a_cached_shard_is_not_taken_for_other_weights(module, tmp_path, monkeypatch):
    one, _ = records(module, tmp_path, "code", monkeypatch)
    again, _ = records(module, tmp_path, "code", monkeypatch)
    module.head.weight.data.mul_(-1)
    other, _ = records(module, tmp_path, "code", monkeypatch)
    assert one.equals(again)
    assert not np.allclose(one["score"], other["score"])


def test_a_detector_that_a_factory_makes_of_a_module_is_loaded_frozen(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom robustbench_aigen.detectors.contract import Detector\n" + OF_A_NOTEBOOK
        + "def make():\n    return Detector(Net(), mean=(0.5, 0.5, 0.5))\n"
    )  # fmt: skip
    detector = load_detector(f"python:{tmp_path / 'mine.py'}:make")
    assert not any(module.training for module in detector.modules())
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    assert not detector.borrows
