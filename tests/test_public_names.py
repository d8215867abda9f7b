"""What is public: the names, their signatures, what they import, and the names of the release before."""

import inspect
import subprocess
import sys
import warnings

import pytest

import robustbench_aigen
from robustbench_aigen import (
    Detector,
    Experiment,
    ImageData,
    Run,
    Scenario,
    UserError,
    attacks,
    benchmark,
    evaluate,
    interop,
    list_attacks,
    list_detectors,
    list_perturbations,
    list_runs,
    list_scenarios,
    load_detector,
    perturbations,
    report,
    training,
)

PUBLIC = """evaluate benchmark Detector ImageData Scenario Experiment Run AttackResult attacks explain perturbations interop plugins
    training load_detector report list_detectors list_attacks list_perturbations list_scenarios list_runs UserError
    __version__"""

SIGNATURES = {
    evaluate: "detector, data='minigen', pipelines=(), *, split=None, limit=None, threshold=None, objective='both', "
    "mode='accuracy', share_sweeps=True, seed=42, batch_size=None, precision='auto', device='auto', name='evaluation', "
    "output=None, keep_images='some', trust='quick', ssim='sample', metrics=(), unsure=None, fresh=False, trust_code=False, progress=False, threads=None",
    benchmark: "detector, suite='standard', *, data=None, split=None, limit=None, threshold=None, device='auto', output=None, trust_code=False, progress=False",
    Detector: "module, *, mean=(0, 0, 0), std=(1, 1, 1), input_size=None, fake_index=1, outputs='logits', "
    "channels='rgb', resample='bilinear', resize_to=None, crop=None, stride=None, combine='mean_score', pad=None, "
    "threshold=0.5, name=None, version=None",
    Detector.scores: "self, images",
    Detector.predict: "self, images",
    Detector.with_threshold: "self, rule, images=None, labels=None",
    load_detector: "spec, *, arch=None, http=None, folder='.', device='cpu', trust_code=False",
    type(
        attacks.pgd()
    ).__call__: "self, detector, images, labels, *, threshold=None, early_stop=False, seed=42, "
    "ids=None, batch_size=None, precision='auto'",
    type(attacks.pgd()).expand: "self",
    attacks.create: "recipe, **given",
    type(perturbations.jpeg()).__call__: "self, images, *, seed=42, ids=None",
    type(perturbations.jpeg()).differentiable: "self, pixels, *, seed=42, ids=None",
    ImageData.open: "source, split='test', limit=None, layout=None, labels=None, *, …",
    ImageData.from_tensors: "images, labels, *, generators=None, ids=None, splits=None, name='tensors'",
    ImageData.from_images: "images_or_paths, labels, *, generators=None, ids=None, splits=None",
    ImageData.from_dataset: "dataset, *, labels=None",
    ImageData.from_frame: "frame, *, image='path', label='label', generator=None, split=None, folder='.', …",
    ImageData.audit: "self, *, …",
    ImageData.equalise: "self, folder, *, …",
    ImageData.prepare: "self, folder, *, crop_bottom=None, …",
    Scenario.from_yaml: "file",
    Scenario.from_dict: "content, folder='.'",
    Scenario.to_dict: "self",
    Scenario.to_yaml: "self, path=None",
    Scenario.replace: "self, **changes",
    Scenario.check: "self",
    Scenario.experiment: "self, device='auto', *, trust_code=False",
    Scenario.run: "self, output='results', …",
    Experiment: "detectors, data, pipelines, *, …",
    Experiment.estimate: "self",
    Experiment.run: "self, output=None, *, …",
    Run.load: "folder",
    Run.accuracy: "self, pipeline='clean', detector=None",
    Run.worst_case: "self, pattern, detector=None",
    Run.compare_detectors: "self",
    Run.save: "self, folder",
    Run.save_baseline: "self, folder",
    Run.report: "self, folder=None, *, model_cards=False",
    Run.compare: "self, other",
    Run.gate: "self, baseline, config=None, *, unpaired=False",
    report: "runs, output=None, *, model_cards=False",
    interop.as_art: "detector, …",
    interop.as_torchattacks: "detector",
    interop.as_foolbox: "detector",
    interop.from_torchattacks: "attack, *, norm='linf', eps, **arguments",
    interop.from_art: "attack, *, norm='linf', eps, **arguments",
    interop.from_foolbox: "attack, *, eps",
    interop.from_function: "f, *, norm='linf', eps=None, …",
    list_detectors: "pattern='*'",
    list_attacks: "norm=None, access=None",
    list_perturbations: "",
    list_scenarios: "",
    list_runs: "output='results'",
    training.train: "recipe, data='minigen', *, output='results/detectors', …",
    training.finetune: "file, *, detector=None, arch=None, data=None, limit=None, epochs=None, minutes=None, …",
    training.cross_generator: "recipe=None, *, data=None, scenario='cross_generator', …",
}
"""The promised signatures; where one ends in an ellipsis, more may follow."""


def written(function) -> str:
    parts, is_keyword = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            parts, is_keyword = [*parts, "*"], True
        stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parts.append(f"{stars}{parameter.name}{default}")
    return ", ".join(parts)


@pytest.mark.parametrize(
    ("function", "said"), SIGNATURES.items(), ids=lambda each: getattr(each, "__qualname__", "")
)
def test_every_signature_is_the_promised_one(function, said):
    found = written(function)
    if said.endswith("…"):
        assert f"{found}, ".startswith(said.removesuffix("…"))
    else:
        assert found == said


def test_the_public_names_are_exactly_these():
    assert sorted(robustbench_aigen.__all__) == sorted(PUBLIC.split())
    assert sorted(dir(robustbench_aigen)) == sorted(PUBLIC.split())
    for name in PUBLIC.split():
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            assert getattr(robustbench_aigen, name) is not None
    with pytest.raises(AttributeError, match="did you mean 'evaluate'"):
        robustbench_aigen.evalute  # noqa: B018
    assert set(dir(training)) == {"train", "finetune", "cross_generator"}


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("run", "Scenario.from_yaml(file).run()"),
        ("load_scenario", "Scenario.from_yaml(file)"),
        ("compare", "run.compare(other)"),
        ("compare_detectors", "run.compare_detectors()"),
        ("gate", "run.gate(baseline)"),
    ],
)
def test_the_names_of_the_release_before_work_and_name_the_new_ones(name, new, tmp_path):
    with pytest.warns(DeprecationWarning, match="is removed in the next release") as said:
        old = getattr(robustbench_aigen, name)
    assert str(said[0].message) == f"robustbench_aigen.{name} is removed in the next release: write {new}"
    assert said[0].filename == __file__
    scenario = Scenario(
        name="s", data={"source": "minigen", "limit": 8}, detectors=["minigen/lenet5", "minigen/cifake_cnn"],
        pipelines={"jpeg": [{"perturb": "jpeg"}]},
    )  # fmt: skip
    if name == "load_scenario":
        assert old("pgd_eps4") == Scenario.from_yaml("pgd_eps4")
        return
    made = (old if name == "run" else Scenario.run)(scenario, output=tmp_path)
    assert isinstance(made, Run)
    if name == "compare":
        assert len(old(made, made).cells) == len(made.compare(made).cells)
    elif name == "compare_detectors":
        assert len(old(made)) == len(made.compare_detectors())
    elif name == "gate":
        assert old(made, made.save_baseline(tmp_path / "before")).passed


def imported_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_nothing_is_imported_before_it_is_used():
    """Beside the standard library, importing the package brings the package alone."""
    own = imported_by("import robustbench_aigen") - imported_by("import importlib, typing")
    assert {name for name in own if not name.startswith(("robustbench_aigen", "__"))} == set()
    stages = (
        "from robustbench_aigen import Scenario, attacks, perturbations, training\n"
        "attacks.pgd(eps=4/255, through=[perturbations.jpeg()])\nScenario.from_yaml('pgd_eps4')"
    )
    assert not {"torch", "pandas", "numpy"} & imported_by(stages)


def test_evaluate_keeps_every_attacked_image_whole_where_asked():
    import torch

    images = torch.randint(0, 256, (12, 3, 300, 40), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    data, pipelines = (images, [0, 1] * 6), {"pgd": attacks.pgd(steps=2)}
    few = evaluate("minigen/lenet5", data, pipelines).adversarial_examples
    run = evaluate("minigen/lenet5", data, pipelines, keep_images="all")
    assert len(few) < len(run.adversarial_examples) == len(images)
    assert {each.image.size for each in few} == {(40, 256)}
    assert {each.image.size for each in run.adversarial_examples} == {(40, 300)}
    for record, original, image in run.adversarial_examples:
        moved = max(abs(a - b) for a, b in zip(original.tobytes(), image.tobytes(), strict=True))
        assert moved == round(record["linf"] * 255)
    with pytest.raises(UserError, match="keep_images"):
        evaluate("minigen/lenet5", data, keep_images="none")
