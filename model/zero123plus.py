"""Zero123++: from one picture of an object to six views of it, drawn as one picture.

Shi et al., "Zero123++: a Single Image to Consistent Multi-view Diffusion Base Model", 2023: Stable
Diffusion 2 with v-prediction on a linear noise schedule, which sees the condition picture twice.
Locally, by reference attention: the U-Net also runs on the condition's latents, noised as much as
the views are, and its self-attention on the views attends to what it saw there. Globally: the
picture's CLIP embedding, times a learned ramp, is added to the tokens of an empty prompt.

This is a pipeline of our own over the networks of diffusers and transformers. It reads and writes
the layout of the published `sudo-ai/zero123plus-v1.2`, whose weights are for non-commercial use
(CC BY-NC 4.0).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError
from torch import Tensor, nn

from model.checkpoint_layout import MENTIONED, CheckpointError, check_fit, read_tensors
from model.view_grid import COLUMNS, ROWS, remove_background, split, tile

try:
    import diffusers
    from diffusers import (
        AutoencoderKL,
        DDPMScheduler,
        EulerAncestralDiscreteScheduler,
        UNet2DConditionModel,
    )
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0
    from huggingface_hub import snapshot_download
    from transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )
except ImportError as error:
    raise ImportError(
        "Zero123++ needs diffusers and transformers: pip install '.[views]'"
    ) from error

CELL = 320  # pixels along a side of a view that published checkpoints are trained on
GREY = 127 / 255  # what the published checkpoints see and draw behind objects
WHITE = 1.0  # what those fine-tuned by InstantMesh and PartRM do

INDEX = "model_index.json"
RAMP = "ramping_coefficients"
PARTS: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "vision_encoder": CLIPVisionModelWithProjection,
    "tokenizer": CLIPTokenizer,
    "feature_extractor_clip": CLIPImageProcessor,
    "feature_extractor_vae": CLIPImageProcessor,
    "scheduler": EulerAncestralDiscreteScheduler,
}


class ReferenceAttention(AttnProcessor2_0):
    """Attention that, where it is self-attention, writes down the tokens it sees, or attends to
    those written before as well.

    The tokens travel as arguments, so that gradient checkpointing may run a layer again.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "B N D"],
        encoder_hidden_states: Float[Tensor, "B M E"] | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        write: dict[str, Tensor] | None = None,
        read: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "B N D"]:
        if encoder_hidden_states is None:
            if write is not None:
                write[self.name] = hidden_states
            if read is not None:
                encoder_hidden_states = torch.cat([hidden_states, read[self.name]], dim=1)
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class Zero123Plus(nn.Module):
    """The pipeline. Its U-Net is what fine-tuning trains; the other networks are frozen.

    Pictures are sRGB in [0, 1], with straight alpha as a fourth channel or without.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    vision_encoder: CLIPVisionModelWithProjection
    tokenizer: CLIPTokenizer
    feature_extractor_clip: CLIPImageProcessor
    feature_extractor_vae: CLIPImageProcessor
    scheduler: EulerAncestralDiscreteScheduler
    ramp: Float[Tensor, "N 1"]

    def __init__(
        self, parts: Mapping[str, Any], ramp: Sequence[float], background: float = GREY
    ) -> None:
        """
        Args:
            parts: what `PARTS` names.
            ramp: how much of the picture's embedding is added to each token of the prompt.
            background: the grey, 0 to 1, that transparent pixels of pictures get.

        Raises:
            ValueError: they do not fit each other.
        """
        super().__init__()
        for name in PARTS:
            setattr(self, name, parts[name])
        self.register_buffer("ramp", torch.tensor(ramp)[:, None], persistent=False)
        self.background = background
        words, width = self.text_encoder.config.vocab_size, self.unet.config.cross_attention_dim
        fits = {
            RAMP: (len(ramp), self.tokenizer.model_max_length),
            "words of its tokenizer": (min(len(self.tokenizer), words), words),
            "channels of its text encoder": (self.text_encoder.config.hidden_size, width),
            "channels of its vision encoder": (self.vision_encoder.config.projection_dim, width),
            "prediction of its scheduler": (self.scheduler.config.prediction_type, "v_prediction"),
        }
        told = [f"{name}: {a} instead of {b}" for name, (a, b) in fits.items() if a != b]
        if told:
            raise ValueError("; ".join(told))
        self.training_scheduler = DDPMScheduler.from_config(self.scheduler.config)
        for frozen in (self.vae, self.text_encoder, self.vision_encoder):
            frozen.requires_grad_(False)
        self.unet.set_attn_processor(
            {name: ReferenceAttention(name) for name in self.unet.attn_processors}
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        unet: str | os.PathLike[str] | None = None,
        background: float | None = None,
    ) -> Zero123Plus:
        """Load a pipeline, in float32 on the CPU.

        Args:
            source: a folder in diffusers' layout, ours, a fine-tuned or the published one; or what
                it is called on Hugging Face's hub, such as `sudo-ai/zero123plus-v1.2`.
            unet: a fine-tuned U-Net to take in place of the one there: see `load_unet`.
            background: `WHITE` for InstantMesh's and PartRM's; what the folder says, or grey,
                where it is not given.

        Raises:
            CheckpointError: something is missing or does not fit; the message says what.
            FileNotFoundError: there is no such folder, and the hub does not give it.
        """
        folder = _folder(source)
        missing = [name for name in (INDEX, *PARTS) if not (folder / name).exists()]
        if missing:
            raise CheckpointError(f"{folder} is no Zero123++: it has no {', '.join(missing)}")
        try:
            index = json.loads((folder / INDEX).read_text())
            ramp = [float(share) for share in index[RAMP]]
            grey = float(index.get("background", GREY)) if background is None else background
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{folder / INDEX} has no list of {RAMP}: {error!r}") from error
        parts = {name: _load(kind, folder / name) for name, kind in PARTS.items()}
        try:
            pipeline = cls(parts, ramp, grey)
        except ValueError as error:
            raise CheckpointError(f"{folder} is no Zero123++: {error}") from error
        if unet is not None:
            pipeline.load_unet(unet)
        return pipeline

    def load_unet(self, path: str | os.PathLike[str]) -> None:
        """Load a fine-tuned U-Net from one file: .safetensors, or a pickle of nothing but tensors.

        Names are diffusers', bare or after `unet.` or `unet.unet.`, as the fine-tuning code of
        InstantMesh and PartRM has them, whose noise schedule, stored beside them, is ignored.

        Raises:
            CheckpointError: it does not fit; the message says what differs.
            FileNotFoundError: there is no such file.
        """
        _, tensors = read_tensors(path)
        weights = {
            re.sub(r"^(unet\.)+", "", name): tensor
            for name, tensor in tensors.items()
            if not re.fullmatch(r"betas|(sqrt_\w+)?alphas_cumprod(_prev)?", name)
        }
        check_fit(self.unet.state_dict(), weights, str(path))
        self.unet.load_state_dict(weights)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder in diffusers' layout, which the published pipeline reads as well.

        Its index comes last: a folder whose writing broke off is refused.
        """
        folder = Path(folder)
        (folder / INDEX).unlink(missing_ok=True)
        index: dict[str, Any] = {
            "_class_name": "Zero123PlusPipeline",
            "_diffusers_version": diffusers.__version__,
        }
        for name in PARTS:
            part = getattr(self, name)
            part.save_pretrained(folder / name)
            index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
        index |= {RAMP: self.ramp.flatten().tolist(), "background": self.background}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")

    @torch.no_grad()
    def views(
        self,
        picture: Float[Tensor, "C H W"],
        steps: int = 75,
        guidance: float = 4.0,
        generator: torch.Generator | None = None,
        size: int = CELL,
    ) -> Float[Tensor, "6 3 {size} {size}"]:
        """Six views of the object in a picture, by Euler ancestral sampling.

        The same generator gives the same views; one of the CPU does so on all devices, up to their
        rounding.

        Args:
            picture: RGB or RGBA; what is not square is padded to a square.
            steps: PartRM takes 75; about 28 suffice for most objects, says the published README.
            guidance: weight of the condition (classifier-free guidance); 1 is none.
            generator: where all noise comes from; PyTorch's global one by default.
            size: pixels along a side of a view.

        Returns:
            The grid's cells, row by row, on the background the checkpoint draws. Their cameras are
            the published ones (`AZIMUTHS`), or those of `grid_views` where it is fine-tuned here.

        Raises:
            ValueError: the picture, or a number, is not one of these.
        """
        device = self.ramp.device
        cell = size // self._check_size(size, size)
        shape = (1, self.unet.config.in_channels, ROWS * cell, COLUMNS * cell)
        scheduler = EulerAncestralDiscreteScheduler.from_config(
            self.scheduler.config, timestep_spacing="trailing"
        )
        scheduler.set_timesteps(steps, device=device)
        # With guidance, the first of the batch of two is the one that sees no condition.
        present = torch.tensor([False, True] if guidance > 1 else [True], device=device)
        condition = _square(self._opaque(picture[None]), self.background)
        condition = condition.expand(len(present), -1, -1, -1)
        tokens, reference = self._encode_condition(condition, present, generator)
        latents = _draw(torch.randn, shape, generator, device) * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            noise = _draw(torch.randn, reference.shape, generator, device)
            noised = scheduler.add_noise(reference, noise, time[None])
            velocity = self._velocity(
                scheduler.scale_model_input(latents, time).expand(len(present), -1, -1, -1),
                scheduler.scale_model_input(noised, time),
                time.expand(len(present)),
                tokens,
                self.unet,
            )
            velocity = velocity[:1] + guidance * (velocity[-1:] - velocity[:1])
            latents = scheduler.step(velocity, time, latents, generator=generator).prev_sample
        return split(self._decode(latents))[0]

    def other_views(
        self, picture: UInt8[Tensor, "4 S S"], steps: int = 75, size: int = CELL
    ) -> Float[Tensor, "3 3 S S"]:
        """The input views that `PartRM` wants beside a picture, where this pipeline is fine-tuned
        to draw them into the grid's first cells: on white, in [0, 1]. The same every time.

        Args:
            picture: view 0, straight alpha.
            steps, size: as in `views`.
        """
        generator = torch.Generator().manual_seed(0)
        drawn = self.views(picture.float() / 255, steps, generator=generator, size=size)
        colour, alpha = remove_background(drawn[:3]).split((3, 1), dim=1)
        shown = 1 + alpha * (colour - 1)
        return F.interpolate(shown, picture.shape[-2:], mode="bilinear", antialias=True)

    def loss(
        self,
        condition: Float[Tensor, "B C H W"],
        targets: Float[Tensor, "B 6 C S S"],
        generator: torch.Generator | None = None,
        drop: float = 0.1,
        unet: nn.Module | None = None,
    ) -> Float[Tensor, ""]:
        """What fine-tuning minimises: the squared error of the predicted velocity, over noise of
        any strength. Gradients reach the U-Net alone.

        Args:
            condition: the picture of view 0, RGB or RGBA; square.
            targets: the views to draw, in the grid's order: `grid_views`. Published checkpoints
                take `CELL` pixels.
            generator: where noise, its strengths and the drops come from.
            drop: the share of samples that see no condition, for guidance. InstantMesh drops 0.1,
                PartRM none.
            unet: takes the place of this pipeline's U-Net: a copy of it, such as its running mean.

        Raises:
            ValueError: the pictures are not of these shapes.
        """
        if targets.ndim != 5 or targets.shape[:2] != (len(condition), ROWS * COLUMNS):
            raise ValueError(
                f"targets must be [{len(condition)}, {ROWS * COLUMNS}, C, S, S]; "
                f"these are {list(targets.shape)}"
            )
        self._check_size(*targets.shape[-2:])
        device, count = self.ramp.device, len(condition)
        with torch.no_grad():
            latents = self._encode_grid(tile(self._opaque(targets)), generator)
            present = _draw(torch.rand, [count], generator, device) >= drop
            tokens, reference = self._encode_condition(
                _square(self._opaque(condition), self.background), present, generator
            )
            schedule = self.training_scheduler
            strength = _draw(torch.rand, [count], generator, device)
            times = (strength * schedule.config.num_train_timesteps).long()
            noise = _draw(torch.randn, latents.shape, generator, device)
            noised = schedule.add_noise(
                reference, _draw(torch.randn, reference.shape, generator, device), times
            )
            expected = schedule.get_velocity(latents, noise, times)
        predicted = self._velocity(
            schedule.add_noise(latents, noise, times), noised, times, tokens, unet or self.unet
        )
        return F.mse_loss(predicted, expected)

    def _velocity(
        self,
        latents: Float[Tensor, "B 4 h w"],
        reference: Float[Tensor, "B 4 i j"],
        times: Float[Tensor, "B"] | Int[Tensor, "B"],
        tokens: Float[Tensor, "B N D"],
        unet: nn.Module,
    ) -> Float[Tensor, "B 4 h w"]:
        """A U-Net's prediction for the noised views, given the condition noised as much."""
        dtype = self.unet.dtype
        seen: dict[str, Tensor] = {}
        for sample, passing in ((reference, {"write": seen}), (latents, {"read": seen})):
            output = unet(sample.to(dtype), times, tokens.to(dtype), cross_attention_kwargs=passing)
        return output.sample.float()

    def _encode_condition(
        self,
        pictures: Float[Tensor, "B 3 S S"],
        present: Bool[Tensor, "B"],
        generator: torch.Generator | None,
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B 4 i j"]]:
        """Tokens and latents of pictures; of an empty prompt and an empty picture where they are
        not present.

        Unlike the views' these latents are not scaled: they are larger by some 5, which, as the
        paper found, draws more attention to them.
        """
        device = self.ramp.device
        # Bytes, since the processors round after resizing, like Pillow, only what are bytes.
        images = (pictures * 255).round().byte()
        clip, picture = (
            processor(images=images, return_tensors="pt").pixel_values.to(device)
            for processor in (self.feature_extractor_clip, self.feature_extractor_vae)
        )
        empty = self.tokenizer(
            "", padding="max_length", max_length=len(self.ramp), return_tensors="pt"
        )
        prompt = self.text_encoder(empty.input_ids.to(device)).last_hidden_state.float()
        embedding = self.vision_encoder(clip.to(self.vision_encoder.dtype)).image_embeds.float()
        tokens = prompt + (embedding * present[:, None])[:, None] * self.ramp
        latents = self.vae.encode((picture * present[:, None, None, None]).to(self.vae.dtype))
        return tokens, latents.latent_dist.sample(generator).float()

    def _encode_grid(
        self, grid: Float[Tensor, "B 3 H W"], generator: torch.Generator | None
    ) -> Float[Tensor, "B 4 h w"]:
        """Latents of tiled views, shifted and scaled as Zero123++ wants them."""
        images = ((grid - 0.5) / 0.8).to(self.vae.dtype)
        latents = self.vae.encode(images).latent_dist.sample(generator).float()
        return (latents * self.vae.config.scaling_factor - 0.22) * 0.75

    def _decode(self, latents: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 H W"]:
        """The inverse of `_encode_grid`, within [0, 1]."""
        latents = (latents / 0.75 + 0.22) / self.vae.config.scaling_factor
        return (self.vae.decode(latents.to(self.vae.dtype)).sample.float() * 0.8 + 0.5).clamp(0, 1)

    def _opaque(self, pictures: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch 3 H W"]:
        """Pictures on this device, over the background where they have alpha."""
        if pictures.ndim < 4 or pictures.shape[-3] not in (3, 4):
            raise ValueError(f"pictures have 3 or 4 channels, [C, H, W]; not {pictures.shape[1:]}")
        colour = pictures[..., :3, :, :].to(self.ramp.device, torch.float32)
        if pictures.shape[-3] == 3:
            return colour
        alpha = pictures[..., 3:, :, :].to(colour)
        return self.background + alpha * (colour - self.background)

    def _check_size(self, height: int, width: int) -> int:
        """The pixels along a side of one of the VAE's latents, which views must be made of."""
        stride: int = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if height != width or width < stride or width % stride:
            raise ValueError(f"views must be squares of a multiple of {stride} pixels, not {width}")
        return stride


def _square(pictures: Float[Tensor, "B 3 H W"], background: float) -> Float[Tensor, "B 3 S S"]:
    """Pictures in the middle of squares, as the processors would crop to one."""
    height, width = pictures.shape[-2:]
    x, y = max(height - width, 0), max(width - height, 0)
    return F.pad(pictures, (x // 2, x - x // 2, y // 2, y - y // 2), value=background)


def _draw(
    distribution: Callable[..., Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Random numbers, drawn where the generator is."""
    source = device if generator is None else generator.device
    return distribution(*shape, generator=generator, device=source).to(device)


def _folder(source: str | os.PathLike[str]) -> Path:
    """The folder of that path, or a local copy of what is called so on the hub."""
    if Path(source).is_dir():
        return Path(source)
    try:
        patterns = [INDEX, *(f"{name}/*" for name in PARTS)]
        return Path(snapshot_download(str(source), allow_patterns=patterns))
    except (OSError, ValueError) as error:  # the hub's own errors are of these kinds
        raise FileNotFoundError(
            f"{source} is no folder, and the hub does not give it: {error}"
        ) from error


def _load(kind: Any, folder: Path) -> Any:
    """One part of a pipeline, all of whose weights are in its folder."""
    try:
        if not issubclass(kind, nn.Module):
            return kind.from_pretrained(folder, local_files_only=True)
        part, report = kind.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: not read: {error}") from error
    told = [
        f"{fault.replace('_', ' ')}: {', '.join(sorted(map(str, names))[:MENTIONED])}"
        for fault, names in report.items()
        if names
    ]
    if told:
        raise CheckpointError(f"{folder} does not fit: {'; '.join(told)}")
    return part
