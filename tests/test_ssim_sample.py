"""SSIM is measured on every small image and on the same few large ones in every cell, and readers know on how many."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_engine import scenario

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.engine.ssim_sample import ssim_sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.numerics.image_quality import ssim
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.views.compare import compare
from robustbench_aigen.views.gating.verdict import gate

PIPELINES = (
    "{fgsm: [{attack: fgsm, eps: 4/255}], none: [{attack: fgsm, eps: 0.1/255}], jpeg: [{perturb: jpeg, quality: 60}],"
    " fgsm_then_blur: [{attack: fgsm, eps: 4/255}, {perturb: gaussian_blur}],"
    " smaller: [{perturb: resize, scale: 0.5, back: false}]}"
)
LARGE, SMALL = (72, 65), (64, 64)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Twenty images of 72×65 pixels of each class, and two of 64×64."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(5)
    for name in ("real", "fake"):
        (folder / name).mkdir()
        for number in range(22):
            sides = LARGE if number < 20 else SMALL
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize(sides[::-1], Image.Resampling.BICUBIC).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """The same scenario without the key, on two detectors, and with ``ssim: all`` and ``off`` on the first of them."""
    output = tmp_path_factory.mktemp("runs")
    keys = {
        "sample": {"detectors": "[minigen/lenet5, minigen/lenet5@vae]"},
        "all": {"ssim": "all"},
        "off": {"ssim": "off"},
    }
    return {rule: run_with(output, images, output / rule, **more) for rule, more in keys.items()}


def run_with(folder: Path, images: Path, output: Path, **keys):
    data = f"{{source: {images}, split: all}}"
    return run(scenario(folder, PIPELINES, data=data, mode="score", **keys), output=output)


def changed(records: pd.DataFrame) -> pd.DataFrame:
    """What was attacked or perturbed and has its size still."""
    return records[~records["pipeline"].isin(["clean", "smaller"])]


def test_every_cell_and_detector_measures_the_same_images(runs):
    records = changed(runs["sample"].records)
    chosen = records.groupby(["detector", "pipeline"])[["sample", "ssim"]].apply(
        lambda cell: frozenset(cell.loc[cell["ssim"].notna(), "sample"])
    )
    assert len(chosen) == 8
    assert len(set(chosen)) == 1
    small = {f"{name}/{number}.png" for name in ("fake", "real") for number in (20, 21)}
    assert small < chosen.iloc[0]
    large = chosen.iloc[0] - small
    assert len(large) == 4
    assert sum(name.startswith("real") for name in large) == 2
    assert records["psnr"].notna().all()
    elsewhere = runs["sample"].records.drop(records.index)
    assert elsewhere["ssim"].isna().all()


def test_only_ssim_depends_on_the_rule_and_its_values_do_not(runs):
    own, every, none = (runs[rule].records for rule in ("sample", "all", "off"))
    own = own[own["detector"] == "minigen/lenet5"]
    for other in (every, none):
        pd.testing.assert_frame_equal(own.drop(columns="ssim"), other.drop(columns="ssim"))
    assert changed(every)["ssim"].notna().all()
    assert none["ssim"].isna().all()
    measured = own["ssim"].notna()
    np.testing.assert_allclose(own.loc[measured, "ssim"], every.loc[measured, "ssim"], atol=1e-6)


def test_the_summary_is_the_mean_of_what_was_measured(runs):
    records, summary = runs["sample"].records, runs["sample"].summary
    for row in summary.query("generator == 'all'").itertuples():
        cell = records[(records["detector"] == row.detector) & (records["pipeline"] == row.pipeline)]
        if row.pipeline in ("clean", "smaller"):
            assert np.isnan(row.ssim)
        else:
            assert row.ssim == pytest.approx(np.nanmean(cell["ssim"]), abs=1e-6)
            assert row.psnr == pytest.approx(
                cell["psnr"][np.isfinite(cell["psnr"])].mean(), rel=1e-5, nan_ok=True
            )
    assert runs["off"].summary["ssim"].isna().all()


def test_run_and_report_say_on_how_many_images(runs):
    pages = {rule: (result.folder / "report.md").read_text() for rule, result in runs.items()}
    infos = {rule: json.loads((result.folder / "run.json").read_text()) for rule, result in runs.items()}
    assert infos["sample"]["ssim"] == {"measured": 8, "images": 44}
    assert infos["all"]["ssim"] == {"measured": 44, "images": 44}
    assert "PSNR on 44 images, SSIM on 8 of them" in pages["sample"]
    assert "Image quality" not in pages["all"]
    assert "PSNR alone (ssim: off)" in pages["off"]
    told = {rule: [notice["text"] for notice in info["notices"]] for rule, info in infos.items()}
    assert any("SSIM on 8 of 44 images" in text for text in told["sample"])
    assert not any("SSIM" in text for text in told["all"] + told["off"])


def test_the_gate_and_compare_read_runs_with_and_without_ssim(runs):
    folders = {rule: result.folder for rule, result in runs.items()}
    assert gate(folders["all"], folders["off"]).passed
    assert not len(compare(folders["all"], folders["off"]).images)


def test_the_cache_keeps_the_rules_apart(runs, images, tmp_path):
    output = runs["off"].folder.parents[1]
    again = run_with(tmp_path, images, output, ssim="off")
    cells = [cell for cell in again.info.timings if cell.step == "cell"]
    assert sum(cell.shards_computed for cell in cells) == 0
    pd.testing.assert_frame_equal(again.records, runs["off"].records)
    every = run_with(tmp_path, images, output, ssim="all")
    assert changed(every.records)["ssim"].notna().all()


def test_where_all_images_are_small_nothing_is_left_out(tmp_path):
    data = "{source: minigen, split: test, limit: 40}"
    result = run(scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data=data), output=tmp_path / "out")
    assert result.records.query("pipeline == 'jpeg'")["ssim"].notna().all()
    assert result.info.ssim.to_dict() == {"measured": 40, "images": 40}
    assert not any("SSIM" in notice for notice in result.notices)


def samples_of(count: int) -> list[Sample]:
    names = ["real", "gan", "diffusion"]
    return [Sample(f"{names[n % 3]}/{n}", int(n % 3 > 0), names[n % 3], None) for n in range(count)]


def measured(count: int, pixels: int, samples: list[Sample] | None = None) -> set[str]:
    listed = samples_of(count) if samples is None else samples
    sample = ssim_sample(listed, "sample")
    return {each.id for each in listed if sample.has(each.id, pixels)}


def test_the_sample_grows_with_the_images():
    assert len(measured(300, 64 * 64)) == 300
    assert len(measured(300, 64 * 65)) == len(measured(300, 4096 * 4096)) == 10
    assert len(measured(90, 300 * 300)) == 4
    assert len(measured(3200, 1024 * 1024)) == 100
    assert len(measured(3, 300 * 300)) == 3
    assert measured(0, 300 * 300) == set()


def test_the_sample_is_of_both_classes_and_all_generators_whatever_their_order():
    chosen = measured(300, 300 * 300)
    counts = pd.Series([name.split("/")[0] for name in chosen]).value_counts()
    assert counts["real"] == 5
    assert sorted(counts[["gan", "diffusion"]]) == [2, 3]
    assert measured(0, 300 * 300, samples_of(300)[::-1]) == chosen
    fakes = [each for each in samples_of(300) if each.label]
    assert len(measured(0, 300 * 300, fakes)) == 7


def test_a_wrong_rule_is_refused_with_its_line(tmp_path):
    with pytest.raises(UserError, match="ssim") as caught:
        load_scenario(scenario(tmp_path, PIPELINES, ssim="some"))
    assert "scenario.yaml:5" in str(caught.value)
    with pytest.raises(UserError, match="ssim"):
        load_scenario(scenario(tmp_path, PIPELINES, ssim="true"))
    assert load_scenario(scenario(tmp_path, PIPELINES, ssim="off")).ssim == "off"
    assert load_scenario(scenario(tmp_path, PIPELINES)).ssim == "sample"


def test_a_measured_value_is_that_of_the_image_itself(runs, images):
    cell = runs["sample"].records.query("detector == 'minigen/lenet5' and pipeline == 'jpeg'")
    row = cell[cell["ssim"].notna()].iloc[0]
    picture = Image.open(images / row["sample"])
    picture.save(images.parent / "stored.jpg", quality=60, subsampling="4:2:0")
    one, other = (
        torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None]
        for file in (images / row["sample"], images.parent / "stored.jpg")
    )
    assert row["ssim"] == pytest.approx(ssim(one, other).item(), abs=1e-6)
