"""Published protocols: their levels, their trainings, the order of release, and the commands."""

import csv
import io
import json
import math
import shlex
from datetime import date

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.documents import protocols
from robustbench_aigen import ImageData, perturbations
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.data.release_dates import in_order, released
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.training.generator_matrix import gaps, matrix
from robustbench_aigen.training.planning import Variants, plan_jobs
from robustbench_aigen.training.recipe import load_recipe
from robustbench_aigen.training.splits import split_source
from robustbench_aigen.views.tables.chronology import chronology

NAMES = ("aigibench", "chronological", "genimage", "imdlbenco", "leave_one_out", "raid", "sidbench")
DOCUMENT = (REPOSITORY / "docs" / "PROTOCOLS.md").read_text(encoding="utf-8")


def test_every_protocol_has_its_source_and_is_a_scenario():
    assert tuple(shipped_files("protocols")) == NAMES
    for name, file in shipped_files("protocols").items():
        loaded = load_scenario(file)
        assert (loaded.name, load_scenario(name)) == (name, loaded)
        assert loaded.protocol.source
        assert loaded.protocol.ours
        assert len(expand_pipelines(loaded)) > 1
        assert loaded.check() == []


def values(protocol, family, parameter):
    pipelines = expand_pipelines(load_scenario(protocol))
    return [each.stages[-1].to_dict()[parameter] for each in pipelines if each.family == family]


def test_the_levels_of_imdlbenco_are_those_of_opencv():
    kernels, variances = (3, 7, 11, 15, 19, 23), (3, 7, 11, 15, 19, 23)
    of_opencv = [0.3 * ((size - 1) * 0.5 - 1) + 0.8 for size in kernels]
    assert values("imdlbenco", "blur", "sigma") == pytest.approx(of_opencv)
    assert values("imdlbenco", "noise", "sigma") == pytest.approx(
        [math.sqrt(each) / 255 for each in variances], rel=2e-4
    )
    assert values("imdlbenco", "jpeg", "quality") == [100, 90, 80, 70, 60, 50]


def test_sidbench_blurs_before_jpeg_with_sigma_and_quality_as_in_its_code():
    pipelines = [
        each for each in expand_pipelines(load_scenario("sidbench")) if each.family == "blur_then_jpeg"
    ]
    assert {tuple(stage.recipe.name for stage in each.stages) for each in pipelines} == {
        ("gaussian_blur", "jpeg")
    }
    found = {(each.stages[0].params["sigma"], each.stages[1].params["quality"]) for each in pipelines}
    assert found == {(sigma, quality) for sigma in (2, 4) for quality in (95, 90, 50, 30)}
    # Their stages, written with scipy and Pillow.
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    blurred = np.stack(
        [gaussian_filter(image[:, :, channel].astype(float), 2, mode="nearest") for channel in range(3)], 2
    )
    file = io.BytesIO()
    Image.fromarray(np.round(blurred).clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=50)
    ours = perturbations.jpeg(quality=50)(perturbations.gaussian_blur(sigma=2)([Image.fromarray(image)]))[0]
    theirs = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert np.abs(np.asarray(ours).astype(int) - theirs).mean() < 0.5


def test_a_run_names_the_protocol_and_the_report_has_the_order_of_release(tmp_path, cli):
    outcome = cli(
        "run", "--protocol", "chronological", "--detector", "minigen/lenet5", "--limit", 20, "--trust", "off",
        "--output", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    run = Run.load(json.loads(outcome.out)["run_folder"])
    assert run.info.command.startswith("robust-aigen run chronological --detector minigen/lenet5")
    assert run.info.scenario.protocol["source"].startswith("Pellegrini")
    table = chronology(join_runs([run]))
    titles = [column.title for column in table.columns[2:]]
    assert titles == [
        "vae (2013-12)",
        "dcgan (2015-11)",
        "upgan (2018-02)",
        "vqgan (2020-12)",
        "flow (2022-10)",
    ]
    rows = run.summary.set_index(["pipeline", "generator"])["balanced_accuracy"]
    for row in table.rows:
        for column, cell in zip(titles, row[2:], strict=True):
            assert cell.value == pytest.approx(100 * rows[row[0].value, column.split()[0]])


def test_minigens_own_generators_have_no_date_in_the_table_of_the_package():
    dates, unknown = in_order(["vae", "flow", "upgan"])
    assert (list(dates), unknown) == (["vae"], ["flow", "upgan"])


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("Stable Diffusion v1.4", "2022-08-22"), ("sdv1.4", "2022-08-22"), ("stable_diffusion_v1_4", "2022-08-22"),
        ("SDXL", "2023-07-26"), ("progan", "2017-10-27"), ("VQDM", "2021-11-29"), ("dall-e 3", "2023-09-20"),
        ("glide", "2021-12-20"), ("Midjourney", "2022-02-01"), ("stylegan2", "2019-12-03"),
    ],
)  # fmt: skip
def test_release_dates_are_found_in_any_spelling(name, day):
    assert released(name) == date.fromisoformat(day)


def test_own_dates_come_first_and_every_date_has_a_source():
    assert released("SDXL", {"sdxl": date(2030, 1, 1)}) == date(2030, 1, 1)
    assert released("nobody's generator") is None
    with (REPOSITORY / "robustbench_aigen" / "data" / "release_dates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [
        name.casefold()
        for row in rows
        for name in (row["generator"], *filter(None, row["aliases"].split(";")))
    ]
    assert len(names) == len(set(names))
    assert all(row["source"] for row in rows)


@pytest.fixture(scope="module")
def splits():
    return split_source(ImageData.open("minigen", split="all", limit=200).source, 0.1, None)


def planned(splits, **variants):
    jobs = plan_jobs(load_recipe("lenet5"), splits, Variants({}, together=False, **variants))
    return {job.name.removeprefix("lenet5@"): set(job.splits.generators) for job in jobs}


def test_a_chronological_training_has_all_generators_until_a_date(splits):
    dates = {"vae": date(2013, 1, 1), "dcgan": date(2015, 1, 1), "upgan": date(2015, 1, 1), "vqgan": date(2020, 1, 1), "flow": date(2022, 1, 1)}  # fmt: skip
    assert planned(splits, chronological=True, released=dates) == {
        "until-vae": {"vae"},
        # Two generators of one day belong to one period.
        "until-upgan": {"vae", "dcgan", "upgan"},
        "until-vqgan": {"vae", "dcgan", "upgan", "vqgan"},
    }


def test_an_unknown_date_is_named_with_the_lines_that_give_one(splits):
    with pytest.raises(UserError, match="release date of 'upgan' is unknown") as found:
        planned(splits, chronological=True, released={"flow": date(2022, 1, 1)})
    assert "released: {upgan: " in found.value.hint
    same = dict.fromkeys(("vae", "dcgan", "upgan", "vqgan", "flow"), date(2020, 1, 1))
    with pytest.raises(UserError, match="at least two dates"):
        planned(splits, chronological=True, released=same)


def test_past_future_and_next_period_are_means_of_the_right_generators():
    names, values = ["new", "old", "middle", "newest"], [0.6, 0.9, 0.7, 0.5]
    summary = pd.DataFrame(
        {"detector": "d", "pipeline": "clean", "generator": names, "n": 10, "accuracy": values,
         "balanced_accuracy": values, "tpr": values}
    )  # fmt: skip
    dates = {
        "old": date(2015, 1, 1),
        "middle": date(2018, 1, 1),
        "new": date(2020, 1, 1),
        "newest": date(2022, 1, 1),
    }
    table = matrix(summary, {"d": ["old", "middle"]}, released=dates)
    assert list(table["generator"]) == ["old", "middle", "new", "newest"]
    (row,) = gaps(table).itertuples()
    assert (row.in_domain, row.foreign, row.next) == (pytest.approx(0.8), pytest.approx(0.55), 0.6)
    assert "next" not in gaps(matrix(summary, {"d": ["old", "middle"]}))
    (row,) = gaps(matrix(summary, {"d": names}, released=dates)).itertuples()
    assert math.isnan(row.next)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "give a scenario or --protocol NAME"),
        (["run", "pgd_eps4", "--protocol", "raid"], "not both"),
        (["run", "--protocol", "sidbech"], "no protocol 'sidbech'"),
        (["run", "leave_one_out"], "needs detectors, each trained on all generators but one"),
        (["cross-generator", "--protocol", "leave_one_out"], "needs a training recipe"),
        (["cross-generator", "--protocol", "nobody"], "no protocol 'nobody'"),
        (
            ["cross-generator", "--protocol", "chronological", "--scenario", "cross_generator"],
            "both name pipelines",
        ),
    ],
)
def test_wrong_names_get_one_line(arguments, message, cli):
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_the_ensemble_of_raid_leaves_the_tested_detector_out():
    loaded = load_scenario("raid")
    (stage,) = loaded.pipelines["transfer"]
    assert not {each.id for each in loaded.detectors} & set(stage["surrogate"]["ensemble"])


def test_the_blocks_of_the_document_work(tmp_path, image_folder, weights, cli, monkeypatch):
    assert protocols() in DOCUMENT
    folder = tmp_path / "work"
    folder.mkdir()
    image_folder.rename(folder / "my_images")
    weights.rename(folder / "my_detector.safetensors")
    monkeypatch.chdir(folder)
    for block in DOCUMENT.split("```yaml\n")[1:]:
        content = yaml.safe_load(block.split("```")[0])
        file = folder / f"{content['name']}.yaml"
        file.write_text(block.split("```")[0])
        assert load_scenario(file).protocol.source
    for block in DOCUMENT.split("```console\n")[1:]:
        for line in block.split("```")[0].splitlines():
            outcome = cli(*shlex.split(line.removeprefix("$ robust-aigen ")))
            assert outcome.code == 0, (line, outcome.err)


def test_a_chronological_cross_generator_run_writes_the_next_period(tmp_path, cli):
    pytest.importorskip("lightning")
    outcome = cli(
        "cross-generator", "lenet5", "--data", "minigen", "--protocol", "chronological", "--generators", "dcgan,vae",
        "--limit", 60, "--epochs", 1, "--output", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    file = next(tmp_path.glob("chronological/*/tables/protocol_gaps.csv"))
    table = pd.read_csv(file)
    clean = table[table["pipeline"] == "clean"].set_index("trained_on")
    assert set(clean.index) == {"vae", "dcgan+vae"}
    balanced = pd.read_csv(file.with_name("protocol.csv")).query("pipeline == 'clean'")
    balanced = balanced.set_index(["trained_on", "generator"])["balanced_accuracy"]
    # The first date after the training data is that of dcgan, and that of upgan.
    assert clean["next"]["vae"] == pytest.approx(balanced["vae", "dcgan"])
    assert clean["next"]["dcgan+vae"] == pytest.approx(balanced["dcgan+vae", "upgan"])
