"""The unsure band: coverage on exchangeable images, and a report that shows where coverage fails."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from PIL import Image
from scipy.stats import betabinom

from robustbench_aigen import ImageData, evaluate
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.conformal import UnsureBand, coverage, fit_band
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import Scenario, load_scenario
from robustbench_aigen.views.tables.real_sources import real_sources
from robustbench_aigen.views.tables.stability import stability
from robustbench_aigen.views.tables.unsure import unsure


def drawn(rng, fakes, reals):
    """Log-odds of overlapping classes; the shares that are kept do not depend on the distribution."""
    return np.concatenate([rng.normal(1.5, 1, fakes), rng.normal(-1, 2, reals)]), np.repeat(
        [1, 0], [fakes, reals]
    )


@pytest.mark.parametrize(("level", "fakes", "reals"), [(0.1, 99, 60), (0.05, 40, 250), (0.3, 10, 7)])
def test_coverage_of_exchangeable_images_is_within_its_bounds(level, fakes, reals):
    """The expected coverage lies between 1 − level and 1 − level + 1/(n + 1) for each class (Vovk 2012)."""
    rng, rounds, tested = np.random.default_rng(0), 2000, 200
    shares = []
    for _ in range(rounds):
        band = fit_band(*drawn(rng, fakes, reals), level)
        log_odds, labels = drawn(rng, tested, tested)
        shares.append([coverage(band, log_odds[labels == label], label).covered / tested for label in (0, 1)])
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / math.sqrt(rounds)
    for of_class, slack, held in zip(mean, error, (reals, fakes), strict=True):
        assert 1 - level - 4 * slack <= of_class <= 1 - level + 1 / (held + 1) + 4 * slack


def test_the_p_value_is_uniform_on_exchangeable_images():
    rng, level = np.random.default_rng(1), 0.1
    found = []
    for _ in range(1500):
        band = fit_band(*drawn(rng, 59, 59), level)
        log_odds, labels = drawn(rng, 300, 1)
        found.append(coverage(band, log_odds[labels == 1], 1).p_value)
    # Discrete and conservative: at most as often below a level as the level says.
    for limit in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= limit) <= limit + 4 * math.sqrt(limit * (1 - limit) / len(found))


def test_the_limits_are_order_statistics():
    log_odds, labels = np.arange(1.0, 20.0), np.ones(19, int)
    band = fit_band(np.concatenate([log_odds, -log_odds]), np.concatenate([labels, 0 * labels]), 0.1)
    # Of 19 + 1 exchangeable images, the second smallest is the limit that a tenth falls below.
    assert (band.fake, band.real, band.fakes, band.reals) == (2.0, -2.0, 19, 19)


def test_sure_and_unsure_verdicts_of_overlapping_and_separated_limits():
    values = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    both = UnsureBand(0.1, fake=-1.0, real=1.0, fakes=50, reals=50)
    assert coverage(both, values, 1)[:4] == (5, 4, 1, 3)
    assert coverage(both, values, 0)[:4] == (5, 4, 1, 3)
    neither = UnsureBand(0.1, fake=1.0, real=-1.0, fakes=50, reals=50)
    assert coverage(neither, values, 1)[:4] == (5, 2, 2, 1)
    assert coverage(neither, values, 1).p_value == pytest.approx(betabinom(5, 46, 5).cdf(2))


def test_too_few_validation_images_are_named():
    with pytest.raises(UserError, match=r"at least 19 real images in the validation split, which has 18"):
        fit_band(np.arange(40.0), np.repeat([1, 0], [22, 18]), 0.05)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scenario = Scenario.from_dict(
        {
            "version": 1, "name": "unsure", "data": {"source": "minigen", "limit": 120},
            "detectors": ["minigen/cifake_cnn"], "unsure": "10 %", "trust": "off",
            "pipelines": {
                "jpeg": [{"perturb": "jpeg", "quality": [90, 30]}],
                "pgd": [{"attack": "pgd", "eps": "4/255", "steps": 5}],
            },
        }
    )  # fmt: skip
    return scenario.run(tmp_path_factory.mktemp("runs"))


def test_the_report_shows_where_coverage_fails_under_attack(run):
    (detector,) = run.info.detectors
    band = UnsureBand(**detector.unsure.model_dump())
    assert (band.level, band.reals, band.fakes) == (0.1, 900, 900)
    table = unsure(join_runs([run]))
    titles = [column.title for column in table.columns]
    rows = {row[1].value: dict(zip(titles, row, strict=True)) for row in table.rows}
    records = run.records[run.records["pipeline"] == "pgd"]
    kept = records["log_odds"] <= band.real
    assert rows["pgd"]["reals covered"].value == pytest.approx(100 * kept[records["label"] == 0].mean())
    assert rows["pgd"]["reals covered"].mark
    assert rows["pgd"]["fakes covered"].mark
    assert not rows["clean"]["fakes covered"].mark
    assert "below the promise" in table.notes[0]
    # A run folder keeps the band.
    assert Run.load(run.folder).info.detectors[0].unsure == detector.unsure


def test_stability_counts_verdicts_over_deliveries_without_attacks(run):
    table = stability(join_runs([run]))
    (row,) = (dict(zip([c.title for c in table.columns], row, strict=True)) for row in table.rows)
    wide = run.records.assign(fake=run.records["score"] >= 0.5).pivot_table(
        ["fake", "score"], "sample", "pipeline", aggfunc="first"
    )
    names = ["clean", "jpeg[quality=90]", "jpeg[quality=30]"]
    fake, score = wide["fake"][names].astype(bool), wide["score"][names].astype(float)
    assert row["deliveries"].value == 2
    assert row["verdict depends"].value == pytest.approx(100 * (fake.any(axis=1) & ~fake.all(axis=1)).mean())
    flips = [100 * (fake[name] != fake["clean"]).mean() for name in names[1:]]
    assert row["mean flips"].value == pytest.approx(np.mean(flips))
    assert (row["most flips"].value, row["by"].value) == (
        pytest.approx(max(flips)),
        names[1 + int(np.argmax(flips))],
    )
    assert row["median span"].value == pytest.approx((score.max(axis=1) - score.min(axis=1)).median())


def test_stability_of_two_runs_joins_the_images_by_name(run):
    """The second run has the same images in another order, and one more delivery."""
    order = list(range(len(run.records) // 4))[::-1]
    records = run.records[run.records["pipeline"].isin(["clean", "jpeg[quality=30]"])]
    records = pd.concat([part.iloc[order] for _, part in records.groupby("pipeline", sort=False)])
    info = run.info.model_copy(
        update={
            "run_id": "other",
            "pipelines": tuple(
                each for each in run.info.pipelines if each.name in ("clean", "jpeg[quality=30]")
            ),
        }
    )
    other = Run.computed(
        info,
        records=records,
        summary=run.summary[run.summary["pipeline"].isin(["clean", "jpeg[quality=30]"])],
        gallery=run.gallery,
    )
    kept = ["clean", "jpeg[quality=90]", "pgd"]
    first = Run.computed(
        run.info.model_copy(update={"pipelines": tuple(each for each in run.info.pipelines if each.name in kept)}),
        records=run.records[run.records["pipeline"].isin(kept)],
        summary=run.summary[run.summary["pipeline"].isin(kept)], gallery=run.gallery,
    )  # fmt: skip
    (together,), (apart,) = stability(join_runs([run])).rows, stability(join_runs([first, other])).rows
    assert apart == together


def test_captions_name_what_file_properties_alone_reach(run):
    assert "balanced accuracy from file properties alone 50.0 %" in unsure(join_runs([run])).caption


def test_specificity_by_source_of_real_images():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(24)]
    data = ImageData.from_images(
        [Image.fromarray(image) for image in images], [0] * 16 + [1] * 8,
        generators=["camera"] * 10 + ["scans"] * 6 + ["gan"] * 8,
    )  # fmt: skip
    found = evaluate("minigen/lenet5", data, trust="off")
    table = real_sources(join_runs([found]))
    records = found.records[found.records["label"] == 0]
    expected = records.groupby("generator", observed=True)["correct"].agg(["size", "mean"])
    assert [(row[2].value, row[3].value, row[4].value) for row in table.rows] == [
        (name, row["size"], pytest.approx(100 * row["mean"])) for name, row in expected.iterrows()
    ]
    assert real_sources(join_runs([evaluate("minigen/lenet5", "minigen", limit=20, trust="off")])) is None


def test_an_evaluation_in_memory_needs_a_validation_split():
    images, labels = np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0, 1]
    with pytest.raises(UserError, match="fitted on the validation split"):
        evaluate("minigen/lenet5", ImageData.from_tensors(images, labels), unsure=0.1)


@pytest.mark.parametrize("value", ["0", "1", "60 %", "ten", "true", "[0.1]"])
def test_a_wrong_share_is_named_with_its_line(value, tmp_path, cli):
    file = tmp_path / "s.yaml"
    file.write_text(
        "version: 1\nname: x\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\npipelines: {}\n"
        f"unsure: {value}\n"
    )
    outcome = cli("validate", file)
    assert outcome.code == 2
    assert "unsure" in outcome.err
    assert f"{file.name}:6" in outcome.err or "line 6" in outcome.err


def test_the_scenario_of_the_document_is_one(tmp_path):
    text = (REPOSITORY / "docs" / "STATISTICS.md").read_text(encoding="utf-8")
    file = tmp_path / "my_band.yaml"
    file.write_text(text.partition("## Unsure band")[2].partition("```yaml\n")[2].partition("```")[0])
    assert load_scenario(file).unsure == 0.1
    assert load_scenario(file).check() == []


def test_the_validation_split_is_not_evaluated(tmp_path, cli):
    file = tmp_path / "s.yaml"
    file.write_text(
        "version: 1\nname: x\ndata: {source: minigen, split: val}\ndetectors: [minigen/lenet5]\npipelines: {}\nunsure: 0.1\n"
    )
    outcome = cli("run", file, "--json", "--output", tmp_path)
    assert outcome.code == 2
    assert "'unsure' is fitted on the validation split" in outcome.err


def test_frames_of_two_runs_keep_bands_apart(run):
    """A run without a band beside one with a band: only the latter has rows."""
    other = evaluate("minigen/lenet5", "minigen", limit=20, trust="off")
    table = unsure(join_runs([run, other]))
    assert {row[0].value for row in table.rows} == {"minigen/cifake_cnn"}
    assert unsure(join_runs([other])) is None
