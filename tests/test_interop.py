"""Attacks made from objects, and detectors for other libraries."""

import json
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from robustbench_aigen import Detector, Run, Scenario, UserError, evaluate, interop, load_detector

EPS = 4 / 255
LABELS = [place % 2 for place in range(8)]
STRENGTH = 1.0


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (8, 3, 32, 32), generator=generator).to(torch.uint8)


@pytest.fixture
def module():
    """In training mode but for one layer, as in a training with a frozen batch norm."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    made.train()
    made[1].eval()
    made[0].weight.requires_grad_(False)
    return made


def state_of(module):
    return (
        [each.training for each in module.modules()],
        [(each.requires_grad, each.grad is None) for each in module.parameters()],
        {name: value.clone() for name, value in module.state_dict().items()},
    )


def is_unchanged(module, before):
    modes, flags, values = state_of(module)
    return (modes, flags) == before[:2] and all(
        torch.equal(values[key], value) for key, value in before[2].items()
    )


def one_step(module, pixels, labels, eps=EPS):
    """FGSM as people write it."""
    pixels = pixels.clone().requires_grad_()
    loss = nn.functional.cross_entropy(module(pixels), labels)
    loss.backward()
    return (pixels + STRENGTH * eps * pixels.grad.sign()).clamp(0, 1).detach()


def noisy(module, pixels, labels):
    return (pixels + EPS * (2 * torch.rand(pixels.shape) - 1)).clamp(0, 1)


def several_tries(module, pixels, labels):
    found = pixels
    for _ in range(5):
        tried = (pixels + EPS * torch.randn_like(pixels).sign()).clamp(0, 1)
        found = torch.where((module(tried).argmax(1) != labels).view(-1, 1, 1, 1), tried, found)
    return found


def test_a_function_is_an_attack_on_a_batch_and_in_a_run(images, module, tmp_path, undrawn):
    before = state_of(module)
    attack = interop.from_function(one_step, eps=EPS)
    result = attack(module, images, LABELS)
    assert is_unchanged(module, before)
    assert 0 < float(result.linf.max()) <= EPS + 1e-6
    assert torch.allclose(result.images * 255, (result.images * 255).round(), atol=1e-3)
    run = evaluate(module, (images, LABELS), {"mine": attack}, output=tmp_path)
    assert is_unchanged(module, before)
    records = run.records[run.records["pipeline"] == "mine"]
    assert (~result.success).tolist() == records["correct"].tolist()
    (stage,) = json.loads((run.folder / "run.json").read_text())["pipelines"][1]["stages"]
    assert stage == {
        "attack": {"memory": "one_step", "identity": attack.recipe.made_from.identity()},
        "backend": "function",
        "norm": "linf",
        "eps": EPS,
    }
    again = Run.load(run.folder)
    assert again.report(tmp_path / "report").is_dir()
    assert again.gate(again.save_baseline(tmp_path / "baseline")).passed
    assert len(again.compare(run).cells)


def test_a_run_with_a_function_comes_from_the_cache_until_the_function_changes(
    images, module, tmp_path, monkeypatch
):
    def computed(attack):
        run = evaluate(module.eval(), (images, LABELS), {"mine": attack}, output=tmp_path)
        return sum(row.shards_computed for row in run.info.timings if row.step == "cell")

    assert computed(interop.from_function(one_step, eps=EPS)) == 2
    assert computed(interop.from_function(one_step, eps=EPS)) == 0
    assert computed(interop.from_function(partial(one_step, eps=2 / 255), eps=EPS)) == 1
    monkeypatch.setitem(globals(), "STRENGTH", 0.5)
    assert computed(interop.from_function(one_step, eps=EPS)) == 1


def test_a_function_gets_what_its_documentation_says(images):
    detector = load_detector("minigen/lenet5")
    seen = []

    def attack(module, pixels, labels):
        assert isinstance(module, nn.Module)
        assert not module.training
        logits = module(pixels)
        seen.append((pixels.dtype, tuple(pixels.shape), labels.tolist(), tuple(logits.shape)))
        assert torch.equal(logits.argmax(1), detector.predict(images))
        return pixels

    interop.from_function(attack, eps=EPS)(detector, images, LABELS)
    assert seen == [(torch.float32, (8, 3, 32, 32), LABELS, (8, 2))]


def test_draws_of_a_function_are_seeded_for_each_image(images, module):
    attack = interop.from_function(noisy, eps=EPS)
    together = attack(module, images, LABELS).images
    torch.rand(3)
    assert torch.equal(attack(module, images, LABELS).images, together)
    assert not torch.equal(attack(module, images, LABELS, seed=7).images, together)
    assert torch.equal(attack(module, images[2:3], LABELS[2:3]).images[0], together[2])


def test_a_function_that_asks_for_verdicts_alone_attacks_a_detector_without_gradients(images):
    detector = Detector(NoGradients())
    with pytest.raises(UserError, match="needs gradients"):
        interop.from_function(several_tries, eps=EPS)(detector, images, LABELS)
    result = interop.from_function(several_tries, eps=EPS, access="decisions")(detector, images, LABELS)
    assert result.queries.min() >= 5


class NoGradients(nn.Module):
    def forward(self, pixels):
        return torch.stack([pixels.detach().mean(dim=(1, 2, 3)), torch.full((len(pixels),), 0.5)], dim=1)


def test_attacks_from_objects_sweep_pickle_and_compare(images, module):
    made = interop.from_function(one_step, eps=["1/255", "4/255"])
    assert pickle.loads(pickle.dumps(made)) == made
    assert [each.eps for each in made.expand()] == [1 / 255, 4 / 255]
    small = interop.from_function(partial(one_step, eps=1 / 255), eps=["1/255", "4/255"])
    assert evaluate(module, (images, LABELS), small).pipelines == [
        "clean",
        "one_step[eps=1/255]",
        "one_step[eps=4/255]",
    ]


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda m, x, y: x[:, :, :16], "×3×16×32 for images of "),
        (lambda m, x, y: x.numpy(), "returned a ndarray, and a tensor is needed"),
        (lambda m, x, y: None, "returned a NoneType"),
        (lambda m, x, y: x * torch.nan, "returned NaN"),
        (lambda m, x, y: (x + 0.1).clamp(0, 1), "exceeds its budget: linf 0.1"),
        (lambda m, x, y: x + EPS, "outside [0, 1]"),
        (lambda m, x, y: m(x[:, :2]), "expected input"),
        (lambda m, x, y: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_function_does_wrong_is_said_in_one_error(f, message, images, module):
    before = state_of(module)
    attack = interop.from_function(f, eps=EPS)
    for call in (attack, lambda m, x, y: evaluate(m, (x, y), {"p": attack})):
        with pytest.raises(UserError) as refused:
            call(module, images, LABELS)
        assert message in str(refused.value)
        assert len(str(refused.value).splitlines()) <= 2
        assert is_unchanged(module, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: interop.from_function("pgd", eps=EPS), "takes a function"),
        (lambda: interop.from_function(nn.Flatten, eps=EPS), "not the class Flatten"),
        (lambda: interop.from_function(one_step), "needs a budget"),
        (lambda: interop.from_function(one_step, eps=4), "write eps: 4/255"),
        (lambda: interop.from_function(one_step, eps="four"), "eps must be a distance in pixel units"),
        (lambda: interop.from_function(one_step, eps=-1), "eps must be greater than 0"),
        (lambda: interop.from_function(one_step, eps=[]), "list of values is empty"),
        (lambda: interop.from_function(one_step, norm="linfty", eps=EPS), "did you mean 'linf'"),
        (lambda: interop.from_function(one_step, norm="spatial", eps=EPS), "has no budget"),
        (lambda: interop.from_function(one_step, eps=EPS, access="logits"), "unknown access 'logits'"),
        (
            lambda: interop.from_function(lambda x: x, eps=EPS),
            "the call f(module, pixels, labels) does not fit",
        ),
        (lambda: interop.from_torchattacks("PDG", eps=EPS), "did you mean 'PGD'"),
        (lambda: interop.from_torchattacks("PGD", eps=EPS, stepps=3), "did you mean 'steps'"),
        (lambda: interop.from_torchattacks(3, eps=EPS), "a class or its name"),
        (lambda: interop.from_torchattacks("PGD", eps="x"), "eps must be"),
        (lambda: interop.from_art("PGD", norm="l3", eps=EPS), "unknown norm 'l3'"),
    ],
)
def test_what_cannot_be_an_attack_is_refused_when_it_is_made(make, message):
    with pytest.raises(UserError) as refused:
        make()
    assert message in str(refused.value)


def test_a_scenario_does_not_name_an_attack_in_memory():
    attack = interop.from_function(one_step, eps=EPS)
    scenario = Scenario(
        name="s", data={"source": "minigen"}, detectors=["minigen/lenet5"], pipelines={"mine": attack}
    )
    for call in (scenario.to_yaml, scenario.check):
        with pytest.raises(UserError, match="'one_step' was made from an object"):
            call()


@pytest.fixture
def foolbox():
    return pytest.importorskip("foolbox")


@pytest.mark.parametrize(
    ("name", "settings", "eps"),
    [
        ("LinfPGD", {"steps": 3}, EPS),
        ("L2PGD", {"steps": 3}, 0.5),
        ("FGSM", {}, EPS),
        ("L2CarliniWagnerAttack", {"steps": 5, "binary_search_steps": 2}, 1.0),
        ("LinfDeepFoolAttack", {"steps": 5}, EPS),
        (
            "HopSkipJumpAttack",
            {"steps": 1, "initial_gradient_eval_steps": 5, "max_gradient_eval_steps": 10},
            2.0,
        ),
        ("LinfAdditiveUniformNoiseAttack", {}, EPS),
        ("GenAttack", {"steps": 5, "population": 4}, 16 / 255),
        ("L0FMNAttack", {"steps": 5}, 30),
    ],
)
def test_attacks_of_foolbox_keep_their_budget_and_the_module(foolbox, name, settings, eps, images, module):
    before = state_of(module)
    attack = interop.from_foolbox(getattr(foolbox.attacks, name)(**settings), eps=eps)
    assert pickle.loads(pickle.dumps(attack)).to_dict() == attack.to_dict()
    result = attack(module, images[:4], LABELS[:4])
    assert is_unchanged(module, before)
    if attack.norm != "l0":
        assert float(getattr(result, attack.norm).max()) <= eps + 1e-4
    run = evaluate(module, (images[:4], LABELS[:4]), {"p": attack})
    assert is_unchanged(module, before)
    assert set(run.pipelines) == {"clean", "p"}


def test_foolbox_finds_what_it_finds_in_its_own_words(foolbox, images):
    detector = load_detector("minigen/lenet5")
    labels = detector.predict(images)
    theirs = foolbox.attacks.LinfPGD(steps=5, random_start=False)
    _, clipped, is_adv = theirs(interop.as_foolbox(detector), images.float() / 255, labels, epsilons=EPS)
    ours = interop.from_foolbox(theirs, eps=EPS)(detector, images, labels)
    assert float((clipped - ours.images).abs().max()) < 1 / 255
    assert ours.success.tolist() == is_adv.tolist()


def test_what_is_no_attack_of_foolbox_is_refused(foolbox):
    for wrong, message in (
        (foolbox.attacks.LinfPGD, "takes an attack, not the class"),
        (foolbox.attacks.SpatialAttack(), "not an attack of foolbox with a distance"),
        (foolbox.attacks.InversionAttack(), "distance none"),
        ("LinfPGD", "not an attack of foolbox"),
    ):
        with pytest.raises(UserError, match=message):
            interop.from_foolbox(wrong, eps=EPS)


def test_other_libraries_get_gradients_and_leave_the_module_as_it_was(foolbox, images, module):
    torchattacks = pytest.importorskip("torchattacks")
    from art.attacks.evasion import FastGradientMethod

    before = state_of(module)
    pixels, labels = images.float() / 255, torch.tensor(LABELS)
    wrapped = interop.as_torchattacks(module)
    found = torchattacks.PGD(wrapped, eps=EPS, steps=2, random_start=False)(pixels, labels)
    assert float((found - pixels).abs().max()) > EPS / 2
    classifier = interop.as_art(module, input_shape=(3, 32, 32))
    found = FastGradientMethod(classifier, eps=EPS).generate(pixels.numpy(), y=labels.numpy())
    assert abs(found - pixels.numpy()).max() > EPS / 2
    raw, _, _ = foolbox.attacks.LinfFastGradientAttack()(
        interop.as_foolbox(module), pixels, labels, epsilons=EPS
    )
    assert float((raw - pixels).abs().max()) > EPS / 2
    pixels.requires_grad_()
    wrapped(pixels).sum().backward()
    assert float(pixels.grad.abs().sum()) > 0
    assert is_unchanged(module, before)
