"""What an attack changed, and which images fell first: against closed forms, scipy and plain loops."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from gated_runs import PGD, made_up
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests
from torch import nn

from robustbench_aigen import Run, Scenario, UserError, attacks, evaluate
from robustbench_aigen.explain.fallen import first_fallen, image_properties
from robustbench_aigen.explain.perturbations import BANDS, change_of
from robustbench_aigen.explain.run_page import load_detectors
from robustbench_aigen.views.report import EXPLANATIONS


def test_the_energy_of_a_wave_is_in_its_band():
    original = np.full((64, 64, 3), 128, np.uint8)
    columns = np.arange(64)
    for frequency, band in ((2 / 64, 0), (6 / 64, 1), (12 / 64, 2), (28 / 64, 3)):
        wave = np.rint(40 * np.cos(2 * np.pi * frequency * columns)).astype(int)
        found = change_of(original, (original.astype(int) + wave[None, :, None]).astype(np.uint8))
        assert found.shares[band] > 0.99
        assert found.shares.sum() == pytest.approx(1)
    assert found.white.sum() == pytest.approx(1)
    # Parseval's theorem.
    assert found.spectrum.sum() == pytest.approx((found.difference**2).mean(axis=2).sum())
    assert np.isnan(change_of(original, original).shares).all()
    noise = np.random.default_rng(0).integers(0, 256, original.shape, dtype=np.uint8)
    assert change_of(original, noise).shares[1:] == pytest.approx(found.white[1:], rel=0.1)
    assert len(found.shares) == len(BANDS)


SWEEP = {
    f"pgd[eps={eps}]": [{**PGD, "eps": eps / 255}] for eps in (1, 2, 4)
}  # fmt: skip


def swept_run() -> Run:
    """Of 60 images, a third falls at each eps but the first: 20 at 2/255, 20 at 4/255; the others never."""
    number = np.arange(60)
    right = {("d", "clean"): np.ones(60, bool)}
    for name, fallen in zip(SWEEP, (np.zeros(60, bool), number < 20, number < 40), strict=True):
        right["d", name] = ~fallen
    return made_up(right, pipelines=SWEEP)


def test_groups_effects_and_p_values_are_those_of_a_plain_loop():
    run = swept_run()
    families = {name: run.info.by_pipeline[name].family for name in SWEEP}
    family = families["pgd[eps=2]"]
    rng = np.random.default_rng(3)
    properties = pd.DataFrame(
        {"brightness": np.where(np.arange(60) < 20, 0.3, 0.6) + rng.normal(0, 0.2, 60), "pixels": 1024.0},
        index=[f"test/{number:05}" for number in range(60)],
    )
    if len(set(families.values())) > 1:
        pytest.fail("the pipelines of the made-up run are no sweep")
    found = first_fallen(run, "d", family, properties)
    assert found.missing == "0 images fell at the smallest eps and 20 did not; each group needs 5"
    assert sorted(found.first.map(lambda eps: round(eps * 255) if np.isfinite(eps) else 0).value_counts().items()) == [
        (0, 20), (2, 20), (4, 20),
    ]  # fmt: skip


def test_the_table_of_differences_is_corrected_for_its_rows():
    number = np.arange(60)
    run = made_up(
        {
            ("d", "clean"): np.ones(60, bool),
            ("d", "pgd[eps=1]"): number >= 25,
            ("d", "pgd[eps=2]"): number >= 35,
        },
        pipelines={name: SWEEP[name] for name in ("pgd[eps=1]", "pgd[eps=2]")},
    )
    family = run.info.by_pipeline["pgd[eps=1]"].family
    rng = np.random.default_rng(3)
    brightness = np.where(number < 25, 0.3, 0.6) + rng.normal(0, 0.2, 60)
    names = [f"test/{each:05}" for each in number]
    properties = pd.DataFrame({"brightness": brightness, "pixels": 1024.0}, index=names)
    found = first_fallen(run, "d", family, properties)
    table = found.table.set_index("property")
    assert "pixels" not in table.index  # All images have the same.
    fell, held = brightness[:25], brightness[35:]
    delta = np.mean([np.sign(one - other) for one in fell for other in held])
    assert table.loc["brightness", "effect"] == pytest.approx(delta)
    expected = mannwhitneyu(fell, held, method="asymptotic").pvalue
    assert table.loc["brightness", "p"] == pytest.approx(expected, rel=1e-6)
    assert table["p adjusted"].tolist() == pytest.approx(multipletests(table["p"], method="holm")[1].tolist())
    assert set(table.index) == {"brightness", "clean margin", "is fake", "from dcgan", "from vae"}
    assert table.loc["is fake", "fell first"] == pytest.approx(np.mean(number[:25] % 2))
    all_fell = made_up(
        {
            ("d", "clean"): np.ones(60, bool),
            ("d", "pgd[eps=1]"): number >= 25,
            ("d", "pgd[eps=2]"): number < 0,
        },
        pipelines={name: SWEEP[name] for name in ("pgd[eps=1]", "pgd[eps=2]")},
    )
    later = first_fallen(all_fell, "d", family, properties).table.set_index("property")
    assert later.loc["brightness", "others"] == pytest.approx(np.median(brightness[25:]))
    with pytest.raises(UserError, match="the pipelines of 'clean' have no eps"):
        first_fallen(run, "d", "clean", properties)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenario = Scenario(
        name="s", data={"source": "minigen", "limit": 12}, detectors=["minigen/lenet5"], trust="off", keep_images="all",
        pipelines={"pgd": [{"attack": "pgd", "eps": ["2/255", "8/255"], "steps": 2}], "jpeg": [{"perturb": "jpeg"}]},
    )  # fmt: skip
    return scenario.run(tmp_path_factory.mktemp("runs")).path


def test_the_properties_are_those_of_the_images(attacked):
    from robustbench_aigen import ImageData
    from robustbench_aigen.numerics.decoding import decode

    found = image_properties(Run.load(attacked))
    data = ImageData.open("minigen", limit=12)
    assert set(found.index) == {sample.id for sample in data.selection.samples}
    row = data.selection.indices[0]
    pixels = decode(data.source.encoded(row)).numpy() / 255
    grey = np.tensordot([0.299, 0.587, 0.114], pixels, 1)
    assert found.loc[data.source.samples[row].id, "brightness"] == pytest.approx(float(grey.mean()))
    assert (found["pixels"] == 1024).all()


def test_a_page_of_a_run_shows_every_attack_and_the_report_links_it(attacked, cli, undrawn):
    done = cli("explain", attacked, "--images", 2, "--method", "input_gradients", "--json")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    page = Path(content["page"])
    assert page.parent.parent == attacked.resolve() / EXPLANATIONS
    figures = {file.stem for file in (page.parent / "figures").glob("*.png")}
    assert figures == {"attack-pgd-eps-8-255", "path-pgd-eps-8-255"}
    assert [row["pipeline"] for row in content["tables"]["bands"]] == ["pgd[eps=8/255]", "white noise"]
    assert "First fallen: pgd" in page.read_text(encoding="utf-8")
    link = f'href="{EXPLANATIONS}/minigen_lenet5/explanation.html"'
    assert link in (attacked / "report.html").read_text(encoding="utf-8")


def test_runs_without_images_detectors_or_weights_say_what_to_do(attacked, cli, tmp_path):
    assert "the run has no detector 'lenet'" in cli("explain", attacked, "lenet").err
    assert "--layer does not apply to a run folder" in cli("explain", attacked, "--layer", "conv").err
    plain = Scenario(
        name="p", data={"source": "minigen", "limit": 8}, detectors=["minigen/lenet5"], trust="off",
        pipelines={"jpeg": [{"perturb": "jpeg"}]},
    ).run(tmp_path)  # fmt: skip
    done = cli("explain", plain.path)
    assert done.code == 2
    assert "kept no attacked image of 'minigen/lenet5'" in done.err
    assert "keep_images='all'" in done.err
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    memory = evaluate(network, (images, [0, 1, 0, 1]), {"pgd": attacks.pgd(steps=1)})
    with pytest.raises(UserError, match="detector 'Sequential' of the run was in memory"):
        load_detectors(memory)
    info = json.loads((attacked / "run.json").read_text())
    run = Run.load(attacked)
    other = run.info.replace(detectors=[{**info["detectors"][0], "weights_sha256": "0" * 64}])
    with pytest.raises(UserError, match="the weights of 'minigen/lenet5' are not those of the run"):
        load_detectors(Run.computed(other, run.records, run.summary, run.gallery))


def test_the_commands_of_the_document_for_runs_run(cli, tmp_path, monkeypatch, undrawn):
    document = (REPOSITORY / "docs" / "EXPLAIN.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ robust-aigen (explain results/.*)$", document, re.MULTILINE)
    assert len(lines) == 2
    scenario = Scenario.from_yaml("pgd_sweep").replace(
        data={"source": "minigen", "limit": 12}, detectors=["minigen/lenet5"], trust="off"
    )
    scenario.run(tmp_path / "results")
    monkeypatch.setattr("robustbench_aigen.explain.run_page.affordable_steps", lambda detector: 32)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        done = cli(*shlex.split(line), "--images", 2)
        assert done.code == 0, done.err
    written = tmp_path / "results" / "pgd_sweep" / "latest" / EXPLANATIONS / "minigen_lenet5"
    assert (written / "explanation.html").is_file()
