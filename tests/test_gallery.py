"""The images that a run keeps are those that it judged, whichever way they came about."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_engine import scenario

from robustbench_aigen import load_detector
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.engine.gallery import encode_png, gallery_candidates
from robustbench_aigen.evaluation import run

PIPELINES = (
    "{pgd: [{attack: pgd, eps: [1/255, 4/255]}], then: [{attack: pgd, eps: 2/255}, {perturb: jpeg, quality: 60}],"
    " through: [{attack: pgd, eps: 2/255, through: [{perturb: jpeg, quality: 60}]}],"
    " universal: [{attack: universal, eps: 8/255}], jpeg: [{perturb: jpeg}]}"
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    file = scenario(folder, PIPELINES, data="{source: minigen, split: test, limit: 280}")
    return file, folder / "out", run(file, output=folder / "out")


def gallery_of(result) -> pd.DataFrame:
    return pd.read_parquet(result.folder / "gallery.parquet")


def pixels(encoded: bytes) -> torch.Tensor:
    array = np.asarray(Image.open(io.BytesIO(encoded)))
    return torch.tensor(array).permute(2, 0, 1)[None] / 255


def test_what_is_kept_has_the_score_of_its_record(attacked):
    """Of a sweep that shares work too, where an image that fell at 1/255 is not attacked at 4/255."""
    _, _, result = attacked
    gallery = gallery_of(result)
    assert set(gallery["pipeline"]) == {"pgd[eps=1/255]", "pgd[eps=4/255]", "then", "through", "universal"}
    smaller_eps_records = gallery[
        (gallery["pipeline"] == "pgd[eps=4/255]") & (gallery["search_eps"] < 2 / 255)
    ]
    assert len(smaller_eps_records)
    detector = load_detector("minigen/lenet5")
    records = result.records.set_index(["pipeline", "sample"])
    for row in gallery.itertuples():
        assert row.score == records.loc[(row.pipeline, row.sample), "score"]
        with torch.no_grad():
            score, clean = (
                torch.softmax(detector(pixels(image)), dim=1)[0, 1].item()
                for image in (row.image, row.original)
            )
        assert score == pytest.approx(row.score, abs=2e-5), row.pipeline
        assert clean == pytest.approx(row.clean_score, abs=2e-5)
        if row.pipeline.startswith("pgd"):
            change = (pixels(row.image) - pixels(row.original)).abs().max().item()
            assert change == pytest.approx(row.linf, abs=1e-6)


def test_the_cache_gives_the_same_images_back(attacked):
    file, output, first = attacked
    again = run(file, output=output)
    assert all(cell.shards_computed == 0 for cell in again.info.timings)
    pd.testing.assert_frame_equal(gallery_of(first), gallery_of(again))
    assert list(again.records.columns) == list(first.records.columns)
    assert "image" not in first.records


def test_of_each_class_three_attacked_images_are_shown(attacked):
    _, _, result = attacked
    gallery = gallery_of(result)
    assert (gallery.groupby(["pipeline", "label"]).size() == 3).all()
    assert gallery["attacked"].all()
    fakes = gallery[(gallery["label"] == 1) & (gallery["pipeline"] == "then")]
    assert len(set(fakes["generator"])) > 1


def test_candidates_are_chosen_by_id_evenly_from_the_generators():
    samples = [Sample(f"{name}/{n}", int(name != "real"), name, None) for name in "abc" for n in range(50)]
    samples += [Sample(f"real/{n}", 0, "real", None) for n in range(5)]
    chosen = gallery_candidates(samples)
    assert chosen == gallery_candidates(reversed(samples))
    counts = pd.Series([name.split("/")[0] for name in chosen]).value_counts()
    assert counts["real"] == 5
    assert sorted(counts[list("abc")]) == [2, 3, 3]


def test_large_images_are_cut_to_their_middle():
    levels = torch.arange(3 * 300 * 400).reshape(3, 300, 400).remainder(251).to(torch.uint8)
    kept = np.asarray(Image.open(io.BytesIO(encode_png(levels))))
    assert (kept == levels[:, 22:278, 72:328].permute(1, 2, 0).numpy()).all()


def test_without_an_attack_nothing_is_kept(tmp_path: Path):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, split: test, limit: 20}")
    result = run(file, output=tmp_path / "out")
    assert not (result.folder / "gallery.parquet").exists()
