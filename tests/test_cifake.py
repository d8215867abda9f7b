"""The detectors that were trained on CIFAKE, on CIFAKE itself."""

import json

import pytest
from conftest import REPOSITORY

from benchmarks.ship import ship
from robustbench_aigen import load_detector
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.training.saving import encode_weights


def test_they_take_little_space():
    files = [file for name, file in shipped_detectors().items() if name.startswith("cifake/")]
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) <= 4_000_000


def test_without_a_network_the_scenario_says_how_a_copy_is_given(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    outcome = cli("run", REPOSITORY / "scenarios" / "cifake_pgd.yaml", "--output", tmp_path)
    assert outcome.code == 2
    assert "cannot be downloaded" in outcome.err
    assert "--data" in outcome.err


def test_a_check_downloads_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("cifake_pgd", "finetune_cifake_fast_eps2"):
        outcome = cli("validate", name)
        assert outcome.code == 0, outcome.err
        assert "images not checked: hf://a-rea/CIFAKE-CPSC542" in outcome.out
    scenario = tmp_path / "wrong.yaml"
    shipped = (REPOSITORY / "scenarios" / "cifake_pgd.yaml").read_text()
    scenario.write_text(shipped.replace("hf://a-rea/CIFAKE-CPSC542", "hf://CIFAKE"))
    outcome = cli("validate", scenario)
    assert outcome.code == 2
    assert "is not a data set of the hub" in outcome.err


def test_the_scenario_runs_on_a_copy(cli, cifake, tmp_path):
    arguments = ("--data", cifake, "--limit", 60, "--output", tmp_path, "--json")
    outcome = cli("run", REPOSITORY / "scenarios" / "cifake_pgd.yaml", *arguments)
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["summary"]
    left = {(row["detector"], row["pipeline"]): row["accuracy"] for row in rows if row["generator"] == "all"}
    for name in ("cifake/lenet5", "cifake/cifake_cnn"):
        assert left[name, "clean"] > 0.85
        assert left[name, "clean"] > left[name, "pgd[eps=2/255]"] > left[name, "pgd[eps=4/255]"]


def test_their_accuracy_is_that_of_their_cards(cifake, tmp_path):
    """On 1,000 of the 20,000 test images, within three standard errors."""
    loaded = load_scenario("cifake_pgd").replace(
        data=DataSpec(source=str(cifake), split="test", limit=1000), pipelines={}
    )
    summary = run(loaded, output=tmp_path).summary
    found = summary[summary["generator"] == "all"].set_index("detector")["accuracy"]
    assert len(found) == 2
    for name, accuracy in found.items():
        said = json.loads(shipped_detectors()[name].with_suffix(".json").read_text())["clean_test"]
        expected = said["accuracy_at_half"]
        assert said["n"] == 20_000
        assert abs(accuracy - expected) <= 3 * (expected * (1 - expected) / 1000) ** 0.5


def test_only_float16_with_a_card_is_shipped(tmp_path, no_similar):
    detector = load_detector("minigen/lenet5")
    file = tmp_path / "mine.safetensors"
    file.write_bytes(encode_weights(detector.network, half=False))
    card = {"id": "mine", "arch": "lenet5", "sha256": "…"}
    with pytest.raises(UserError, match="arch"):
        ship(file, "my/lenet5", tmp_path / "shipped")
    file.with_suffix(".json").write_text(json.dumps({key: card[key] for key in ("id", "arch")}))
    with pytest.raises(UserError, match="float32"):
        ship(file, "my/lenet5", tmp_path / "shipped")
    file.write_bytes(encode_weights(detector.network, half=True))
    placed = ship(file, "my/lenet5", tmp_path / "shipped")
    assert placed == tmp_path / "shipped" / "my" / "lenet5.safetensors"
    assert json.loads(placed.with_suffix(".json").read_text()) == {"id": "my/lenet5", "arch": "lenet5"}
    assert placed.read_bytes() == file.read_bytes()
