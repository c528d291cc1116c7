"""One picture and drags to Gaussians: in Python, and as the program predict.py."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import synthetic_shard

from datagen.cameras import rig
from datagen.drags import sample_drags, state_pairs
from datagen.shards import Shard
from model.config import PRESETS
from model.drag_embedding import Drags
from model.evaluation.cases import Case, read_views
from model.fitting import corrected, fit
from model.holding import Rigid
from model.partrm import PartRM
from model.ply import load_ply
from model.prediction import Dragged, Predictor, Scene
from model.pretrained import PredictorConfig, load_predictor
from model.propagation import DragError
from model.rendering import render
from model.weights import PARTS
from predict import main

SIZE = PRESETS["nano"].input_size


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return Shard(synthetic_shard(tmp_path_factory.mktemp("prediction") / "cabinet.h5"))


@pytest.fixture(scope="module")
def network() -> PartRM:
    torch.manual_seed(0)
    return PartRM(PRESETS["nano"]).eval()


@pytest.fixture(scope="module")
def pair(shard: Shard) -> tuple[int, int]:
    return state_pairs(shard)[0]


@pytest.fixture(scope="module")
def picture(shard: Shard, pair: tuple[int, int]) -> np.ndarray:
    return np.asarray(shard.colour(pair[0], 0))


@pytest.fixture(scope="module")
def drag(shard: Shard, pair: tuple[int, int]) -> list[float]:
    drags = sample_drags(shard, *pair, 1, np.random.default_rng(0))
    return [*drags.start_pixel[0].tolist(), *drags.end_pixel[0].tolist()]


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, network: PartRM, picture: np.ndarray
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    network.save_pretrained(folder / "weights.safetensors")
    static = PartRM(replace(PRESETS["nano"], drag_levels=()))
    static.save_pretrained(folder / "static.safetensors")
    Image.fromarray(picture).save(folder / "picture.png")
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(folder / "busy.png")
    (folder / "text.png").write_text("no picture")
    return {path.stem: path for path in folder.iterdir()}


def test_the_network_sees_what_training_with_one_view_shows(
    network: PartRM, shard: Shard, pair: tuple[int, int], picture: np.ndarray
) -> None:
    scene = Predictor(network).see(picture)
    expected = read_views(Case(shard, *pair, shard, *pair), pair[0], SIZE, 1)
    torch.testing.assert_close(
        scene.views.network_input(), expected.network_input(), rtol=0, atol=1e-6
    )
    with torch.no_grad():
        torch.testing.assert_close(scene.before, network(expected.network_input())[0])


def test_a_drag_moves_something(
    files: dict[str, Path], network: PartRM, picture: np.ndarray, drag: list[float]
) -> None:
    dragged = PartRM.from_pretrained(files["weights"]).drag(str(files["picture"]), [drag])
    count = 4 * PRESETS["nano"].splat_size ** 2
    assert dragged.before.shape == dragged.after.shape == (count, 14)
    assert not torch.allclose(dragged.before, dragged.after)
    assert list(dragged.seconds) == ["read", "views", "reconstruct", "propagate", "network"]
    np.testing.assert_allclose(dragged.drags.ravel(), drag)
    again = network.drag(Image.fromarray(picture), np.array([drag]))
    torch.testing.assert_close(again.after, dragged.after)
    turn = dragged.scene.turntable(dragged.after, 32)
    assert turn.shape == (8, 32, 32, 3)


def test_what_moves_is_held_together_unless_it_is_not_to_be(
    picture: np.ndarray, drag: list[float]
) -> None:
    network = PartRM(replace(PRESETS["nano"], positions="displaced"))
    shift = torch.tensor([0.1, 0.0, -0.2])

    def blurred(images: torch.Tensor, drags: Drags | None) -> torch.Tensor:
        gaussians = torch.rand(1, 100, 14, generator=torch.Generator().manual_seed(0))
        if drags is not None:
            gaussians[:, :50, :3] += shift
            gaussians[:, :50, 4:7] *= 5
        return gaussians

    def dragged(rigid: Rigid) -> Dragged:
        predictor = Predictor(network, forward=blurred, fit=0, rigid=rigid)
        return predictor.drag(predictor.see(picture), [drag])

    rigid, raw = dragged("auto"), dragged("never")
    assert raw.part is None and not torch.equal(raw.after[:50, 4:7], raw.before[:50, 4:7])
    assert rigid.part is not None
    # Nearly, as the drag has its say, too.
    expected = torch.tensor([1.0, 0, 0, 0, *shift])
    torch.testing.assert_close(rigid.part.motion, expected, rtol=0, atol=0.05)
    assert torch.equal(rigid.after[:, 4:7], rigid.before[:, 4:7])
    torch.testing.assert_close(rigid.after[:, :3], raw.after[:, :3], rtol=0, atol=0.1)


def test_what_is_seen_is_fitted_once_and_drags_take_it_along(
    picture: np.ndarray, drag: list[float]
) -> None:
    network = PartRM(replace(PRESETS["nano"], positions="displaced")).requires_grad_(False)

    def unmoved(images: torch.Tensor, _: Drags | None) -> torch.Tensor:
        return network(images, None)

    def error(scene: Scene) -> float:
        size = scene.picture.pixels.shape[0]
        camera, lens = scene.views.camera_to_world[:, :1], scene.views.intrinsics[:, None]
        drawn = render(scene.before[None], camera, lens, size, size).colour
        return float((drawn - scene.views.pictures[:, :1]).square().mean())

    fitted, raw = (Predictor(network, forward=unmoved, fit=steps) for steps in (10, 0))
    scene = fitted.see(picture)
    assert error(scene) < 0.9 * error(raw.see(picture))
    dragged = fitted.drag(scene, [drag])
    torch.testing.assert_close(dragged.after, scene.before)
    assert "fit" in dragged.seconds and "fit" not in raw.see(picture).seconds
    drawn = replace(fitted, other_views=lambda _: torch.rand(3, 3, SIZE, SIZE)).see(picture)
    before = unmoved(drawn.views.network_input(), None)
    expected = corrected(before, fit(before, drawn.views.first(1)))[0]
    torch.testing.assert_close(drawn.before, expected)  # what was drawn is not fitted to
    apart = Predictor(network, reconstructor=network)  # two networks' splats are not the same ones
    assert apart.see(picture).correction is None


def test_drags_go_along_with_the_picture(
    network: PartRM, picture: np.ndarray, drag: list[float]
) -> None:
    """The object elsewhere in a larger opaque picture is the same object with the same drag."""
    predictor = Predictor(network, framing="recentre")
    plain = predictor.drag(predictor.see(picture), [drag])
    alpha = picture[..., 3:] / 255
    large = np.full((200, 300, 3), 255, np.uint8)
    large[90 : 90 + SIZE, 150 : 150 + SIZE] = np.round(picture[..., :3] * alpha + 255 * (1 - alpha))
    moved = predictor.drag(predictor.see(large), [np.add(drag, [150, 90, 150, 90]).tolist()])
    np.testing.assert_allclose(moved.drags, plain.drags, atol=1.5)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([-3, 5, 9, 9], r"drag 2: .*\(-3, 5\), outside of the picture of 64 x 64 pixels"),
        ([1, 1, 9, 9], r"drag 2: .*\(1, 1\), on the background: start on the part"),
        (None, r"drag 2: .* ends there as well"),
        ([1, 1, float("nan"), 9], r"drag 2: .* are no coordinates"),
    ],
)
def test_bad_drags_are_named(
    network: PartRM,
    picture: np.ndarray,
    drag: list[float],
    second: list[float] | None,
    message: str,
) -> None:
    with pytest.raises(DragError, match=message):
        network.drag(picture, [drag, second or [*drag[:2], *drag[:2]]])
    with pytest.raises(DragError, match="rows of x0, y0, x1, y1"):
        network.drag(picture, [])


def test_part_masks_make_ten_drags_of_one(
    network: PartRM, picture: np.ndarray, drag: list[float]
) -> None:
    def part(pixels: np.ndarray, point: tuple[float, float]) -> np.ndarray:
        assert pixels.shape == (SIZE, SIZE, 4)
        assert point == pytest.approx(drag[:2])
        return np.asarray(pixels[..., 3] > 0)

    drags = network.drag(picture, [drag], part_mask=part).drags
    assert drags.shape == (10, 2, 2)
    np.testing.assert_allclose(
        drags[:, 1] - drags[:, 0], np.tile(drags[0, 1] - drags[0, 0], (10, 1))
    )
    assert network.drag(picture, [drag, drag], part_mask=part, count=3).drags.shape == (6, 2, 2)
    with pytest.raises(DragError, match=r"drag 1: .* off the part"):
        network.drag(picture, [drag], part_mask=lambda p, _: np.zeros(p.shape[:2], bool))


def test_drags_are_spread_for_published_weights_or_if_asked(
    files: dict[str, Path], tmp_path: Path
) -> None:
    ours, published = files["weights"], tmp_path / "published.safetensors"
    PartRM(replace(PRESETS["nano"], drag_style="published")).save_pretrained(published)
    own_parts = tmp_path / "parts.safetensors"
    shutil.copy(PARTS, own_parts)

    def spreads(weights: Path, **options: Any) -> bool:
        config = PredictorConfig(weights=weights, device="cpu", **options)
        return load_predictor(config).part_mask is not None

    assert not spreads(ours) and spreads(published)
    assert spreads(ours, spread="part") and not spreads(published, spread="none")
    assert not spreads(ours, parts=own_parts)


@pytest.mark.parametrize("channels", [3, 4])
def test_other_views_are_shown_where_they_are_made(
    network: PartRM, picture: np.ndarray, channels: int
) -> None:
    made = torch.rand(3, channels, SIZE, SIZE)
    views = Predictor(network, other_views=lambda _: made).see(picture).views
    assert views.present.all()
    white = made[:, :3] if channels == 3 else 1 + made[:, 3:] * (made[:, :3] - 1)
    torch.testing.assert_close(views.pictures[0, 1:], white)
    with pytest.raises(ValueError, match=r"other_views gave \(2, 3, 64, 64\)"):
        Predictor(network, other_views=lambda _: torch.rand(2, 3, SIZE, SIZE)).see(picture)


def test_which_cameras_the_network_is_told_of(network: PartRM, picture: np.ndarray) -> None:
    assert Predictor(network).rig.name == "ring"
    published = PartRM(replace(PRESETS["nano"], drag_style="published"))
    assert Predictor(published).rig.name == "partdrag4d"
    assert Predictor(published).rig.fov == rig("ring").fov
    assert Predictor(network, "partdrag4d").rig.fov == rig("partdrag4d").fov
    other = PartRM(PRESETS["nano"])
    scene = Predictor(network, reconstructor=other).see(picture)
    with torch.no_grad():
        torch.testing.assert_close(scene.before, other(scene.views.network_input())[0])


def predicted(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, words)])
    return main()


def test_the_program(
    files: dict[str, Path],
    drag: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("model.gallery.FRAMES", 4)
    out, text = tmp_path / "out", ",".join(map(str, drag))
    words = ["--image", files["picture"], "--drag", text, "--drag", text]
    words += ["--weights", files["weights"], "--out", out, "--resolution", 32, "--device", "cpu"]
    words += ["--spread", "none"]
    assert predicted(monkeypatch, *words) == 0
    done = json.loads((out / "prediction.json").read_text())
    assert done["drags"] == [drag, drag]
    assert done["views_shown"] == 1
    phases = ["read", "views", "reconstruct", "propagate", "network", "render", "write", "video"]
    assert list(done["seconds"]) == phases
    assert done["total_seconds"] == pytest.approx(sum(done["seconds"].values()), abs=1e-3)
    assert all((out / name).stat().st_size > 0 for name in done["files"])
    shown = re.findall(r'(?:src|href)="([^"]+)"', (out / "index.html").read_text())
    assert set(shown) == set(done["files"]) - {"index.html"}
    assert str(out / "turntable.mp4") in capsys.readouterr().out
    dragged = PartRM.from_pretrained(files["weights"]).drag(files["picture"], [drag, drag])
    torch.testing.assert_close(load_ply(out / "after.ply"), dragged.after)
    torch.testing.assert_close(load_ply(out / "before.ply"), dragged.before)
    for state in ("before", "after"):
        views = [Image.open(out / state / f"view_{view}.png") for view in range(8)]
        assert all(view.size == (32, 32) for view in views)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--image": "busy"}, "background is not plain"),
        ({"--image": "text"}, "text.png is not a picture that can be read"),
        ({"--image": "nowhere.png"}, "No such file or directory: '.*nowhere.png'"),
        ({"--drag": "1,1,30,30"}, "drag 1: .*on the background"),
        ({"--drag": "90,1,30,30"}, "drag 1: .*outside of the picture"),
        ({"--drag": "1,2,3"}, "--drag 1,2,3: a drag is x0,y0,x1,y1"),
        ({"--drag": "a,b,c,d"}, "--drag a,b,c,d: a drag is x0,y0,x1,y1"),
        ({"--drag": None}, "nothing is dragged: --drag x0,y0,x1,y1"),
        ({"--weights": "static"}, "embeds no drags"),
        ({"--weights": "picture"}, "picture.png"),
        ({"--parts": "weights"}, "no click-to-part network"),
        ({"--resolution": "33"}, "--resolution 33 must be even"),
        ({"--device": "abacus"}, "--device abacus: no such device"),
    ],
)
def test_bad_input_is_one_line(
    files: dict[str, Path],
    drag: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str | None],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # where no runs are
    words: dict[str, str | None] = {"--image": "picture", "--weights": "weights"}
    words["--drag"] = ",".join(map(str, drag))
    spread = "part" if "--parts" in changes else "none"
    words |= {"--out": str(tmp_path / "out"), "--spread": spread, **changes}
    given = [(name, files.get(word, word)) for name, word in words.items() if word is not None]
    assert predicted(monkeypatch, *(word for pair in given for word in pair)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
