"""Checkpoints of other people: which of their weights are taken, in which precision, and what is told of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from attacked import levels, score_of
from safetensors.torch import load_file, save_file
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec


def state(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build_architecture("lenet5").state_dict()


TRAINED, COPY = state(1), state(2)


@torch.no_grad()
def by_hand(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    network = build_architecture("lenet5").eval()
    network.load_state_dict(
        {
            name: value.to(torch.float32) if value.is_floating_point() else value
            for name, value in weights.items()
        }
    )
    return network(levels() / 255).softmax(1)[:, 1]


def scores_as(detector, weights: dict[str, torch.Tensor]) -> bool:
    return torch.allclose(score_of(detector, levels()), by_hand(weights), atol=1e-6)


def loaded(file: Path, content: object = None, **settings: object):
    if content is not None:
        torch.save(content, file)
    return load_detector(DetectorSpec(path=str(file), arch="lenet5", **settings))


def under(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in weights.items()}


SEVERAL = {
    "model_ema": {"model": TRAINED, "model_ema": COPY, "epoch": 3},
    "state_dict_ema": {"state_dict_ema": COPY, "state_dict": TRAINED},
    "teacher": {"teacher": COPY, "student": TRAINED},
    "best_state": {"best_state": COPY, "model_state": TRAINED, "best_acc": torch.tensor(0.9)},
    "ema": {"state_dict": {**under("ema.model.", COPY), **under("net.model.", TRAINED)}},
    "ema_model": {**under("ema_model.", COPY), **under("online_model.", TRAINED), "step": torch.tensor([5])},
    "1": [TRAINED, COPY],
    "best": {"best": COPY, "last": TRAINED},
    "swa": {"swa": COPY, "last": TRAINED, "epoch": 9},
    "best.state_dict": {"best": {"state_dict": COPY, "accuracy": 0.9}, "last": {"state_dict": TRAINED}},
    "swa_model.module": {**under("swa_model.module.", COPY), **under("model.", TRAINED)},
    "callbacks.EarlyStopping.best": {
        "model": TRAINED,
        "callbacks": {"EarlyStopping": {"best": COPY}, "Clip": {"norms": torch.ones(3)}},
    },
    "best_ema": {"best_ema": COPY, "best": TRAINED},
}


@pytest.mark.parametrize("key", SEVERAL)
def test_of_several_sets_the_trained_one_is_taken_and_a_line_says_how_to_take_another(tmp_path, key):
    detector = loaded(tmp_path / "m.ckpt", SEVERAL[key])
    assert scores_as(detector, TRAINED)
    (line,) = [text for text in detector.assumptions if "weights_key" in text]
    assert key in line
    other = loaded(tmp_path / "m.ckpt", weights_key=key)
    assert scores_as(other, COPY)
    assert not [text for text in other.assumptions if "weights_key" in text]
    assert other.made_of != detector.made_of  # They are of one file, and no cache may mix them.


def test_a_discriminator_is_told_from_its_generator_by_what_fits(tmp_path):
    detector = loaded(tmp_path / "gan.pt", {"netG": nn.Linear(3, 4).state_dict(), "netD": TRAINED})
    assert scores_as(detector, TRAINED)
    assert "'netD' are loaded; the file also has netG (does not fit)" in detector.assumptions[0]


def test_copies_that_are_equal_are_not_worth_a_line(tmp_path):
    detector = loaded(tmp_path / "m.pt", {"model": TRAINED, "best": dict(TRAINED)})
    assert not [text for text in detector.assumptions if "weights_key" in text]


def test_a_key_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(UserError, match="has no weights 'swa'") as raised:
        loaded(tmp_path / "m.pt", SEVERAL["teacher"], weights_key="swa")
    assert "student, teacher" in str(raised.value)
    with pytest.raises(UserError, match="'weights_key' needs weights"):
        load_detector(DetectorSpec(id="python:a.py:b", weights_key="x"))


def test_braces_on_the_command_line_choose(tmp_path):
    torch.save(SEVERAL["teacher"], tmp_path / "m.pt")
    spec = DetectorSpec.from_text("{path: m.pt, arch: lenet5, weights_key: teacher}", None, tmp_path)
    assert scores_as(load_detector(spec), COPY)
    with pytest.raises(UserError, match="did you mean 'weights_key'"):
        DetectorSpec.from_text("{path: m.pt, weigths_key: teacher}")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64], ids=str)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_other_precisions_are_computed_in_float32_and_told(tmp_path, kind, suffix):
    weights = {
        name: value.to(kind) if value.is_floating_point() else value for name, value in TRAINED.items()
    }
    file = tmp_path / f"m.{suffix}"
    if suffix == "safetensors":
        save_file(weights, file)
    detector = loaded(file, None if suffix == "safetensors" else weights)
    assert scores_as(detector, weights)
    assert f"stored in {str(kind).removeprefix('torch.')}, computed in float32" in detector.assumptions


@pytest.mark.parametrize("kind", [torch.float16, torch.float64], ids=str)
def test_counters_of_batches_may_be_of_the_precision_of_the_weights(tmp_path, kind):
    weights = {name: value.to(kind) for name, value in TRAINED.items()}
    assert any(name.endswith("num_batches_tracked") for name in weights)
    assert scores_as(loaded(tmp_path / "m.pt", weights), weights)


@pytest.mark.filterwarnings("ignore")
def test_quantised_and_sparse_tensors_have_the_values_that_they_stand_for(tmp_path):
    def quantised(value: torch.Tensor) -> torch.Tensor:
        return torch.quantize_per_tensor(value, 0.01, 0, torch.qint8)

    weights = {name: quantised(value) if value.dim() == 2 else value for name, value in TRAINED.items()}
    detector = loaded(tmp_path / "q.pt", weights)
    dense = {name: value.dequantize() if value.is_quantized else value for name, value in weights.items()}
    assert scores_as(detector, dense)
    assert any("dequantised" in text for text in detector.assumptions)
    sparse = {name: value.to_sparse() if value.dim() == 2 else value for name, value in TRAINED.items()}
    assert scores_as(loaded(tmp_path / "s.pt", sparse), TRAINED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, value: value.to("meta"), r"20 of 20 tensors have a name and a shape and no values"),
        (lambda name, value: value.to("meta") if "head" in name else value, r"6 of 20 tensors have a name and a shape"),
        (lambda name, value: value.to(torch.complex64) if value.dim() == 2 else value, "head.1.weight is complex64"),
        (lambda name, value: value * np.nan if name == "head.1.weight" else value, "1 of 20 tensors holds NaN: head.1.weight"),
        (lambda name, value: torch.zeros(1000, *value.shape[1:]) if "head.5" in name else value, "have 1000 classes, those of ImageNet"),
        (lambda name, value: value.to(torch.int8) if "head" in name else value, "head.1.weight is int8, head.1.bias is int8, head.3.weight is int8 and 3 more"),
    ],
)  # fmt: skip
def test_what_has_no_value_or_another_head_is_refused_in_a_few_words(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as raised:
        loaded(tmp_path / "m.pt", {name: change(name, value) for name, value in TRAINED.items()})
    assert len(str(raised.value)) < 600


def test_a_whole_network_without_values_is_refused(tmp_path):
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    torch.save(network, tmp_path / "m.pt")
    with pytest.raises(UserError, match=r"no values \(meta tensors\)"):
        load_detector(tmp_path / "m.pt", trust_code=True)


def shards(folder: Path) -> list[Path]:
    names = list(TRAINED)
    files = [folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    parts = [names[:8], names[8:]]
    for file, part in zip(files, parts, strict=True):
        save_file({name: TRAINED[name] for name in part}, file)
    places = {name: file.name for file, part in zip(files, parts, strict=True) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return files


def test_shards_are_read_together_wherever_one_points(tmp_path):
    files = shards(tmp_path)
    for file in (*files, tmp_path / "model.safetensors.index.json"):
        detector = loaded(file)
        assert scores_as(detector, TRAINED)
        is_told = any("is one of 2 files of weights" in text for text in detector.assumptions)
        assert is_told == (file in files)
    digest = loaded(files[0]).weights_sha256
    save_file({**load_file(files[1]), "head.5.bias": torch.ones(2)}, files[1])
    assert loaded(files[0]).weights_sha256 != digest
    files[1].unlink()
    with pytest.raises(UserError, match="model-00002-of-00002.safetensors is missing"):
        loaded(files[0])


def test_tied_weights_may_stand_once(tmp_path):
    (tmp_path / "tied.py").write_text("")
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 2))
    network[2].weight = network[1].weight
    from robustbench_aigen.detectors.formats.checkpoint import matched_weights
    from robustbench_aigen.detectors.state_dicts import WeightSet

    weights = {name: value for name, value in network.state_dict().items() if name != "2.weight"}
    assert not matched_weights([WeightSet("", weights)], network)[0].problems
    del weights["1.weight"]
    assert matched_weights([WeightSet("", weights)], network)[0].problems == ("missing 1.weight, 2.weight",)


def test_the_refusal_of_an_unknown_architecture_shows_a_factory_that_works(tmp_path, no_similar):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    torch.save({"model": network.state_dict(), "epoch": 1}, tmp_path / "mine.pt")
    with pytest.raises(UserError, match="no card that names its architecture") as raised:
        load_detector(tmp_path / "mine.pt")
    assert "it holds 4 tensors: 1.weight 4×192, 1.bias 4, 3.weight 2×4, 3.bias 2" in str(raised.value)
    lines = [line.strip("\n")[4:] for line in str(raised.value).splitlines() if line.startswith("    ")]
    made = "nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 2))"
    code = "\n".join(["from torch import nn", *lines]).replace("YOUR_NETWORK()", made)
    (tmp_path / "my_detector.py").write_text(code)
    detector = load_detector(DetectorSpec(id="python:my_detector.py:build", input_size=8), folder=tmp_path)
    with torch.no_grad():
        theirs = network(levels(3, 8, 8) / 255).softmax(1)[:, 1]
    assert torch.allclose(score_of(detector, levels(3, 8, 8)), theirs, atol=1e-6)


def test_an_unknown_architecture_is_found_by_its_shapes(tmp_path):
    import torchvision

    network = torchvision.models.squeezenet1_1(num_classes=1)
    torch.save(under("module.", network.state_dict()), tmp_path / "mine.pt")
    with pytest.raises(UserError, match="those of torchvision:squeezenet1_1"):
        load_detector(tmp_path / "mine.pt")


def test_a_file_is_read_by_its_content(tmp_path):
    save_file(TRAINED, tmp_path / "really_safe.pt")
    torch.save(TRAINED, tmp_path / "torch.safetensors")
    torch.save(TRAINED, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(TRAINED, tmp_path / "LOUD.PT")
    np.savez(tmp_path / "arrays.npz", **{name: value.numpy() for name, value in TRAINED.items()})
    (tmp_path / "link").symlink_to(tmp_path / "old.pth")
    for name in ("really_safe.pt", "torch.safetensors", "old.pth", "LOUD.PT", "arrays.npz", "link"):
        detector = loaded(tmp_path / name)
        assert scores_as(detector, TRAINED), name
        is_told = any("by its content" in text for text in detector.assumptions)
        assert is_told == (name in ("really_safe.pt", "torch.safetensors", "link")), name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "is empty"),
    ],
)
def test_what_is_not_the_file_itself_is_told(tmp_path, content, message):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        loaded(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ([1, 2], None),
        ({"epoch": 3, "accuracy": 0.9}, None),
        ({"epoch": 3, "loss": 0.3, "mean": 0.43}, "log.json is ignored as a card: mean"),
        ("a log, not JSON", "log.json is not valid JSON and is ignored as a card"),
    ],
)
def test_a_json_file_that_is_no_card_is_left_alone(tmp_path, beside, told):
    text = beside if isinstance(beside, str) else json.dumps(beside)
    (tmp_path / "log.json").write_text(text)
    (tmp_path / "log.yaml").write_text("a: [")
    detector = loaded(tmp_path / "log.pt", TRAINED)
    assert scores_as(detector, TRAINED)
    lines = [text for text in detector.assumptions if "log." in text]
    assert (lines == []) if told is None else (len(lines) == 1 and told in lines[0])


def test_a_name_that_is_not_utf8_becomes_one_that_is(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pt"))
    try:
        torch.save(TRAINED, str(tmp_path / "m.pt"))
        (tmp_path / "m.pt").rename(file)
    except OSError:
        pytest.skip("this file system has no such names")
    detector = load_detector(file, arch="lenet5")
    assert detector.name == r"caf\xe9"


def test_two_files_of_one_name_are_called_after_their_folders(tmp_path, cli, image_folder):
    for name, weights in (("a", TRAINED), ("b", COPY)):
        (tmp_path / name).mkdir()
        torch.save(weights, tmp_path / name / "model.pt")
    scenario = tmp_path / "two.yaml"
    scenario.write_text(
        "version: 1\nname: two\nsummary: Two.\ndata: {source: images, split: all}\n"
        "detectors: [{path: a/model.pt, arch: lenet5}, {path: b/model.pt, arch: lenet5}]\npipelines: {}\n"
    )
    outcome = cli("run", scenario, "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["summary"]
    assert {row["detector"] for row in rows} == {"a/model", "b/model"}
    (info,) = (tmp_path / "out").glob("two/2*/run.json")
    assert {each["name"] for each in json.loads(info.read_text())["detectors"]} == {"a/model", "b/model"}
