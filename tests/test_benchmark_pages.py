"""The pages of committed results: written from what is there, and holding what it says."""

import json

import pandas as pd
import pytest
from conftest import REPOSITORY

from benchmarks.finetune_results import Planned, read_list, write_page
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.detectors.loading import shipped_detectors

PIPELINES = ("clean", "pgd[eps=1/255]", "pgd[eps=2/255]", "auto", "square", "transfer", "jpeg[severity=5]")


@pytest.fixture
def tuned(tmp_path):
    """One fine-tuning of two, as a run leaves it."""
    planned = Planned("minigen", "finetune_pgd_eps2")
    folder = tmp_path / planned.name
    folder.mkdir(parents=True)
    rows = [
        {"detector": name, "pipeline": pipeline, "generator": generator, "n": 200, "accuracy": value, "trust": trust}
        for name, trust in (("minigen/cifake_cnn", "ok"), (planned.called, "ok, loss_still_rising"))
        for pipeline, value in zip(PIPELINES, (0.9, 0.8, 0.7, 0.6, 0.65, 0.75, 0.5), strict=True)
        for generator in ("all", "vae")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "summary.csv", index=False)
    metrics = {
        "name": planned.called, "epoch_kept": 2, "epochs_run": 3, "seconds": 90.0, "collapse": None,
        "finetuning": {"threat": {"norm": "linf", "eps": 2 / 255}},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return planned


def test_a_row_is_what_the_summary_says(tuned, tmp_path):
    write_page(tmp_path, [tuned, Planned("cifake", "finetune_pgd_eps2", 2)])
    (row,) = pd.read_csv(tmp_path / "results.csv").to_dict(orient="records")
    assert (row["clean after"], row["PGD-20 after"], row["auto after"]) == (0.9, 0.7, 0.6)
    assert (row["square after"], row["transfer after"], row["worst degradation after"]) == (0.65, 0.75, 0.5)
    assert (row["flags"], row["n"], row["epochs"], row["minutes"]) == (
        "loss_still_rising",
        200,
        "2 of 3",
        1.5,
    )
    page = (tmp_path / "README.md").read_text()
    assert "[cifake_cnn_pgd_eps2](minigen/cifake_cnn_pgd_eps2/report.md)" in page
    assert "Not run yet: cifake/cifake_cnn_pgd_eps2." in page


def test_the_list_names_what_is_there():
    planned = read_list()
    assert len({each.name for each in planned}) == len(planned)
    for each in planned:
        assert each.id in shipped_detectors()
        assert each.file in shipped_files("finetunings")


@pytest.mark.parametrize("kind", ["finetune", "reference_systems"])
def test_committed_results_name_no_folder_of_a_machine(kind):
    files = [file for file in (REPOSITORY / "results" / kind).rglob("*.*") if file.suffix != ".png"]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not any(root in text for root in ("/work", "/tmp", "/home", "/root")), file
