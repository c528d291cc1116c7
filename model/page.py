"""A web page to pull at pictures: python -m model.page --data data/generated/shards

The picture stands in the scene where view 0 of the rig sees it, so that what is pulled lies under
the mouse. Pulled, it gives way to the object's Gaussians, around which the mouse orbits. Every
visitor has a picture and an object of their own; the network is shared, and runs for one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from datagen.cameras import Rig, project, unproject
from datagen.shards import Shard, ShardError, open_shards
from model.capture import Captured
from model.picture import FILL, ImageLike, Picture, PictureError, read_picture
from model.ply import save_ply
from model.prediction import Dragged, Predictor, Scene
from model.pretrained import PredictorConfig, load_predictor
from model.program import program
from model.propagation import DragError

try:
    import viser
except ImportError as error:
    raise ImportError("the page needs viser: pip install '.[page]'") from error

Shown = Literal["Picture", "Before", "After"]
SHOWN: tuple[Shown, ...] = get_args(Shown)

CANVAS = 512  # pixels of the picture that is pulled at
SAMPLE_STATES = 3  # of each object
STEPS = 4  # of the slider
FAINT = 1 / 255  # Gaussians less opaque are not sent
AROUND = 1.12  # how much more than the picture the browser's camera sees
FRAME, ARROW = 225, (255, 176, 0)
WELCOME = "**Pull:** press the mouse on a part, and let go where it should be."


@dataclass(frozen=True, kw_only=True)
class PageConfig(PredictorConfig):
    """Start the web page: pull at a picture, and see the object move."""

    data: Path = Path("data/generated/shards")
    """Folder of shards, whose pictures are the page's samples."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in."""
    port: int = 8080
    """The next free one is taken where it is not."""


class Page:
    """What all visitors share.

    Attributes:
        predictor: the network.
        samples: what can be chosen, by name: a shard and a state.
    """

    def __init__(self, predictor: Predictor, shards: Mapping[str, Shard]) -> None:
        self.predictor = predictor
        self.samples = {
            f"{name}, state {state + 1}": (shard, state)
            for name, shard in shards.items()
            for state in _spread(len(shard.states), SAMPLE_STATES)
        }
        self._busy = threading.Lock()

    def sample(self, name: str) -> UInt8[np.ndarray, "H W 4"]:
        """The picture of that name."""
        shard, state = self.samples[name]
        with self._busy:  # HDF5 reads for one thread at a time
            return np.asarray(shard.colour(state, 0))

    def see(self, image: ImageLike) -> Scene:
        with self._busy:
            return self.predictor.see(image)

    def drag(self, scene: Scene, drags: Sequence[list[float]], spread: bool) -> Dragged:
        """Drag all of the part that a drag starts on, or that point alone."""
        mask = self.predictor.part_mask if spread else None
        with self._busy:
            return replace(self.predictor, part_mask=mask).drag(scene, drags)

    def warm_up(self) -> None:
        """Run once what a first visitor would wait for."""
        seen = np.zeros((CANVAS, CANVAS, 4), np.uint8)
        seen[CANVAS // 4 : -CANVAS // 4, CANVAS // 4 : -CANVAS // 4] = 255
        drag = [CANVAS / 2, CANVAS / 2, CANVAS / 2, CANVAS / 3]
        with contextlib.suppress(DragError):  # it is no part of anything
            self.drag(self.see(seen), [drag], spread=True)


class Visit:
    """One browser: its panel, its picture, its object."""

    def __init__(self, page: Page, client: viser.ClientHandle) -> None:
        self.page, self.client = page, client
        self.plane = Plane(page.predictor.rig)
        self.picture: Picture
        """As it is pulled at, larger than the network is shown it."""
        self.scene: Scene | None = None
        self.pulled: list[list[float]] = []
        """All pulls, in pixels of the picture that was given."""
        self.states: dict[float, Dragged] = {}
        """By how far it was pulled, 1 being as far as the mouse went."""
        self.shown: Shown = "Picture"
        client.scene.set_up_direction("+z")
        self._look_from_the_front()
        self._build_panel()
        if page.samples:
            self._open(page.sample(next(iter(page.samples))))
        else:
            self._tell("Upload a picture: a PNG with transparency, or on a plain background.")

    def _build_panel(self) -> None:
        gui, names = self.client.gui, list(self.page.samples)
        if names:
            choice = gui.add_dropdown("Sample", names)
            choice.on_update(lambda _: self._open(self.page.sample(choice.value)))
        upload = gui.add_upload_button(
            "Upload a picture", icon=viser.Icon.UPLOAD, mime_type="image/*"
        )
        upload.on_upload(lambda _: self._open(upload.value.content))
        self.status = gui.add_markdown("")
        choices = gui.add_button_group("Show", SHOWN)
        choices.on_click(lambda _: self._show(cast(Shown, choices.value)))
        self.far = gui.add_slider("How far", 0.0, 1.0, 1 / STEPS, 1.0, disabled=True)
        # What we set ourselves comes back as an event of no client.
        self.far.on_update(lambda event: self._move() if event.client else None)
        self.several = gui.add_checkbox(
            "Several pulls",
            False,
            hint="Pulls add up: the more of a part, the truer",
        )
        self.several.on_update(lambda event: self._pull_last() if event.client else None)
        masks = self.page.predictor.part_mask is not None
        self.spread = gui.add_checkbox(
            "Whole part",
            masks,
            visible=masks,
            hint="Pull all over the part, not one point (--spread part)",
        )
        self.spread.on_update(lambda event: self._pull_anew() if event.client else None)
        self.download = gui.add_button("Download .ply", icon=viser.Icon.DOWNLOAD, disabled=True)
        self.download.on_click(lambda _: self._download())

    def _open(self, image: ImageLike) -> None:
        """Take a picture, a sample or an upload, and reconstruct what it shows."""
        try:
            fill = FILL[self.page.predictor.rig.name]
            self._tell("Looking …")
            picture = read_picture(image, CANVAS, fill, self.page.predictor.framing)
            scene = self.page.see(image)
        except (PictureError, OSError) as error:
            self._complain(error)
            return
        self.picture, self.scene, self.pulled, self.states = picture, scene, [], {}
        self._pull_all_the_way()
        self.far.disabled = self.download.disabled = True
        drawn = self.client.scene.add_image(
            "/picture",
            _canvas(picture.pixels),
            self.plane.side,
            self.plane.side,
            format="png",
            wxyz=self.plane.wxyz,
            position=self.plane.centre,
            cast_shadow=False,
            receive_shadow=False,
        )
        drawn.on_drag("left")(self._pull)
        self._draw_arrows(np.zeros((0, 2, 2)))
        self._show("Picture")
        seconds = sum(scene.seconds.values())
        self._tell(f"{WELCOME}\n\nReconstructed in {seconds:.2f} s.")

    async def _pull(self, event: Any) -> None:
        """The mouse pulls at the picture; a coroutine, so that its events come in order."""
        eye = np.asarray(event.client.camera.position)
        if event.phase == "start":
            self._from = self.plane.pixel(np.asarray(event.start_position), eye)
        drag = np.stack([self._from, self.plane.pixel(np.asarray(event.end_position), eye)])
        pulled = self.pulled if self.several.value else []
        earlier = self.picture.place(np.reshape(pulled, (-1, 2, 2)))
        self._draw_arrows(np.concatenate([earlier, drag[None]]))
        if event.phase == "end":
            self.pulled = [*pulled, self.picture.given(drag).ravel().tolist()]
            await asyncio.get_running_loop().run_in_executor(None, self._pull_anew)

    def _pull_last(self) -> None:
        """If pulls no longer add up, let the last of several alone count."""
        if not self.several.value and len(self.pulled) > 1:
            self._pull_anew()

    def _pull_anew(self) -> None:
        """Pull as far as the mouse went."""
        if not self.several.value:
            self.pulled = self.pulled[-1:]
        self.states = {}
        self._pull_all_the_way()
        self._move()

    def _move(self) -> None:
        """Move the object as far as the slider says, and show it."""
        scene, pulled, far = self.scene, self.pulled, float(self.far.value)
        if scene is None or not pulled:
            return
        moved = ""
        if far > 0 and far not in self.states:
            self._tell("Moving …")
            began = time.perf_counter()
            try:
                drags = [
                    [x0, y0, x0 + far * (x1 - x0), y0 + far * (y1 - y0)]
                    for x0, y0, x1, y1 in pulled
                ]
                dragged = self.page.drag(scene, drags, self.spread.value)
            except DragError as error:
                self.pulled = pulled[:-1]
                self.far.disabled = self.download.disabled = True
                self._draw_arrows(np.zeros((0, 2, 2)))
                self._move()  # as it was before that pull
                self._complain(error)
                return
            if scene is not self.scene or pulled is not self.pulled:
                return  # another picture or pull came meanwhile
            self.states[far] = dragged
            self._draw_arrows(dragged.drags * CANVAS / len(scene.picture.pixels))
            moved = (
                f"**Moved** in {time.perf_counter() - began:.2f} s "
                f"(drags: {len(dragged.drags)}, Gaussians: {len(dragged.after):,}).\n\n"
                "Orbit with the mouse; *Picture* lets you pull again."
            )
        self.far.disabled = self.download.disabled = False
        self._show("After")
        if moved:
            self._tell(moved)

    def _show(self, shown: Shown) -> None:
        """Let the picture be seen and pulled at, or the object, before or after."""
        if self.scene is None:
            return
        if shown == "After" and not self.pulled:
            shown = "Picture"
        self.shown = shown
        nodes = self.client.scene
        with self.client.atomic():
            for name in ("/picture", "/arrows"):
                if (node := nodes.get_handle_by_name(name)) is not None:
                    node.visible = shown == "Picture"
            if shown == "Picture":
                nodes.remove_by_name("/object")
                self._look_from_the_front()
            else:
                nodes.add_gaussian_splats("/object", *splats(self._gaussians(shown)))
        if shown == "Picture":
            self._tell(WELCOME)

    def _gaussians(self, shown: Shown) -> Float[Tensor, "N 14"]:
        assert self.scene is not None
        state = self.states.get(float(self.far.value))
        return state.after if shown == "After" and state is not None else self.scene.before

    def _download(self) -> None:
        """Send the object as it is shown; pictures stand for what is after."""
        shown: Shown = "Before" if self.shown == "Before" else "After"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{shown.lower()}.ply"
            save_ply(path, self._gaussians(shown))
            self.client.send_file_download(path.name, path.read_bytes(), save_immediately=True)

    def _draw_arrows(self, drags: Float[np.ndarray, "D 2 2"]) -> None:
        """Arrows on the picture, in its pixels; none for drags that have no length."""
        self.client.scene.remove_by_name("/arrows")
        lengths = np.linalg.norm(drags[:, 1] - drags[:, 0], axis=-1)
        drags, lengths = drags[lengths >= 1], lengths[lengths >= 1]
        if len(drags):
            head = min(0.12, 0.5 * float(lengths.min()) * self.plane.side / CANVAS)
            points = self.plane.points(drags.reshape(-1, 2)).reshape(-1, 2, 3)
            self.client.scene.add_arrows(
                "/arrows",
                points,
                ARROW,
                shaft_radius=0.012,
                head_radius=0.4 * head,
                head_length=head,
            )

    def _look_from_the_front(self) -> None:
        """Put the browser's camera to view 0."""
        camera, plane = self.client.camera, self.plane
        camera.position, camera.look_at = plane.eye, plane.centre
        camera.up_direction = np.array([0.0, 0.0, 1.0])
        camera.fov = 2 * np.arctan(AROUND * np.tan(plane.rig.fov / 2))

    def _pull_all_the_way(self) -> None:
        self.far.value = 1.0  # type: ignore[misc]  # mypy does not see viser's setter

    def _tell(self, text: str) -> None:
        self.status.content = text

    def _complain(self, error: Exception) -> None:
        self._tell(f"⚠️ **Not done:** {error}.")


class Plane:
    """Where the picture stands in the world: before view 0, at the depth of the world's origin, so
    that it covers what view 0 sees.

    Attributes:
        rig: of view 0.
        eye: of its camera.
        centre: of the picture.
        side: of the picture, in world units.
        wxyz: turns the picture (x right, y down) into the world.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.pose, self.intrinsics = rig.camera_to_world[0], rig.intrinsics(CANVAS)
        self.eye, forward = self.pose[:3, 3], self.pose[:3, 2]
        self.depth = float(-self.eye @ forward)
        self.centre = self.eye + self.depth * forward
        self.side = 2 * self.depth * float(np.tan(rig.fov / 2))
        self.wxyz = viser.transforms.SO3.from_matrix(self.pose[:3, :3]).wxyz

    def points(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Where pixels of the picture are in the world."""
        depth = np.full(len(pixels), self.depth)
        return unproject(pixels, depth, self.pose, self.intrinsics)

    def pixel(
        self, point: Float[np.ndarray, "3"], eye: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "2"]:
        """The pixel of the picture that an eye sees where it sees a point of the world."""
        normal, ray = self.pose[:3, 2], point - eye
        across = float(ray @ normal)
        share = 1.0 if abs(across) < 1e-9 else float((self.centre - eye) @ normal) / across
        pixels, _ = project((eye + share * ray)[None], self.pose, self.intrinsics)
        return pixels[0]


class Splats(NamedTuple):
    """Gaussians as viser takes them: covariances in world units, sRGB colours and opacities in
    [0, 1]."""

    centres: Float[np.ndarray, "n 3"]
    covariances: Float[np.ndarray, "n 3 3"]
    colours: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, "n 1"]


def splats(gaussians: Float[Tensor, "N 14"]) -> Splats:
    """Those of the Gaussians that are seen at all."""
    kept = gaussians[gaussians[:, 3] >= FAINT].detach().cpu().double().numpy()
    position, opacity, scale, rotation, colour = np.split(kept, [3, 4, 7, 11], axis=1)
    turn = viser.transforms.SO3(rotation).as_matrix()
    spread = turn * scale[:, None, :]
    covariances = spread @ spread.transpose(0, 2, 1)
    return Splats(position, covariances, np.clip(colour, 0, 1), opacity)


def start(config: PageConfig) -> viser.ViserServer:
    """Load the network, and open the page.

    Raises:
        CheckpointError, ImportError, OSError, ValueError: as `load_predictor` does.
    """
    predictor = load_predictor(config)
    if predictor.device.type == "cuda":
        predictor = replace(predictor, forward=Captured(predictor.network))
    page = Page(predictor, _shards(config.data))
    page.warm_up()
    server = viser.ViserServer(config.host, config.port, label="PartRM", verbose=False)
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()
    server.gui.set_panel_label("PartRM")
    server.on_client_connect(lambda client: _visit(page, client))
    return server


def _visit(page: Page, client: viser.ClientHandle) -> None:
    Visit(page, client)


def _shards(folder: Path) -> Mapping[str, Shard]:
    """A folder's shards; none where there are none, which leaves uploads."""
    try:
        return open_shards(folder)
    except (ShardError, OSError) as error:
        print(f"no samples: {error}; make dataset renders some", file=sys.stderr)
        return {}


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` numbers, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _canvas(rgba: UInt8[np.ndarray, "S S 4"]) -> UInt8[np.ndarray, "S S 3"]:
    """A picture on white, in a thin frame."""
    shown = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), "white")
    shown.alpha_composite(Image.fromarray(rgba))
    pixels = np.array(shown.convert("RGB"))
    pixels[[0, 1, -2, -1]] = FRAME
    pixels[:, [0, 1, -2, -1]] = FRAME
    return pixels


def serve(config: PageConfig) -> None:
    """Keep the page open until Ctrl-C."""
    torch.set_grad_enabled(False)
    server = start(config)
    print(f"open http://{config.host}:{server.get_port()} in a browser; Ctrl-C ends it")
    sys.stdout.flush()
    server.sleep_forever()


def main() -> int:
    return program(PageConfig, serve, "python -m model.page")


if __name__ == "__main__":
    sys.exit(main())
