"""Models of diffusers with a few channels, trained on minigen for seconds: an autoencoder, pixels, latents, a prompt."""

import json
from pathlib import Path

import torch

from robustbench_aigen.data.opening import open_data
from robustbench_aigen.data.selection import select
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.scenario.data_argument import read_data

WEIGHTS = "diffusion_pytorch_model.safetensors"
_BLOCKS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}


def pictures(count: int) -> torch.Tensor:
    """Pictures of minigen, N×3×32×32 uint8."""
    source = open_data(read_data("minigen"), Path())
    shards = make_shards(select(source, "train", count))
    return torch.stack([image for shard in shards for image in decode_shard(shard).levels])


def save_models(folder: Path) -> None:
    """Write ``vae``, ``pixels`` (UNet2DModel and DDIMScheduler), ``latents`` (with the autoencoder) and ``prompt``."""
    import diffusers

    torch.manual_seed(0)
    seen = pictures(48).float() / 127.5 - 1
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4, sample_size=32, **_BLOCKS,
    )  # fmt: skip
    _train(vae, lambda batch: (vae(batch).sample - batch).square().mean(), seen)
    vae.save_pretrained(folder / "vae")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, **_BLOCKS}
    scheduler = diffusers.DDIMScheduler()

    def lost(batch: torch.Tensor) -> torch.Tensor:
        noise, times = torch.randn_like(batch), torch.randint(0, 1000, (len(batch),))
        return (unet(scheduler.add_noise(batch, noise, times), times).sample - noise).square().mean()

    unet = diffusers.UNet2DModel(sample_size=32, in_channels=3, out_channels=3, **blocks)
    _train(unet, lost, seen)
    diffusers.DDIMPipeline(unet, scheduler).save_pretrained(folder / "pixels")
    inner = diffusers.UNet2DModel(sample_size=16, in_channels=4, out_channels=4, **blocks)
    for part, name in ((inner, "unet"), (vae, "vae"), (scheduler, "scheduler")):
        part.save_pretrained(folder / "latents" / name)
    _save_prompted(folder, vae)


def _train(network: torch.nn.Module, loss_of, images: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(30):
        loss = loss_of(images[torch.randperm(len(images))[:16]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()


def _save_prompted(folder: Path, vae: torch.nn.Module) -> None:
    """Write an untrained Stable Diffusion whose prompts have one letter."""
    import diffusers
    import transformers

    words = ["<|startoftext|>", "<|endoftext|>", "a", "a</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8, pad_token=words[1]
    )
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=4, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **_BLOCKS,
    )  # fmt: skip
    diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    ).save_pretrained(folder / "prompt")  # fmt: skip
