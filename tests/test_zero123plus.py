"""Zero123++ with small random networks: what is loaded, what is drawn, what is learnt."""

import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from datagen.shard_writer import write_manifest
from model.checkpoint_layout import CheckpointError
from model.training.config import TrainConfig
from model.training.processes import Processes
from model.view_grid import tile
from tests.synthetic import synthetic_shard

pytest.importorskip("diffusers", reason="the views extra is not installed: no diffusers")
pytest.importorskip("transformers", reason="the views extra is not installed: no transformers")

from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from model import zero123plus
from model.training.view_synthesis import train_views
from model.zero123plus import GREY, PARTS, WHITE, ReferenceAttention, Zero123Plus

SIZE = 16  # of a view
TOKENS = 7
VOCABULARY = ["!", "a</w>", "<|startoftext|>", "<|endoftext|>"]
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
VISION_FILE = "vision_encoder/model.safetensors"


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of sudo-ai/zero123plus-v1.2, written without our code; read only."""
    folder = tmp_path_factory.mktemp("zero123plus")
    torch.manual_seed(1)
    parts = {
        "unet": UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
            use_linear_projection=True,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(VOCABULARY),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                bos_token_id=2,
                eos_token_id=3,
            )
        ),
        "vision_encoder": CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=16,
                patch_size=8,
                projection_dim=16,
            )
        ),
        "feature_extractor_clip": CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        "feature_extractor_vae": CLIPImageProcessor(
            size={"shortest_edge": 24},
            crop_size={"height": 24, "width": 24},
            image_mean=[0.5] * 3,
            image_std=[0.8] * 3,
        ),
        "scheduler": EulerAncestralDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="linear",
            prediction_type="v_prediction",
            steps_offset=1,
        ),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    words = folder / "tokenizer"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(VOCABULARY)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS}
    (words / "tokenizer_config.json").write_text(json.dumps(settings))
    specials = {"pad_token": "!", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    (words / "special_tokens_map.json").write_text(json.dumps(specials))
    ramp = np.linspace(0, 1, TOKENS).tolist()
    (folder / "model_index.json").write_text(json.dumps({"ramping_coefficients": ramp}))
    return folder


@pytest.fixture(scope="module")
def pipeline(published: Path) -> Zero123Plus:
    """Read only."""
    return Zero123Plus.from_pretrained(published)


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be spoilt."""
    return Path(shutil.copytree(published, tmp_path / "copy"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int = 0, channels: int = 3) -> Tensor:
    return torch.rand(channels, 20, 20, generator=seeded(seed))


def targets(count: int = 1, seed: int = 1) -> Tensor:
    return torch.rand(count, 6, 3, SIZE, SIZE, generator=seeded(seed))


def drawn(pipeline: Zero123Plus, seen: Tensor, seed: int = 0, guidance: float = 4.0) -> Tensor:
    return pipeline.views(seen, steps=3, guidance=guidance, generator=seeded(seed), size=SIZE)


# Drawing


def test_six_views_that_the_generator_decides(pipeline: Zero123Plus) -> None:
    before = torch.get_rng_state()
    views = drawn(pipeline, picture())
    assert torch.equal(torch.get_rng_state(), before)
    assert views.shape == (6, 3, SIZE, SIZE)
    assert 0 <= views.min() < views.max() <= 1
    assert torch.equal(views, drawn(pipeline, picture()))
    assert not torch.allclose(views, drawn(pipeline, picture(), seed=1), atol=0.05)
    assert not views.requires_grad


def test_the_picture_and_its_weight_matter(pipeline: Zero123Plus) -> None:
    views = drawn(pipeline, picture())
    assert not torch.allclose(views, drawn(pipeline, picture(2)), atol=1e-3)
    assert not torch.allclose(views, drawn(pipeline, picture(), guidance=2), atol=1e-3)
    unguided = drawn(pipeline, picture(), guidance=1)
    assert not torch.allclose(unguided, drawn(pipeline, picture(2), guidance=1), atol=1e-4)


def test_what_is_transparent_has_the_background(pipeline: Zero123Plus) -> None:
    seen = picture(channels=4)
    opaque = GREY + seen[3] * (seen[:3] - GREY)
    assert torch.equal(drawn(pipeline, seen), drawn(pipeline, opaque))


def test_a_picture_that_is_not_square_is_padded(pipeline: Zero123Plus) -> None:
    padded = torch.full((3, 20, 20), GREY)
    padded[:, 4:15] = picture()[:, :11]
    assert torch.equal(drawn(pipeline, picture()[:, :11]), drawn(pipeline, padded))


def test_sampling_starts_at_the_strongest_noise_and_is_guided(
    pipeline: Zero123Plus, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = torch.randn(2, 1, 4, 3 * SIZE // 2, SIZE, generator=seeded())
    asked: list[tuple[Tensor, ...]] = []
    seen: list[list[bool]] = []

    def blank(_: Tensor, present: Tensor, __: object) -> tuple[Tensor, Tensor]:
        seen.append(present.tolist())
        return torch.zeros(len(present), TOKENS, 16), torch.zeros(len(present), 4, 3, 3)

    def views(guidance: float, answer: Tensor) -> Tensor:
        monkeypatch.setattr(pipeline, "_velocity", lambda *given: asked.append(given) or answer)
        return drawn(pipeline, picture(), guidance=guidance)

    monkeypatch.setattr(pipeline, "_encode_condition", blank)
    monkeypatch.setattr(zero123plus, "_draw", lambda _, shape, *__: torch.ones(*shape))
    guided = views(4.0, torch.cat([answers[0], answers[1]]))
    assert torch.equal(guided, views(1.0, answers[0] + 4 * (answers[1] - answers[0])))
    assert seen == [[False, True], [True]]
    times = torch.stack([times[0] for _, _, times, *_ in asked]).long()
    assert times.tolist() == [999, 666, 332] * 2
    strengths = (1 - torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000), 0)[times]).sqrt()
    torch.testing.assert_close(asked[0][0], strengths[0].expand(2, *answers.shape[2:]))
    for (latents, reference, *_), strength in zip(asked, strengths, strict=True):
        torch.testing.assert_close(reference, strength.expand(len(latents), 4, 3, 3))


@pytest.mark.parametrize(("shape", "size"), [((1, 8, 8), SIZE), ((8, 8), SIZE), ((3, 8, 8), 15)])
def test_other_pictures_and_sizes_are_refused(
    pipeline: Zero123Plus, shape: tuple[int, ...], size: int
) -> None:
    with pytest.raises(ValueError, match=r"channels|multiple of 2"):
        pipeline.views(torch.zeros(shape), steps=1, size=size)


def test_latents_are_scaled_as_published(
    pipeline: Zero123Plus, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = SimpleNamespace(sample=lambda generator: encoded[0])
    encoded: list[Tensor] = []

    def encode(images: Tensor) -> SimpleNamespace:
        encoded.append(images)
        return SimpleNamespace(latent_dist=latent)

    monkeypatch.setattr(pipeline.vae, "encode", encode)
    monkeypatch.setattr(pipeline.vae, "decode", lambda latents: SimpleNamespace(sample=latents))
    grid = torch.rand(1, 3, 6, 4)
    latents = pipeline._encode_grid(grid, None)
    factor = pipeline.vae.config.scaling_factor
    torch.testing.assert_close(encoded[0], (2 * grid - 1) * 0.5 / 0.8)
    torch.testing.assert_close(latents, (encoded[0] * factor - 0.22) * 0.75)
    torch.testing.assert_close(pipeline._decode(latents), grid)


# Conditions


def test_self_attention_attends_to_what_was_written() -> None:
    attention = Attention(8, heads=2, dim_head=4, processor=ReferenceAttention("here"))
    plain = AttnProcessor2_0()
    views, condition, prompt = torch.rand(3, 1, 5, 8)
    seen: dict[str, Tensor] = {}
    torch.testing.assert_close(attention(condition, write=seen), plain(attention, condition))
    assert torch.equal(seen["here"], condition)
    both = torch.cat([views, condition], dim=1)
    torch.testing.assert_close(attention(views, read=seen), plain(attention, views, both))
    across = attention(views, encoder_hidden_states=prompt, read=seen)
    torch.testing.assert_close(across, plain(attention, views, prompt))


def test_every_self_attention_of_the_network_does(
    pipeline: Zero123Plus, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, latents = torch.rand(1, TOKENS, 16), torch.rand(1, 4, 8, 8)
    seen: dict[str, Tensor] = {}

    def velocity(**passing: Any) -> Tensor:
        return pipeline.unet(latents, 5, tokens, cross_attention_kwargs=passing).sample

    alone = velocity(write=seen)
    assert seen.keys() == {name for name in pipeline.unet.attn_processors if "attn1" in name}
    for name in seen:
        some = {**seen, name: seen[name] + 1}
        assert not torch.allclose(velocity(read=some), velocity(read=seen), atol=1e-5)
    # What repeats the tokens that are there changes nothing in the first layer, so nowhere.
    torch.testing.assert_close(velocity(read=seen), alone)
    assert not caplog.records  # diffusers warns of arguments that no processor takes


def test_both_ways_of_seeing_the_picture_matter(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Zero123Plus.from_pretrained(published)
    views = drawn(pipeline, picture())
    pipeline.ramp.zero_()
    local = drawn(pipeline, picture())
    assert not torch.allclose(views, local, atol=1e-4)
    assert not torch.allclose(local, drawn(pipeline, picture(2)), atol=1e-4)
    monkeypatch.setattr(ReferenceAttention, "__call__", _unreferenced)
    assert torch.equal(drawn(pipeline, picture()), drawn(pipeline, picture(2)))


def _unreferenced(
    self: Any, *args: Any, write: object = None, read: object = None, **kwargs: Any
) -> Tensor:
    return AttnProcessor2_0.__call__(self, *args, **kwargs)


def test_no_condition_is_an_empty_prompt_and_the_middle_grey(pipeline: Zero123Plus) -> None:
    pictures = torch.full((2, 3, 20, 20), 0.2)
    tokens, latents = pipeline._encode_condition(pictures, torch.tensor([False, True]), seeded())
    ids = torch.tensor([[2, 3, 0, 0, 0, 0, 0]])  # Stable Diffusion 2 pads with "!"
    prompt = pipeline.text_encoder(ids).last_hidden_state
    torch.testing.assert_close(tokens[:1], prompt)
    torch.testing.assert_close(tokens[1, 0], prompt[0, 0])  # where the ramp is 0
    assert (tokens[1, 1:] - prompt[0, 1:]).abs().min(dim=0).values.max() > 0.01
    encoded = torch.tensor([0, (0.2 - 0.5) / 0.8])[:, None, None, None].expand(2, 3, 24, 24)
    expected = pipeline.vae.encode(encoded).latent_dist.sample(seeded())
    torch.testing.assert_close(latents, expected)


def test_a_picture_gets_the_input_views_it_lacks(pipeline: Zero123Plus) -> None:
    rgba = (255 * picture(channels=4)).byte()
    others = pipeline.other_views(rgba, steps=2, size=2 * SIZE)
    assert others.shape == (3, 3, *rgba.shape[-2:])
    assert torch.equal(others, pipeline.other_views(rgba, steps=2, size=2 * SIZE))


# Learning


def test_the_loss_is_of_the_velocity(
    pipeline: Zero123Plus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def nothing(*args: Any) -> Tensor:
        asked.extend(args)
        return torch.zeros_like(args[0])

    blank = torch.zeros(1, TOKENS, 16), torch.zeros(1, 4, 12, 12)
    monkeypatch.setattr(pipeline, "_velocity", nothing)
    monkeypatch.setattr(pipeline, "_encode_condition", lambda *_: blank)
    loss = pipeline.loss(picture()[None], targets(), seeded())
    noised, reference, times, *_ = asked
    signal = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000), 0)[times].view(-1, 1, 1, 1)
    views = pipeline._encode_grid(tile(targets()), seeded())
    noise = (noised - signal.sqrt() * views) / (1 - signal).sqrt()
    velocity = signal.sqrt() * noise - (1 - signal).sqrt() * views
    torch.testing.assert_close(loss, velocity.square().mean(), rtol=1e-4, atol=1e-5)
    assert 0.9 < (reference / (1 - signal).sqrt()).std() < 1.1  # noised as much


def test_learning_lowers_the_loss_and_moves_the_network_alone(published: Path) -> None:
    pipeline = Zero123Plus.from_pretrained(published).train()
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in pipeline.parameters() if p.requires_grad], lr=0.05)
    condition, views = picture(channels=4)[None].repeat(2, 1, 1, 1), targets(2)
    losses = []
    for _ in range(3):
        loss = pipeline.loss(condition, views, seeded())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    moved = {n for n, value in pipeline.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {name for name in before if name.startswith("unet.")}
    assert moved == {name for name, p in pipeline.named_parameters() if p.requires_grad}


def test_fine_tuning_on_shards_makes_a_network_that_loads(published: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    shard = synthetic_shard(data / "cabinet.h5")
    write_manifest(data, {shard.name: {}})
    config = TrainConfig(
        data, run, init=published, split="all", view_size=32, steps=2, batch_size=2, workers=0
    )
    weights = train_views(config, Processes(0, 1, torch.device("cpu")))
    before, after = (Zero123Plus.from_pretrained(published, unet=u) for u in (None, weights))
    seen = picture()
    assert not torch.equal(drawn(before, seen), drawn(after, seen))
    assert after.unet.state_dict().keys() == before.unet.state_dict().keys()


def test_checkpointing_changes_no_gradient(published: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        pipeline = Zero123Plus.from_pretrained(published).train()
        if checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        pipeline.loss(picture()[None], targets(), seeded()).backward()
        gradients.append([parameter.grad for parameter in pipeline.unet.parameters()])
    torch.testing.assert_close(*gradients)


def test_who_sees_no_condition_learns_without(pipeline: Zero123Plus) -> None:
    def losses(drop: float) -> list[float]:
        return [
            pipeline.loss(picture(seed)[None], targets(), seeded(), drop).item() for seed in (0, 2)
        ]

    assert losses(1.0)[0] == losses(1.0)[1]
    assert losses(0.0)[0] != losses(0.0)[1]


@pytest.mark.parametrize("shape", [(2, 6, 3, 16, 16), (1, 4, 3, 16, 16), (1, 6, 3, 15, 15)])
def test_other_targets_are_refused(pipeline: Zero123Plus, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"targets must be \[1, 6|multiple of 2 pixels"):
        pipeline.loss(picture()[None], torch.zeros(shape))


# Checkpoints


def test_a_saved_folder_draws_the_same(published: Path, tmp_path: Path) -> None:
    pipeline = Zero123Plus.from_pretrained(published, background=WHITE)
    pipeline.save_pretrained(tmp_path / "ours")
    again = Zero123Plus.from_pretrained(tmp_path / "ours")
    assert again.background == WHITE
    seen = picture(channels=4)
    assert torch.equal(drawn(pipeline, seen), drawn(again, seen))
    index = json.loads((tmp_path / "ours" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert set(PARTS) <= set(index)
    again.save_pretrained(tmp_path / "ours")  # over itself


def test_what_is_no_folder_is_asked_of_the_hub(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero123plus, "snapshot_download", lambda name, **_: str(published))
    assert Zero123Plus.from_pretrained("sudo-ai/zero123plus-v1.2").ramp.shape == (TOKENS, 1)

    def offline(name: str, **_: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(zero123plus, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match=r"no/folder is no folder, and the hub .* offline"):
        Zero123Plus.from_pretrained("no/folder")


@pytest.mark.parametrize("prefix", ["", "unet.", "unet.unet."])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_fine_tuned_networks_load_over_a_base(
    published: Path, tmp_path: Path, prefix: str, suffix: str
) -> None:
    base = Zero123Plus.from_pretrained(published)
    tuned = {name: value + 0.01 for name, value in base.unet.state_dict().items()}
    named = {prefix + name: value for name, value in tuned.items()}
    named |= dict.fromkeys(("betas", "alphas_cumprod_prev", "sqrt_recipm1_alphas_cumprod"))
    named = {name: torch.zeros(3) if t is None else t for name, t in named.items()}
    path = tmp_path / f"tuned{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": named, "epoch": 3, "optimizer_states": []}, path)
    else:
        save_file(named, path)
    loaded = Zero123Plus.from_pretrained(published, unet=path).unet.state_dict()
    assert all(torch.equal(loaded[name], tuned[name]) for name in tuned)


def test_other_networks_are_refused(published: Path, tmp_path: Path) -> None:
    pipeline = Zero123Plus.from_pretrained(published)
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    weights = dict(before)
    del weights["conv_in.bias"]
    weights["conv_out.bias"] = torch.zeros(7)
    weights["head.weight"] = torch.zeros(1)
    path = tmp_path / "other.safetensors"
    save_file(weights, path)
    with pytest.raises(CheckpointError) as told:
        pipeline.load_unet(path)
    for part in (
        "1 missing: conv_in.bias [16]",
        "1 not expected: head.weight [1]",
        "conv_out.bias [7] instead of [4]",
    ):
        assert part in str(told.value)
    assert all(torch.equal(v, before[n]) for n, v in pipeline.unet.state_dict().items())

    harmful = tmp_path / "harmful.ckpt"
    harmful.write_bytes(pickle.dumps({"state_dict": print}, protocol=2))
    with pytest.raises(CheckpointError, match="broken or holds more than tensors"):
        pipeline.load_unet(harmful)
    with pytest.raises(CheckpointError, match="name ends in"):
        pipeline.load_unet(published / "model_index.json")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        pipeline.load_unet(tmp_path / "none.ckpt")


def _weights(folder: Path, file: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})


def _write(folder: Path, file: str, **changes: object) -> None:
    content = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps(content))


SPOILT: dict[str, Callable[[Path], object]] = {
    "it has no model_index.json": lambda f: (f / "model_index.json").unlink(),
    "it has no vae, tokenizer": lambda f: [shutil.rmtree(f / n) for n in ("vae", "tokenizer")],
    "no list of ramping_coefficients": lambda f: (f / "model_index.json").write_text("{}"),
    "no list of ramping_coefficients: JSON": lambda f: (f / "model_index.json").write_text("{"),
    "ramping_coefficients: 2 instead of 7": lambda f: _write(
        f, "model_index.json", ramping_coefficients=[0, 1]
    ),
    "epsilon instead of v_prediction": lambda f: _write(
        f, "scheduler/scheduler_config.json", prediction_type="epsilon"
    ),
    "words of its tokenizer: 3 instead of 4": lambda f: [
        (f / "tokenizer" / name).unlink() for name in ("vocab.json", "merges.txt")
    ],
    "missing keys: conv_in.bias": lambda f: _weights(f, UNET_FILE, lambda w: w.pop("conv_in.bias")),
    "unexpected keys: other": lambda f: _weights(
        f, VISION_FILE, lambda w: w.update(other=torch.zeros(1))
    ),
    "missing keys: visual_projection.weight": lambda f: _weights(
        f, VISION_FILE, lambda w: w.pop("visual_projection.weight")
    ),
    "conv_in.bias expected shape": lambda f: _weights(
        f, UNET_FILE, lambda w: w.update({"conv_in.bias": torch.zeros(3)})
    ),
    "vision_encoder: not read": lambda f: (f / VISION_FILE).write_bytes(b"nonsense"),
    "unet: not read": lambda f: (f / UNET_FILE).unlink(),
}


@pytest.mark.parametrize("told", SPOILT)
def test_folders_that_do_not_fit_are_refused(copy: Path, told: str) -> None:
    SPOILT[told](copy)
    with pytest.raises(CheckpointError, match=re.escape(told)):
        Zero123Plus.from_pretrained(copy)
