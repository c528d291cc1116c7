"""Which pixels belong to the part that a drag starts on: masks for `propagation.propagate`.

Each source is a `PartMask`: it takes a picture and the drag's start, and returns a mask that holds
that start. Where it cannot, it raises a `DragError` that says why.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8

from datagen.articulation import ArticulatedObject
from datagen.drags import moved_links
from datagen.shards import Shard
from model.checkpoint_layout import CheckpointError, check_fit, read_tensors
from model.click_to_part import ClickToPartNet
from model.propagation import DragError, object_pixel
from model.views import on_white
from model.weights import PARTS

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

SAM_TYPES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of their image encoders


class PartMask(Protocol):
    """A source of masks."""

    def __call__(
        self, picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
    ) -> Bool[np.ndarray, "H W"]:
        """The pixels that show the part that a drag starts on.

        Args:
            picture: sRGB with straight alpha, 0 where there is nothing.
            start: (x, y) in pixels, pixel centres at half-integers.

        Raises:
            DragError: the drag starts outside of the picture, on its background, or where this
                source finds no part.
        """


class TrueMask:
    """What a shard knows: the links that move together at the drag's start, in one of its pictures.

    Of the parts that hold the clicked link, the one that moves the fewest links is meant: a knob
    that turns on a door that swings is the knob alone, a handle fixed to the door is the door.
    """

    def __init__(self, shard: Shard, state: int, view: int = 0) -> None:
        self.shard = shard
        self.links = shard.link(state, view)

    def __call__(
        self, picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
    ) -> Bool[np.ndarray, "H W"]:
        column, row = object_pixel(picture, start)
        links = nearest(self.links, picture.shape[:2])
        obj, link = self.shard.object, int(links[row, column])
        if link < 0:
            raise DragError(
                f"the drag starts at ({start[0]:g}, {start[1]:g}), on the object's edge, where the "
                "shard knows no part: start it further inside"
            )
        part = int(part_of_links(obj)[link])
        if part < 0:
            raise DragError(
                f"the drag starts at ({start[0]:g}, {start[1]:g}), on {obj.links[link].name}, "
                "which no joint moves: start it on a part that moves"
            )
        return np.isin(links, moved_links(self.shard, part))


class ClickToPart:
    """Our network. It takes for granted that what is dragged moves, and finds what moves along."""

    def __init__(self, network: ClickToPartNet) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str] = PARTS, device: str | torch.device = "cpu"
    ) -> ClickToPart:
        """Load the network from its checkpoint, by default the one that comes with the project.

        Raises:
            CheckpointError: it is none of such a network; the message says what differs.
            FileNotFoundError: there is no such file.
        """
        return cls(ClickToPartNet.from_pretrained(path).to(device))

    @torch.no_grad()
    def __call__(
        self, picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
    ) -> Bool[np.ndarray, "H W"]:
        """Any picture will do: the network sees it with its longer side as long as in training,
        both rounded to its stride, and its logits are interpolated back."""
        column, row = object_pixel(picture, start)
        device, config = self.network.conv_out.weight.device, self.network.config
        size = np.array(picture.shape[:2])
        cells = np.maximum(size * config.input_size / size.max() / config.stride, 1).round()
        colours, _ = on_white(torch.tensor(picture, device=device).permute(2, 0, 1)[None])
        inner = [int(n) * config.stride for n in cells]
        shown = F.interpolate(colours, inner, mode="bilinear", antialias=True)
        click = torch.tensor(start / size[::-1], dtype=torch.float32, device=device)
        logits = self.network(shown, click[None, None])[:, None]
        logits = F.interpolate(logits, picture.shape[:2], mode="bilinear")[0, 0]
        # The background takes no part, whatever a blurred border says.
        mask: Bool[np.ndarray, "H W"] = (logits > 0).cpu().numpy() & (picture[..., 3] > 0)
        if not mask[row, column]:
            raise DragError(
                f"the drag starts at ({start[0]:g}, {start[1]:g}), where the network sees no part "
                "that moves: start it further inside of the part"
            )
        return mask


class SegmentAnything:
    """Segment Anything: the smallest of the masks it proposes that holds the drag's start, as
    PartRM chooses (section 3.2)."""

    def __init__(self, model: Sam) -> None:
        """
        Raises:
            ImportError: segment-anything is not installed; says what to do.
        """
        self.predictor = _segment_anything().SamPredictor(model.eval())

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], device: str | torch.device = "cpu"
    ) -> SegmentAnything:
        """Load one of its published checkpoints: which of the models it is of, its weights tell.

        Raises:
            CheckpointError: it is no such checkpoint; says why.
            FileNotFoundError: there is no such file.
            ImportError: segment-anything is not installed; says what to do.
        """
        registry = _segment_anything().sam_model_registry
        _, weights = read_tensors(path)
        first = weights.get("image_encoder.pos_embed")
        kind = SAM_TYPES.get(first.shape[-1]) if first is not None and first.ndim == 4 else None
        if kind is None:
            raise CheckpointError(
                f"{path}: no checkpoint of Segment Anything ({', '.join(SAM_TYPES.values())})"
            )
        model = registry[kind]()
        check_fit(model.state_dict(), weights, str(path))
        model.load_state_dict(weights)
        return cls(model.to(device))

    def __call__(
        self, picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
    ) -> Bool[np.ndarray, "H W"]:
        column, row = object_pixel(picture, start)
        colours, _ = on_white(torch.tensor(picture).permute(2, 0, 1))
        self.predictor.set_image((255 * colours).round().byte().permute(1, 2, 0).numpy())
        masks, _, _ = self.predictor.predict(
            point_coords=np.asarray(start, float)[None] - 0.5,  # its pixel centres are integers
            point_labels=np.ones(1, int),
            multimask_output=True,
        )
        holding = [mask for mask in masks if mask[row, column]]
        if not holding:
            raise DragError(
                f"the drag starts at ({start[0]:g}, {start[1]:g}), where none of Segment "
                "Anything's masks lies: start it further inside of the part"
            )
        return min(holding, key=lambda mask: int(mask.sum()))


def load_part_mask(
    parts: str | os.PathLike[str] = PARTS,
    sam: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> PartMask:
    """What finds parts: Segment Anything, if its checkpoint is given, else our network.

    Raises:
        CheckpointError: a checkpoint does not fit; the message says what differs.
        FileNotFoundError: there is no such file.
        ImportError: segment-anything is not installed; says what to do.
    """
    if sam is not None:
        return SegmentAnything.from_pretrained(sam, device)
    return ClickToPart.from_pretrained(parts, device)


def _segment_anything() -> Any:
    try:
        import segment_anything
    except ImportError as error:
        raise ImportError(
            "masks of Segment Anything need its package: pip install segment-anything"
        ) from error
    return segment_anything


def part_of_links(obj: ArticulatedObject) -> Int[np.ndarray, "L"]:
    """The part that a click on each link means: of those that move the link, the one that moves
    the fewest links; -1 for links that no joint moves."""
    parts = np.full(len(obj.links), -1)
    for joint in sorted(obj.movable, key=lambda joint: len(obj.subtree(joint)), reverse=True):
        parts[list(obj.subtree(joint))] = joint.part
    return parts


def nearest(links: Int[np.ndarray, "H W"], size: tuple[int, ...]) -> Int[np.ndarray, "h w"]:
    """A link map in another size: each pixel takes the link at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(links.shape, size, strict=True)
    )
    return links[rows[:, None], columns]
