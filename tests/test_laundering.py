"""Laundering by autoencoders and diffusion models, against diffusers called directly."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file
from tiny_diffusion import WEIGHTS, pictures, save_models

from robustbench_aigen import UserError, attacks, evaluate, list_perturbations, perturbations
from robustbench_aigen.documents.document import PartError
from robustbench_aigen.engine.scenario_checks import bound_pipelines
from robustbench_aigen.numerics.threads import using_threads
from robustbench_aigen.perturbations import diffusion_models, laundering
from robustbench_aigen.perturbations.model_files import model_sha256
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import Scenario, load_scenario
from robustbench_aigen.stages.recipe_files import find_recipe, shipped_recipe

pytest.importorskip("diffusers", reason="needs the extra 'diffusers'")
pytest.importorskip("transformers", reason="needs the extra 'diffusers'")

DIFFUSIONS = ("pixels", "latents", "prompt")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    return folder


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return pictures(6)


def copied(models: Path, name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models / name, tmp_path / name))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_weights(folder: Path, **changes) -> None:
    """Add tensors to the weights of a folder, or replace them."""
    save_file({**load_file(folder / WEIGHTS), **changes}, folder / WEIGHTS, metadata={"format": "pt"})


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return (10 * torch.log10(255**2 / (one.float() - other.float()).square().mean())).item()


def launder(models: Path, name: str, levels: torch.Tensor, **given) -> torch.Tensor:
    made = perturbations.diffusion_round_trip(model=str(models / name), **{"steps": 10, **given})
    return made(levels, ids=[f"picture{number}" for number in range(len(levels))])


def test_an_autoencoder_gives_what_diffusers_gives(models, images):
    import diffusers

    vae = diffusers.AutoencoderKL.from_pretrained(models / "vae", low_cpu_mem_usage=False)
    with torch.no_grad():
        decoded = vae.decode(vae.encode(images.float() / 127.5 - 1).latent_dist.mode()).sample
    expected = (decoded / 2 + 0.5).clamp(0, 1) * 255
    done = perturbations.vae_round_trip(model=str(models / "vae"))(images)
    assert (done - expected).abs().max() < 0.501
    assert not torch.equal(done, images)


@pytest.mark.parametrize("made", ["AutoencoderTiny", "VQModel"])
def test_other_autoencoders_of_diffusers_do(made, tmp_path, images):
    import diffusers

    torch.manual_seed(0)
    few = {
        "AutoencoderTiny": {
            "encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1),
        },
        "VQModel": {"block_out_channels": (8,), "norm_num_groups": 4, "num_vq_embeddings": 16},
    }  # fmt: skip
    network = getattr(diffusers, made)(**few[made]).eval()
    network.save_pretrained(tmp_path / "vae")
    with torch.no_grad():
        expected = (network(images.float() / 127.5 - 1).sample / 2 + 0.5).clamp(0, 1) * 255
    done = perturbations.vae_round_trip(model=str(tmp_path / "vae"))(images)
    assert (done - expected).abs().max() < 0.501
    pixels = (images.float() / 255).requires_grad_()
    stand_in = perturbations.vae_round_trip(model=str(tmp_path / "vae")).differentiable(pixels)
    assert torch.autograd.grad(stand_in.sum(), pixels)[0].any()


def test_two_passes_are_one_after_another(models, images):
    one = perturbations.vae_round_trip(model=str(models / "vae"))
    two = perturbations.vae_round_trip(model=str(models / "vae"), passes=2)
    assert torch.equal(two(images), one(one(images)))


def test_the_stand_in_of_an_autoencoder_is_the_autoencoder(models, images):
    stage = perturbations.vae_round_trip(model=str(models / "vae"), passes=2)
    for levels in (images, images[:, :, :29, :31]):
        pixels = (levels.float() / 255).requires_grad_()
        smooth = stage.differentiable(pixels)
        apart = (smooth * 255 - stage(levels)).abs()
        # A level that float noise rounds to another in the first pass moves its surroundings a little.
        assert apart.max() < 1.5
        assert apart.mean() < 0.3
        (gradient,) = torch.autograd.grad(smooth.square().sum(), pixels)
        assert gradient.flatten(1).any(dim=1).all()


@pytest.mark.parametrize("name", ["vae", *DIFFUSIONS])
def test_the_size_of_a_picture_stays_and_its_edges_are_continued_by_reflection(models, images, name):
    small = images[:2, :, :29, :31]
    # The factors are 2 for one halving of the sides, and 4 for the halvings of an autoencoder and a UNet.
    rows = -29 % {"vae": 2, "pixels": 2, "latents": 4, "prompt": 4}[name]
    padded = torch.cat([small, small[:, :, -rows:].flip(2)], dim=2)
    padded = torch.cat([padded, padded[:, :, :, -1:]], dim=3)
    if name == "vae":
        stage = perturbations.vae_round_trip(model=str(models / "vae"))
        done, whole = stage(small), stage(padded)
    else:
        done, whole = (launder(models, name, levels, strength=0.3) for levels in (small, padded))
    assert done.shape == small.shape
    assert torch.equal(done, whole[:, :, :29, :31])
    tiny = images[:1, :, :1, :2]
    stage = perturbations.vae_round_trip(model=str(models / "vae"))
    assert stage(tiny).shape == tiny.shape


def test_a_diffusion_on_pixels_is_the_last_steps_of_diffusers(models, images):
    import diffusers

    scheduler = diffusers.DDIMScheduler.from_pretrained(models / "pixels" / "scheduler")
    unet = diffusers.UNet2DModel.from_pretrained(models / "pixels" / "unet", low_cpu_mem_usage=False)
    levels, seed = images[:1], 7

    class Streams:
        def generator(self, _):
            return self

        def integers(self, _):
            return seed

    done = laundering.diffusion_round_trip(
        levels, Streams(), model=str(models / "pixels"), strength=0.5, steps=10, device="cpu"
    )
    scheduler.set_timesteps(10)
    times = scheduler.timesteps[5:]
    noise = torch.randn(levels.shape, generator=torch.Generator().manual_seed(seed))
    state = scheduler.add_noise(levels.float() / 127.5 - 1, noise, times[:1])
    with torch.no_grad():
        for time in times:
            state = scheduler.step(unet(state, time).sample, time, state).prev_sample
    assert (done - (state / 2 + 0.5).clamp(0, 1) * 255).abs().max() < 0.51


def test_a_model_that_reads_a_prompt_is_the_pipeline_of_diffusers(models, images):
    import diffusers

    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
        models / "prompt", low_cpu_mem_usage=False, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)

    class Streams:
        def generator(self, _):
            return self

        def integers(self, _):
            return 3

    done = laundering.diffusion_round_trip(
        images[:1], Streams(), model=str(models / "prompt"), strength=0.4, steps=10, device="cpu"
    )
    expected = pipeline(
        "", images[:1].float() / 255, strength=0.4, num_inference_steps=10, guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3), output_type="pt",
    ).images  # fmt: skip
    assert (done - expected.clamp(0, 1) * 255).abs().max() < 0.51


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "PNDMScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_other_schedulers_start_from_a_picture(models, images, tmp_path, name):
    import diffusers

    folder = copied(models, "pixels", tmp_path)
    getattr(diffusers, name)().save_pretrained(folder / "scheduler")
    weak, strong = (launder(tmp_path, "pixels", images, strength=each) for each in (0.1, 0.9))
    assert psnr(weak, images) > psnr(strong, images)
    assert torch.equal(launder(tmp_path, "pixels", images, strength=0.9), strong)


def test_a_higher_strength_strays_further_and_a_tiny_one_hardly_changes_a_picture(models, images):
    near = launder(models, "pixels", images, strength=0.001, steps=1000)
    assert psnr(near, images) > 40
    kept = [
        psnr(launder(models, "pixels", images, strength=each, steps=20), images) for each in (0.1, 0.3, 0.6)
    ]
    assert psnr(near, images) > kept[0] > kept[1] > kept[2] + 3


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_a_picture_does_not_depend_on_batch_order_and_threads(models, images, name):
    made = perturbations.diffusion_round_trip(model=str(models / name), strength=0.5, steps=4)
    names = [f"picture{number}" for number in range(6)]
    together = made(images, ids=names)
    for rows in ([3], [5, 0]):
        assert torch.equal(made(images[rows], ids=[names[row] for row in rows]), together[rows])
    for count in (1, 3):
        with using_threads(count):
            assert torch.equal(made(images, ids=names), together)
    assert not torch.equal(made(images, ids=names, seed=43), together)


def test_threads_of_torch_change_float_noise_alone(models, images):
    stage = perturbations.vae_round_trip(model=str(models / "vae"))
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(stage(images).int())
    finally:
        torch.set_num_threads(before)
    assert (results[0] - results[1]).abs().max() <= 1
    assert (results[0] != results[1]).float().mean() < 1e-3


def test_large_pictures_go_through_in_tiles(models, images, monkeypatch):
    large = torch.cat([torch.cat(list(images[:3]), dim=2), torch.cat(list(images[3:]), dim=2)], dim=1)[None]
    stage = perturbations.vae_round_trip(model=str(models / "vae"))
    whole, shapes = stage(large), []
    monkeypatch.setattr(laundering, "_WHOLE", 64)
    monkeypatch.setattr(diffusion_models, "_TILE", 32)
    network = diffusion_models.load_autoencoder(str(models / "vae"), "cpu").network
    handle = network.encoder.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    try:
        tiled = stage(large)
    finally:
        handle.remove()
    assert tiled.shape == whole.shape
    assert max(max(shape[2:]) for shape in shapes) == 32
    assert psnr(tiled, whole) > 20
    assert torch.equal(stage(images), perturbations.vae_round_trip(model=str(models / "vae"))(images))


WRONG = {
    "no folder": ("vae", shutil.rmtree, "there is no such folder"),
    "no config": ("vae", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "no JSON": ("vae", lambda folder: (folder / "config.json").write_text("{"), "config.json' cannot be read"),
    "no weights": ("vae", lambda folder: (folder / WEIGHTS).unlink(), "cannot be loaded: .*no file named"),
    "half a file": (
        "vae", lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 99), "cannot be loaded: Unable to load weights"
    ),
    "other shapes": ("vae", lambda folder: edit(folder / "config.json", block_out_channels=[16, 16]), "size mismatch"),
    "other layers": (
        "vae", lambda folder: edit(folder / "config.json", layers_per_block=2), "not those of its config.json: 32 missing"
    ),
    "more weights": ("vae", lambda folder: change_weights(folder, more=torch.zeros(1)), "1 unexpected, for example more"),
    "grey": ("vae", lambda folder: edit(folder / "config.json", in_channels=1), "1 channels in and 3 out; needed are 3"),
    "another network": ("vae", lambda folder: edit(folder / "config.json", _class_name="UNet2DModel"), "no autoencoder"),
    "no scheduler": ("pixels", lambda folder: shutil.rmtree(folder / "scheduler"), "no scheduler of diffusers"),
    "no unet": ("pixels", lambda folder: (folder / "unet" / WEIGHTS).unlink(), "pixels/unet' cannot be loaded"),
    "classes": ("pixels", lambda folder: edit(folder / "unet" / "config.json", num_class_embeds=3), "needs a class"),
    "variance": (
        "pixels", lambda folder: edit(folder / "unet" / "config.json", out_channels=6), "3 channels in and 6 out"
    ),
    "latents": ("latents", lambda folder: shutil.rmtree(folder / "vae"), "4 channels in and 4 out; needed are 3 and 3"),
    "no pipeline": ("vae", lambda folder: None, "neither model_index.json nor a UNet2DModel"),
    "no autoencoder": ("prompt", lambda folder: shutil.rmtree(folder / "vae"), "no autoencoder in a folder 'vae'"),
    "no text": (
        "prompt", lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(), "cannot be loaded: .*no file"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_model_is_one_line_before_the_run(models, tmp_path, capfd, case):
    name, spoil, message = WRONG[case]
    spoil(copied(models, name, tmp_path))
    recipe = "vae_round_trip" if name == "vae" and case != "no pipeline" else "diffusion_round_trip"
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: minigen, limit: 4}\ndetectors: [minigen/lenet5]\npipelines:\n"
        f"  p: [{{perturb: {recipe}, model: {name}}}]\n"
    )
    capfd.readouterr()
    with pytest.raises(UserError, match=message) as caught:
        bound_pipelines(load_scenario(tmp_path / "s.yaml"))
    assert "\n" not in caught.value.message
    assert (caught.value.file.name, caught.value.line) == ("s.yaml", 6)
    assert capfd.readouterr() == ("", "")


BAD = {
    "no folder": ("vae_round_trip, model: nowhere", "nowhere': there is no such folder"),
    "an empty folder": ("vae_round_trip, model: empty", "has no config.json"),
    "a file": ("vae_round_trip, model: s.yaml", "s.yaml': there is no such folder"),
    "another class": ("vae_round_trip, model: pixels/unet", "is a UNet2DModel, no autoencoder of images"),
    "a pipeline": ("vae_round_trip, model: prompt", "give its autoencoder: "),
    "an autoencoder": ("diffusion_round_trip, model: vae", "neither model_index.json nor a UNet2DModel"),
    "less than a step": ("diffusion_round_trip, model: pixels, strength: 0.01", "0.01 of 50 steps is less than one step"),
    "less in a sweep": ("diffusion_round_trip, model: pixels, strength: [0.5, 0.01]", "0.01 of 50 steps is less than"),
    "no strength": ("diffusion_round_trip, model: pixels, strength: 0", "strength must be at least 0.001"),
    "no model": ("vae_round_trip", "model has no default and must be given"),
    "no name": ("vae_round_trip, model: 'hf:name'", "is no name of the hub: 'hf:name'"),
    "another device": ("vae_round_trip, model: vae, device: gpu", "device must be one of cpu, cuda, not 'gpu'"),
    "no GPU": ("vae_round_trip, model: vae, device: cuda", "device: cuda, and torch finds no GPU"),
    "through": (None, "nowhere': there is no such folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_of_the_command(models, tmp_path, monkeypatch, cli, case):
    stage, message = BAD[case]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("vae", "pixels", "prompt"):
        (tmp_path / name).symlink_to(models / name)
    (tmp_path / "empty").mkdir()
    inner = "{perturb: vae_round_trip, model: nowhere}"
    written = f"{{attack: fgsm, through: [{inner}]}}" if stage is None else f"{{perturb: {stage}}}"
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: minigen, limit: 4}\ndetectors: [minigen/lenet5]\npipelines:\n"
        f"  p: [{written}]\n"
    )
    for command in ("validate", "run"):
        outcome = cli(command, tmp_path / "s.yaml")
        assert outcome.code == 2
        assert message in outcome.err
        assert "s.yaml:6" in outcome.err
        assert len(outcome.err.strip().splitlines()) <= 2  # The second is the hint.


def test_a_hub_that_is_switched_off_is_one_line(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    code = (
        "from robustbench_aigen import perturbations\nimport torch\n"
        "perturbations.vae_round_trip(model='hf:org/name')(torch.zeros((1, 3, 8, 8), dtype=torch.uint8))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "UserError: model 'hf:org/name' cannot be downloaded: " in done.stderr
    assert done.stderr.strip().endswith("download the model elsewhere, and give its folder")


def test_a_pipeline_given_as_an_autoencoder_names_its_autoencoder(models):
    with pytest.raises(UserError, match="no config.json") as caught:
        perturbations.vae_round_trip(model=str(models / "prompt"))(pictures(1))
    assert caught.value.hint.endswith("prompt/vae")


def test_pixels_that_are_not_finite_are_refused(models, tmp_path, images):
    folder = copied(models, "vae", tmp_path)
    change_weights(folder, **{"decoder.conv_out.bias": torch.full((3,), torch.nan)})
    with pytest.raises(UserError, match="returned pixels that are not finite"):
        perturbations.vae_round_trip(model=str(folder))(images)


def test_values_that_no_run_can_use_are_refused(models, images):
    with pytest.raises(PartError, match="model has no default and must be given") as caught:
        perturbations.vae_round_trip()
    assert "hf:ORG/NAME" in caught.value.hint
    for wrong in ("hf:name", "hf:a/b/c/d", "", 3):
        with pytest.raises(PartError, match="must be a model|no name of the hub"):
            perturbations.vae_round_trip(model=wrong)
    with pytest.raises(UserError, match=r"strength 0.05 of 10 steps is less than one step") as refused:
        launder(models, "pixels", images, strength=0.05)
    assert "strength: 0.1 or more" in refused.value.hint
    with pytest.raises(PartError, match="at most 1"):
        perturbations.diffusion_round_trip(model="m", strength=1.5)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch finds no GPU"):
            perturbations.vae_round_trip(model=str(models / "vae"), device="cuda")(images)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch, images):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        UserError, match=r"model 'hf:org/name' cannot be downloaded: no route to host"
    ) as caught:
        perturbations.vae_round_trip(model="hf:org/name")(images)
    assert "more" not in caught.value.message
    assert caught.value.hint == "download the model elsewhere, and give its folder"


def test_a_folder_of_a_hub_is_downloaded_alone(monkeypatch, models, images):
    import huggingface_hub

    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(models / "prompt")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    done = perturbations.vae_round_trip(model="hf:org/fetched/vae")(images)
    assert torch.equal(done, perturbations.vae_round_trip(model=str(models / "vae"))(images))
    assert all(pattern.startswith("vae/") for pattern in asked["org/fetched"])


def test_without_diffusers_the_line_says_what_to_type(monkeypatch, models, images):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match="needs diffusers, which cannot be imported") as caught:
        perturbations.vae_round_trip(model=str(models / "vae"))(images)
    assert caught.value.hint == "pip install 'robustbench-aigen[diffusers]'"


def test_recipes_that_need_files_say_so_in_the_list(cli):
    assert shipped_recipe("vae_round_trip").needs_files == ("model",)
    assert [name for name in list_perturbations() if shipped_recipe(name).needs_files] == [
        "diffusion_round_trip", "vae_round_trip",
    ]  # fmt: skip
    rows = {row["name"]: row for row in json.loads(cli("list", "perturbations", "--json").out)}
    assert "model=FOLDER or hf:ORG/NAME (required)" in rows["vae_round_trip"]["parameters"]


def test_the_hash_of_a_model_is_that_of_its_content(models, tmp_path):
    folder = copied(models, "vae", tmp_path)
    first = model_sha256(str(models / "vae"))
    assert model_sha256(str(folder)) == first
    (folder / "README.md").write_text("words")
    (folder / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"a variant that is not read")
    assert model_sha256(str(folder)) == first
    edit(folder / "config.json", scaling_factor=0.5)
    second = model_sha256(str(folder))
    change_weights(folder, **{"decoder.conv_out.bias": torch.zeros(3)})
    assert len({first, second, model_sha256(str(folder))}) == 3


def records(output: Path, folder: Path, **pipelines) -> Run:
    stages = pipelines or {"wash": [perturbations.vae_round_trip(model=str(folder))]}
    return evaluate("minigen/lenet5", "minigen", stages, limit=6, output=output, trust="off", name="wash")


def cached(run: Run, pipeline: str) -> bool:
    """Whether the records of a pipeline came from the cache."""
    counts = [
        (each.shards_cached, each.shards_computed) for each in run.info.timings if each.pipeline == pipeline
    ]
    assert counts
    return all(taken > 0 and made == 0 for taken, made in counts)


def test_a_model_that_changes_under_its_path_is_computed_again_and_a_moved_one_is_not(models, tmp_path):
    folder = copied(models, "vae", tmp_path / "one")
    aware = [attacks.pgd(eps="4/255", steps=2, through=[perturbations.vae_round_trip(model=str(folder))])]
    both = {"wash": [perturbations.vae_round_trip(model=str(folder))], "aware": aware}
    first = records(tmp_path / "out", folder, **both)
    assert [(each.model, each.sha256) for each in first.info.models] == [
        (str(folder), model_sha256(str(folder)))
    ]
    assert Run.load(first.folder).info.models == first.info.models
    again = records(tmp_path / "out", folder, **both)
    assert cached(again, "wash")
    assert cached(again, "aware")
    moved = copied(models, "vae", tmp_path / "two")
    assert cached(records(tmp_path / "out", moved), "wash")
    change_weights(folder, **{"decoder.conv_out.bias": torch.ones(3)})
    changed = records(tmp_path / "out", folder, **both)
    assert not cached(changed, "wash")
    assert not cached(changed, "aware")
    scores = [run.records.query("pipeline == 'wash'")["score"].to_numpy() for run in (first, again, changed)]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()
    assert changed.info.models[0].sha256 != first.info.models[0].sha256


def test_the_gate_compares_models_by_content(models, tmp_path):
    first = records(tmp_path / "out", models / "vae")
    first.save_baseline(tmp_path / "baseline")
    moved = copied(models, "vae", tmp_path)
    assert records(tmp_path / "other", moved).gate(tmp_path / "baseline").passed
    change_weights(moved, **{"decoder.conv_out.bias": torch.ones(3)})
    with pytest.raises(UserError, match=r"model of wash is sha256 \w{12} now, sha256 \w{12} in the baseline"):
        records(tmp_path / "other", moved).gate(tmp_path / "baseline")


def test_a_chain_takes_a_model_as_its_parameter_and_refuses_a_relative_path(models, tmp_path, images):
    chain = "kind: perturb\nname: shared\nsummary: s\n{params}chain:\n  - {{perturb: vae_round_trip, model: {model}}}\n  - {{perturb: jpeg}}\n"
    (tmp_path / "shared.yaml").write_text(
        chain.format(params="params:\n  model: {kind: model}\n", model="$model")
    )
    (tmp_path / "relative.yaml").write_text(chain.format(params="", model="vae"))
    assert find_recipe("perturb", "shared.yaml", tmp_path).needs_files == ("model",)
    stage = perturbations.create(tmp_path / "shared.yaml", model=str(models / "vae"))
    assert stage.models == (str(models / "vae"),)
    by_hand = perturbations.jpeg()(perturbations.vae_round_trip(model=str(models / "vae"))(images))
    assert torch.equal(stage(images), by_hand)
    with pytest.raises(UserError, match="the path of a model in a chain must be absolute"):
        find_recipe("perturb", "relative.yaml", tmp_path)


def test_the_scenario_of_the_document_runs(models, tmp_path):
    document = (REPOSITORY / "docs" / "LAUNDERING.md").read_text(encoding="utf-8")
    (scenario,) = re.findall(r"^```yaml\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    (tmp_path / "launder.yaml").write_text(scenario)
    shutil.copytree(models / "vae", tmp_path / "models" / "autoencoder")
    shutil.copytree(models / "pixels", tmp_path / "models" / "diffusion")
    loaded = Scenario.from_yaml(tmp_path / "launder.yaml").replace(data={"source": "minigen", "limit": 6})
    run = loaded.run(output=tmp_path / "results")
    names = [name for name in run.pipelines if name.startswith("edited")]
    assert names == [f"edited[strength={each}]" for each in (0.1, 0.3, 0.5)]
    kept = [run.records.query("pipeline == @name")["psnr"].mean() for name in names]
    assert kept == sorted(kept, reverse=True)
    assert {Path(each.model).name for each in run.info.models} == {"autoencoder", "diffusion"}
