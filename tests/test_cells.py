"""Records by cell from a file: the same numbers as from records in memory, and one cell in memory at a time."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gated_runs import made_up, with_records
from test_run_formats import RUNS

from benchmarks import large_records
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.bootstrap import clusters_of
from robustbench_aigen.metrics.summary import summarise
from robustbench_aigen.runs import cells as cells_module
from robustbench_aigen.runs.cells import FrameCells, StoredCells, hash_keys, image_codes, write_cells
from robustbench_aigen.runs.folder import write_run
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.compare import compare, compare_detectors
from robustbench_aigen.views.gating.verdict import gate

STORED = sorted(folder for folder in RUNS.glob("format_*/*") if (folder / "records.parquet").is_file())
COUNT = 120
CELLS = [(detector, pipeline) for detector in ("one", "two") for pipeline in ("clean", "pgd", "jpeg")]
CLEAN_AND_JPEG = {
    "clean": [],
    "pgd": [{"attack": "pgd", "norm": "linf", "eps": 0.01}],
    "jpeg": [{"perturb": "jpeg"}],
}


@pytest.fixture(params=["all different", "copies", "hashes unknown"])
def run(request) -> Run:
    """A run with scores of many values; some of its images are copies of others, or have no hash."""
    rng = np.random.default_rng(3)
    score = {cell: rng.uniform(0.02, 0.98, COUNT).astype(np.float32) for cell in CELLS}
    correct = {cell: rng.uniform(size=COUNT) < 0.7 for cell in CELLS}
    made = made_up(correct, score=score, pipelines=CLEAN_AND_JPEG)
    records = made.records
    if request.param != "all different":
        digests = records["sha256"].to_numpy(object).reshape(len(CELLS), COUNT)
        digests[:, 90:] = digests[:, :30] if request.param == "copies" else ""
        records = records.assign(sha256=pd.array(digests.ravel(), dtype="str"))
    return with_records(made, records)


@pytest.fixture
def stored(run, tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(cells_module, "_GROUP", 50)  # Three row groups a cell.
    write_run(folder := tmp_path / "run", run.info, run.records, summary(run), run.gallery)
    monkeypatch.setattr(Run, "records", property(lambda _: pytest.fail("all records were read")))
    opened = Run.load(folder)
    assert isinstance(opened.cells, StoredCells)
    return opened


def summary(run: Run) -> pd.DataFrame:
    return summarise(run.records, run.info.pipelines, "accuracy").assign(trust="ok")


def by_cell(run: Run):
    return ((key, run.cells.cell(*key)) for key in run.cells)


def test_a_file_gives_the_cells_that_were_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "_GROUP", 50)
    with (tmp_path / "records.parquet").open("wb") as stream:
        write_cells(stream, [run.records.iloc[:170], run.records.iloc[170:]])
    assert pq.read_metadata(tmp_path / "records.parquet").num_row_groups >= 18
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "records.parquet"), run.records)


def test_the_summary_by_cell_is_that_of_all_records_to_the_last_digit(run, stored):
    whole = summarise(cells_in_memory(run), run.info.pipelines, "accuracy")
    assert whole["auroc"].notna().any()
    assert whole["p_value"].notna().any()
    pd.testing.assert_frame_equal(
        summarise(by_cell(stored), run.info.pipelines, "accuracy"), whole, check_exact=True
    )


def cells_in_memory(run: Run):
    held = FrameCells(run._records)
    return [(key, held.cell(*key)) for key in held]


def test_gate_and_comparisons_by_cell_are_those_of_all_records(run, stored, tmp_path):
    other = made_up({cell: np.arange(COUNT) % 5 > 0 for cell in CELLS}, pipelines=CLEAN_AND_JPEG)
    baseline = Run.computed(
        run.info,
        other._records().assign(sha256=run._records()["sha256"]),
        pd.DataFrame(),
        run.gallery,
        folder=Path("b"),
    )
    config = {"metrics": ["accuracy", "auroc"], "generators": ["all", "vae"]}
    in_memory = Run.computed(run.info, run._records(), run.summary, run.gallery, folder=Path("a"))
    object.__setattr__(in_memory, "_cells", lambda: FrameCells(run._records))
    object.__setattr__(baseline, "_cells", lambda: FrameCells(baseline._records))
    baseline.save_baseline(tmp_path / "baseline")
    kept = Run.load(tmp_path / "baseline")
    assert isinstance(kept.cells, StoredCells)
    found = gate(stored, kept, config=config).checks
    assert found["p_value"].notna().all()
    pd.testing.assert_frame_equal(found, gate(in_memory, baseline, config=config).checks, check_exact=True)
    pd.testing.assert_frame_equal(compare_detectors(stored), compare_detectors(in_memory), check_exact=True)
    assert stored.worst_case("*", "one") == in_memory.worst_case("*", "one")


def test_a_comparison_by_cell_names_the_images_whose_verdicts_differ():
    runs = [
        made_up({("one", name): np.arange(20) % other > 0 for name in ("clean", "pgd")}, pipelines=None)
        for other in (5, 4)
    ]
    images = compare(*runs).images
    changed = (np.arange(20) % 5 > 0) != (np.arange(20) % 4 > 0)
    assert images["sample"].tolist() == 2 * [f"test/{number:05}" for number in np.flatnonzero(changed)]
    assert (images["correct_a"] != images["correct_b"]).all()


@pytest.mark.parametrize("folder", STORED, ids=[f"{each.parent.name}/{each.name}" for each in STORED])
def test_stored_runs_give_the_numbers_of_their_summaries_when_written_by_cell(folder, tmp_path):
    before = Run.load(folder)
    write_run(tmp_path / "again", before.info, before.records, before.summary, before.gallery)
    after = Run.load(tmp_path / "again")
    assert isinstance(after.cells, StoredCells)
    mode = before.info.scenario.mode
    expected = summarise(before.records, before.info.pipelines, mode)
    assert len(expected)
    pd.testing.assert_frame_equal(
        summarise(by_cell(after), after.info.pipelines, mode), expected, check_exact=True
    )


def test_a_file_of_an_earlier_version_is_read_as_a_whole(tmp_path):
    run = made_up({cell: np.arange(20) % 5 > 0 for cell in CELLS}, pipelines=CLEAN_AND_JPEG)
    write_run(folder := tmp_path / "run", run.info, run.records, summary(run), run.gallery)
    file = folder / "records.parquet"
    table = pq.read_table(file)
    pq.write_table(table, file)  # One row group, with all cells.
    content = json.loads((folder / "run.json").read_text())
    content.pop("digests", None)
    (folder / "run.json").write_text(json.dumps(content))
    opened = Run.load(folder)
    assert isinstance(opened.cells, FrameCells)
    pd.testing.assert_frame_equal(
        summarise(by_cell(opened), run.info.pipelines, "accuracy"),
        summary(run).assign(trust=np.nan),
        check_dtype=False,
    )


def test_a_changed_file_is_refused_before_a_cell_is_read(tmp_path):
    run = made_up({cell: np.arange(20) % 5 > 0 for cell in CELLS}, pipelines=CLEAN_AND_JPEG)
    write_run(folder := tmp_path / "run", run.info, run.records, summary(run), run.gallery)
    opened = Run.load(folder)
    content = bytearray((folder / "records.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "records.parquet").write_bytes(content)
    with pytest.raises(UserError, match="records.parquet was changed after the run wrote it"):
        list(opened.cells)


def test_codes_of_images_group_them_as_the_hashes_as_text_do():
    rng = np.random.default_rng(0)
    for kinds in (20, 1000):
        hashes = np.array(
            [f"{number * 7919:064x}"[::-1] for number in rng.integers(1, kinds, 200)], dtype=object
        )
        hashes[rng.integers(0, 200, 9)] = ""
        expected = clusters_of(hashes)
        found = clusters_of(image_codes(hash_keys(list(hashes))))
        np.testing.assert_array_equal(found, expected)
    assert clusters_of(image_codes(hash_keys(["a" * 64, "b" * 64, "", ""]))) is None
    assert clusters_of(image_codes(hash_keys(["photo 1", "photo 1", "photo 2"]))).tolist() in (
        [0, 0, 1],
        [1, 1, 0],
    )


def test_a_reading_of_a_cell_holds_that_cell_alone():
    """Measured by Arrow's allocator: columns of one cell, not of ten."""
    count, cells = 20_000, [("d", f"p{number}") for number in range(10)]

    def frames():
        for number, (detector, pipeline) in enumerate(cells):
            yield pd.DataFrame(
                {
                    "detector": detector, "pipeline": pipeline, "sample": [f"image {row}" for row in range(count)],
                    "generator": "real", "label": np.zeros(count, np.int8), "sha256": "", "score": float(number),
                }
            )  # fmt: skip

    stream = io.BytesIO()
    before = pa.total_allocated_bytes()
    write_cells(stream, frames())
    file = pq.ParquetFile(stream)
    assert file.metadata.num_row_groups == len(cells)
    one = file.read_row_group(0)
    assert pa.total_allocated_bytes() - before < 2 * one.nbytes


def test_the_benchmark_of_millions_of_records_writes_records_of_today(tmp_path):
    for step in large_records.STEPS:
        large_records._step(step, 300, 3, tmp_path)
    assert (tmp_path / "report" / "report.html").is_file()
