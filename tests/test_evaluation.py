"""Evaluation: which samples, other rigs' views, rows, what counts, and the whole program."""

import json
import math
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Never

import numpy as np
import pytest
import torch
from backbones import write_hed, write_vgg
from PIL import Image
from synthetic import WORLD, synthetic_shard

from datagen.cameras import project, rig
from datagen.drags import draggable_pairs, moved_links
from datagen.shards import MANIFEST, Shard
from eval import main
from model.config import PRESETS
from model.evaluation import report
from model.evaluation.cases import (
    Case,
    DragChoice,
    Truth,
    cameras_in_world,
    choose_cases,
    even_choice,
    read_drags,
    read_truth,
    read_views,
)
from model.evaluation.evaluate import (
    Prediction,
    Row,
    Setting,
    measure,
    predict,
    rows_to_compare,
    scores,
    short_names,
)
from model.evaluation.pictures import choose_examples
from model.metrics import psnr
from model.part_masks import TrueMask
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.propagation import DragError
from model.video import turntable_cameras

NANO, CPU = PRESETS["nano"], torch.device("cpu")
OTHER_WORLD = np.array([[-0.43, 0, 0, -0.01], [0, -0.43, 0, 0], [0, 0, 0.43, 0.01], [0, 0, 0, 1]])
"""As the published rig places objects: turned by half a turn, scaled and moved."""


def folder_of(path: Path, *names: str, **options: object) -> Path:
    """A folder of synthetic shards with its manifest."""
    path.mkdir()
    for name in names:
        synthetic_shard(path / f"{name}.h5", **options)  # type: ignore[arg-type]
    (path / MANIFEST).write_text(json.dumps({"shards": {f"{name}.h5": {} for name in names}}))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("evaluation") / "ring", "cabinet", "dresser")


@pytest.fixture(scope="module")
def other_rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the two objects seen by the published rig, in its world."""
    folder = tmp_path_factory.mktemp("evaluation") / "published"
    return folder_of(folder, "cabinet", cameras=rig("partdrag4d"), world=OTHER_WORLD)


@pytest.fixture
def shard(data: Path) -> Shard:
    return Shard(data / "cabinet.h5")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, as training leaves it: a reconstructor and a model that embeds drags."""
    torch.manual_seed(0)
    static = PartRM(replace(NANO, drag_levels=()))
    for stage, network in (
        ("reconstruct", static),
        ("appearance", static.with_drag_levels(NANO.drag_levels)),
    ):
        (tmp_path / "mine" / stage).mkdir(parents=True)
        network.save_pretrained(tmp_path / "mine" / stage / "weights.safetensors")
    return tmp_path / "mine"


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of VGG-16's convolutions."""
    return write_vgg(tmp_path_factory.mktemp("vgg") / "vgg16.pth")


def case_of(shard: Shard, source: int = 0, target: int = 5, truth: Shard | None = None) -> Case:
    truth = truth or shard
    return Case(shard, source, target, truth, source, target)


# Samples


def test_pairs_are_an_even_choice_of_those_that_drags_join(data: Path) -> None:
    shards = {name: Shard(data / f"{name}.h5") for name in ("cabinet", "dresser")}
    every = draggable_pairs(shards["cabinet"])
    chosen = [(c.source, c.target) for c in choose_cases(shards, 7) if c.shard.id == "cabinet"]
    assert len(chosen) == 7 and chosen[0] == every[0] and chosen[-1] == every[-1]
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(every)
    assert len(choose_cases(shards, 1000)) == 2 * len(every)
    assert even_choice([1, 2, 3], 1) == [1] and even_choice([], 3) == []
    examples = choose_examples(choose_cases(shards, 7), 3)
    assert [example.shard.id for example in examples] == ["cabinet", "dresser", "cabinet"]


def test_fewer_drags_are_the_first_of_more(shard: Shard) -> None:
    case = case_of(shard)
    one, ten, seeded = (
        read_drags(case, DragChoice(n, seed=s)) for n, s in ((1, 0), (10, 0), (1, 1))
    )
    np.testing.assert_array_equal(one[0][0], ten[0][0])
    np.testing.assert_array_equal(one[1][0], ten[1][0])
    assert len(ten[0]) == len(np.unique(ten[0], axis=0)) == 10
    assert (seeded[0] != one[0]).any()
    assert (read_drags(case_of(shard, 0, 4), DragChoice(1))[0] != one[0]).any()


def test_propagated_drags_start_on_the_true_mask(shard: Shard) -> None:
    case = case_of(shard)
    start, end = read_drags(case, DragChoice(8, "mask"))
    given = read_drags(case, DragChoice(1))
    np.testing.assert_allclose((start[0], end[0]), (given[0][0], given[1][0]))
    np.testing.assert_allclose(end - start, np.tile(end[0] - start[0], (8, 1)), atol=1e-9)
    column, row = np.floor(start * shard.resolution).astype(int).T
    part = moved_links(shard, shard.states[0].part)
    assert np.isin(shard.link(0, 0)[row, column], part).all()


def test_drags_start_on_the_part_that_is_found_and_one_is_alone_where_none_is(
    shard: Shard,
) -> None:
    case = case_of(shard)
    given = read_drags(case, DragChoice(1))
    start, _ = read_drags(case, DragChoice(8, "part", part_mask=TrueMask(shard, case.source)))
    np.testing.assert_array_equal(start, read_drags(case, DragChoice(8, "mask"))[0])

    def finds_none(*_: object) -> Never:
        raise DragError("no part here")

    alone = read_drags(case, DragChoice(8, "part", part_mask=finds_none))
    np.testing.assert_array_equal(alone, given)
    with pytest.raises(ValueError, match="part_mask"):
        read_drags(case, DragChoice(8, "part"))


# Views of another rig


def test_cameras_of_another_world_see_the_same_in_ours(shard: Shard, other_rig: Path) -> None:
    other = Shard(other_rig / "cabinet.h5")
    for state in (0, 8):
        moved = cameras_in_world(
            other.camera_to_world, other.world_from_object, shard.world_from_object
        )
        ours, depth = project(shard.world_points(state)[None], moved, other.intrinsics)
        theirs, their_depth = project(
            other.world_points(state)[None], other.camera_to_world, other.intrinsics
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        np.testing.assert_allclose(depth, their_depth * 0.72 / 0.43, atol=1e-6)
        rotation = moved[:, :3, :3]
        np.testing.assert_allclose(
            rotation @ rotation.swapaxes(-1, -2), np.tile(np.eye(3), (12, 1, 1)), atol=1e-9
        )
        assert (np.linalg.det(rotation) > 0).all()


def test_targets_come_from_the_other_rig(shard: Shard, other_rig: Path) -> None:
    other = Shard(other_rig / "cabinet.h5")
    case = choose_cases({"cabinet": shard}, 1, {"cabinet": other})[0]
    truth = read_truth(case, 64)
    expected = read_truth(case_of(other, case.source, case.target), 64)
    assert torch.equal(truth.target, expected.target) and torch.equal(truth.source, expected.source)
    torch.testing.assert_close(truth.intrinsics, expected.intrinsics)
    copied = predict(Row("copy"), case, truth, Setting(64, CPU))
    torch.testing.assert_close(
        psnr(copied.pictures, truth.target), psnr(expected.source, expected.target)
    )
    # Gaussians on the object, in our world, are seen where the other rig's pictures show it.
    points = shard.world_points(case.target)
    pixel, _ = project(
        points[None], truth.camera_to_world.double().numpy(), truth.intrinsics.numpy()
    )
    column, row = np.floor(pixel).astype(int).transpose(2, 0, 1).clip(0, 63)
    covered = (truth.target < 1).any(dim=1).numpy()
    assert covered[np.arange(12)[:, None], row, column].mean() > 0.97


def test_targets_of_other_objects_or_states_are_refused(
    shard: Shard, other_rig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="--targets has no shard of dresser"):
        choose_cases({"dresser": shard}, 1, {"cabinet": shard})
    other = Shard(other_rig / "cabinet.h5")
    elsewhere = other.link_poses.copy()
    elsewhere[0, -1, 0, 3] += 0.01
    monkeypatch.setattr(other, "link_poses", elsewhere)
    with pytest.raises(ValueError, match=r"state cabinet_0_0_u0 is another in .* --seed"):
        choose_cases({"cabinet": shard}, 1, {"cabinet": other})
    monkeypatch.setattr(other, "states", other.states[1:])
    with pytest.raises(ValueError, match="has no state cabinet_0_0_u0"):
        choose_cases({"cabinet": shard}, 1, {"cabinet": other})


# Rows


def test_rows_put_the_models_between_a_copy_and_a_reconstruction(run: Path, tmp_path: Path) -> None:
    weights = run / "appearance" / "weights.safetensors"
    copy, model, answer = rows_to_compare([weights], None, [4], [DragChoice(10)], CPU)
    assert (copy.network, copy.label, model.label) == (None, "copy the source", "mine/appearance")
    assert answer.shown == "target" and answer.weights == run / "reconstruct" / weights.name
    assert answer.label == "reconstruct the target (mine/reconstruct)"

    static, alone = answer.weights, tmp_path / "alone.safetensors"
    assert model.network is not None
    model.network.save_pretrained(alone)
    itself = rows_to_compare([alone, weights], None, [4], [DragChoice(10)], CPU)[-1]
    assert itself.label.endswith(f"({alone.parent.name}/alone, no drags)")
    assert itself.network is not None and itself.weights == alone
    with pytest.raises(ValueError, match="embeds no drags"):
        rows_to_compare([static], None, [4], [DragChoice(10)], CPU)
    with pytest.raises(ValueError, match="named twice"):
        rows_to_compare([weights, weights], None, [4], [DragChoice(10)], CPU)


def test_a_row_for_each_model_and_each_choice_of_views_and_drags(run: Path) -> None:
    weights = run / "appearance" / "weights.safetensors"
    other = run / "other.safetensors"
    shutil.copy(weights, other)

    def labels(weights: list[Path], views: list[int], *counts: int) -> list[str]:
        drags = [DragChoice(count, "mask", 7) for count in counts]
        copy, *models, answer = rows_to_compare(weights, None, views, drags, CPU)
        assert (copy.input_views, copy.drags.count) == (0, 0)
        assert (answer.input_views, answer.drags.count) == (max(views), 0)
        assert answer.label == "reconstruct the target (mine/reconstruct)"
        every = [(v, choice, path) for v in views for choice in drags for path in weights]
        assert [(row.input_views, row.drags, row.weights) for row in models] == every
        return [row.label for row in models]

    first, second = "mine/appearance", "mine/other"
    assert labels([weights], [1], 5) == [first]
    assert labels([weights], [1, 4], 5) == [f"{first}, 1 view", f"{first}, 4 views"]
    assert labels([weights, other], [4], 5, 1) == [
        *(f"{first}, 5 drags", f"{second}, 5 drags"),
        *(f"{first}, 1 drag", f"{second}, 1 drag"),
    ]
    shown = ("4 views, 1 drag", "4 views, 5 drags", "1 view, 1 drag", "1 view, 5 drags")
    assert labels([weights], [4, 1], 1, 5) == [f"{first}, {told}" for told in shown]


def test_names_are_as_short_as_tells_them_apart() -> None:
    paths = [Path(f"/r/{run}/appearance/weights.safetensors") for run in "ab"]
    assert short_names(paths) == ["a/appearance", "b/appearance"]
    assert short_names([Path("/x/a/s/weights.pt"), Path("/x/b/a/s.pt")]) == ["x/a/s", "b/a/s"]


def test_the_reconstructor_is_shown_the_answer_in_as_many_views(shard: Shard) -> None:
    torch.manual_seed(0)
    network, case = PartRM(NANO).eval(), case_of(shard)
    setting, truth = Setting(64, CPU), read_truth(case, 64)
    found = predict(Row("teacher", network, None, "target", 1), case, truth, setting)
    views = read_views(case, case.target, 64, 1)
    assert views.present.tolist() == [[True, False, False, False]]
    with torch.inference_mode():
        expected = network(views.network_input())
    assert found.gaussians is not None and torch.equal(found.gaussians, expected)
    assert found.pictures.shape == (12, 3, 64, 64) and found.drags == 0
    model = Row("model", network, input_views=1, drags=DragChoice(3))
    dragged = predict(model, case, truth, setting)
    assert dragged.drags == 3 and list(dragged.seconds) == ["read", "network", "render"]


# What counts


def flat_truth() -> Truth:
    """Three views: many pixels change, too few for a region, none."""
    source = torch.ones(3, 3, 32, 32)
    target = source.clone()
    target[0, :, :16] = 0.5
    target[1, :, 0, :15] = 0.5
    region = (source != target).any(dim=1)
    return Truth(source, target, region, torch.eye(4).expand(3, 4, 4), torch.eye(3))


def test_views_without_error_and_small_regions_are_left_out() -> None:
    truth = flat_truth()
    copied = measure(Prediction(truth.source), truth, None)
    assert copied.views == {"whole": 2, "changed": 1}
    whole = [-10 * math.log10(0.25 / 2), -10 * math.log10(0.25 * 15 / 1024)]
    assert copied.means["whole"]["psnr"] == pytest.approx(sum(whole) / 2, abs=1e-4)
    assert copied.means["changed"]["psnr"] == pytest.approx(-10 * math.log10(0.25), abs=1e-4)
    grey = measure(Prediction(truth.target + 0.01), truth, None)
    assert grey.views == {"whole": 3, "changed": 1}
    assert grey.means["whole"]["psnr"] == pytest.approx(40, abs=1e-3)


def test_a_prediction_that_is_no_number_is_not_left_out() -> None:
    broken = torch.full((3, 3, 32, 32), math.nan)
    numbers = measure(Prediction(broken), flat_truth(), None)
    assert numbers.views["whole"] == 3 and math.isnan(numbers.means["whole"]["psnr"])


def test_lpips_is_the_correct_one_beside_the_published(vgg: Path) -> None:
    perceptual = Perceptual(vgg)
    truth = flat_truth()
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(truth.target.shape, generator=generator)
    with torch.inference_mode():
        found = scores(pictures, truth, perceptual)
        correct = perceptual.lpips(2 * pictures - 1, 2 * truth.target - 1).flatten()
        published = perceptual.lpips(pictures, truth.target).flatten()
    torch.testing.assert_close(found["whole"]["lpips"], correct, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["whole"]["lpips_published"], published, rtol=1e-5, atol=1e-6)
    everything = truth._replace(region=torch.ones_like(truth.region))
    over_all = scores(pictures, everything, perceptual)
    torch.testing.assert_close(over_all["changed"]["lpips"], over_all["whole"]["lpips"])


# Video


def test_the_turntable_is_the_rigs_circle() -> None:
    for name in ("ring", "partdrag4d"):
        cameras = torch.from_numpy(rig(name).camera_to_world)
        count = 12 if name == "ring" else 11  # its view 11 repeats view 0
        turned = turntable_cameras(cameras[0], count)
        torch.testing.assert_close(turned[:, :3, 3], cameras[:count, :3, 3])
        if name == "ring":  # the other looks past the axis
            torch.testing.assert_close(turned, cameras)


# The whole program


def evaluate(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["eval.py", *map(str, arguments)])
    return main()


def test_the_program_writes_tables_pictures_and_videos(
    run: Path,
    data: Path,
    vgg: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = run / "appearance" / "weights.safetensors"
    options = ["--split", "all", "--pairs", 1, "--resolution", 32, "--vgg-weights", vgg]
    options += ["--sheet-samples", 1, "--video", "--device", "cpu", "--propagate", "mask"]
    options += ["--rigid", "never", "--cpu-samples", 3]  # of the two that there are
    assert evaluate(monkeypatch, weights, "--data", data, *options) == 0
    out = run / "appearance" / "eval"
    found = json.loads((out / "results.json").read_text())

    labels = [row["label"] for row in found["rows"]]
    assert labels[:2] == ["copy the source", "mine/appearance"]
    assert found["data"]["samples"] == 2 and found["data"]["objects"] == 2
    assert found["settings"]["weights"] == [str(weights)]
    for row in found["rows"]:
        samples = [sample["rows"][row["label"]] for sample in found["samples"]]
        for scope in ("whole", "changed"):
            counted = [s[scope] for s in samples if s[scope]["views"]]
            assert row[scope]["samples"] == len(counted)
            assert row[scope]["views"] == sum(s["views"] for s in counted)
            for metric in ("psnr", "ssim", "lpips"):
                mean = sum(s[metric] for s in counted) / len(counted)
                assert row[scope][metric] == pytest.approx(mean)
        assert "lpips_published" in row["whole"]
        assert row["categories"]["Cabinet"]["whole"] == row["whole"]
        timed = row["label"] != "copy the source"
        phases = ["read", "network", "render", "all"] if timed else []
        for where in ("seconds", "seconds_on_cpu"):
            assert list(row[where]) == phases
            assert all(seconds > 0 for seconds in row[where].values())

    printed = capsys.readouterr().out
    command = shlex.split(found["command"])
    assert command == ["python", "eval.py", str(weights), "--data", str(data), *map(str, options)]
    lines = (out / "results.md").read_text().splitlines()
    assert lines[:5] == ["# Evaluation", "", "```sh", found["command"], "```"]
    assert (out / "results.md").read_text() in printed and "HED" not in printed
    assert f"{found['rows'][0]['changed']['psnr']:.2f}" in printed
    on_cpu = found["rows"][1]["seconds_on_cpu"]
    assert f"{on_cpu['all']:.2f}" in next(line for line in lines if "| mine/appearance" in line)
    slow = next(line for line in lines if "mine/appearance, on the CPU" in line)
    assert f"{1000 * on_cpu['network']:.1f}" in slow
    assert "of 2 samples, on " in printed
    assert "held together" not in printed
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * 192 and sheet.height > 2 * 192
        yellow = (np.array(sheet) == (255, 225, 0)).all(axis=-1)
        assert yellow[: sheet.height // 2].any()  # arrows, in the row of view 0
    assert (out / "turntable_1.mp4").stat().st_size > 1000


def test_numbers_of_the_stand_in_say_so(
    run: Path, data: Path, random_vgg: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hed = write_hed(tmp_path / "hed.weights.h5")
    arguments = [run / "appearance" / "weights.safetensors", "--data", data, "--split", "all"]
    arguments += ["--pairs", 1, "--resolution", 32, "--vgg-weights", hed, "--sheet-samples", 1]
    assert evaluate(monkeypatch, *arguments, "--input-views", 1, "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    measured = [*found["rows"], *(r for s in found["samples"] for r in s["rows"].values())]
    for numbers in (row[scope] for row in measured for scope in ("whole", "changed")):
        assert [name for name in numbers if "lpips" in name] == ["lpips_hed"]
    text = (tmp_path / "out" / "results.md").read_text()
    cells = [cell.strip() for line in text.splitlines() for cell in line.split("|")[1:-1]]
    assert [cell for cell in cells if "LPIPS" in cell] == ["LPIPS (HED)"] * 2
    assert text.count("not comparable with published LPIPS") == 2


def cells_of(text: str, label: str) -> list[list[str]]:
    """The cells of each of a Markdown text's table lines that begin with this label."""
    lines = ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines())
    return [cells[1:] for cells in lines if cells and cells[0] == label]


def test_means_over_another_rigs_views_beside_the_published(
    run: Path, data: Path, other_rig: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    split, small = tmp_path / "split.json", tmp_path / "published.json"
    split.write_text(json.dumps({"train": ["dresser"], "val": ["cabinet"]}))
    small.write_text(json.dumps(json.loads(report.PUBLISHED.read_text()) | {"resolution": 32}))
    monkeypatch.setattr(report, "PUBLISHED", small)
    arguments = [run / "appearance" / "weights.safetensors", "--data", data, "--split-file", split]
    arguments += ["--pairs", 1, "--resolution", 32, "--no-lpips", "--sheet-samples", 1]
    arguments += ["--out", tmp_path / "out", "--input-views", 1]
    assert evaluate(monkeypatch, *arguments, "--targets", other_rig) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (found["data"]["input_rig"], found["data"]["target_rig"]) == ("ring", "partdrag4d")
    assert "lpips" not in found["rows"][1]["whole"]
    text = (tmp_path / "out" / "results.md").read_text()
    assert "shown in rig ring, seen in partdrag4d" in text
    head = ["PSNR", "SSIM", "LPIPS, fed as published", "seconds", "samples", "views"]
    assert cells_of(text, "")[0] == head
    theirs = [["28.15", "0.9531", "0.0356", "4.20", "-", "-"]]
    assert cells_of(text, "PartRM, as published*") == theirs  # none for the changed region
    assert cells_of(text, "mine/appearance")[0][2] == "-"
    assert text.count("as published*") == 4 and text.count("on other objects") == 1

    assert evaluate(monkeypatch, *arguments) == 0  # in the views of the ring
    text = (tmp_path / "out" / "results.md").read_text()
    assert "as published*" not in text and "on other objects" not in text


def test_published_numbers_are_of_one_rig_and_resolution() -> None:
    assert len(report.published("partdrag4d", 256)["rows"]) == 4
    assert report.published("partdrag4d", 128) == report.published("ring", 256) == {}


def test_one_table_of_several_views_and_drags(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = [run / "appearance" / "weights.safetensors", "--data", data, "--split", "all"]
    arguments += ["--pairs", 1, "--resolution", 32, "--no-lpips", "--sheet-samples", 1]
    arguments += ["--out", tmp_path / "out", "--drags", 1, 10, "--input-views", 1, 4]
    assert evaluate(monkeypatch, *arguments) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    models = found["rows"][1:-1]
    shown = [(row["input_views"], row["drags"]) for row in models]
    assert shown == [(1, 1), (1, 10), (4, 1), (4, 10)]
    assert len({row["whole"]["psnr"] for row in models}) == 4
    for sample in found["samples"]:
        assert [sample["rows"][row["label"]]["drags"] for row in models] == [1, 10, 1, 10]
    text = (tmp_path / "out" / "results.md").read_text()
    assert (
        "1 or 4 input view(s), up to 1 or 10 drag(s); what drags of one part move is held" in text
    )
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert 4 * 192 < sheet.width < 6 * 192  # source, prediction, truth, error: no more


def test_new_categories_have_a_mean_of_their_own(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half = np.diag([0.5, 0.5, 0.5, 1]) @ WORLD  # other numbers, so that means differ
    folder = folder_of(tmp_path / "ring", "lamp", category="Lamp", world=half)
    categories = {"lamp": "Lamp", "oven": "Oven", "safe": "Safe", "vault": "Safe"}
    for name in ("oven", "safe", "vault"):
        synthetic_shard(folder / f"{name}.h5", category=categories[name])
    shards = {f"{name}.h5": {} for name in categories}
    (folder / MANIFEST).write_text(json.dumps({"shards": shards}))
    arguments = [run / "appearance" / "weights.safetensors", "--data", folder, "--split", "all"]
    arguments += ["--pairs", 1, "--resolution", 32, "--no-lpips", "--sheet-samples", 1]
    arguments += ["--out", tmp_path / "out"]
    assert evaluate(monkeypatch, *arguments) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    numbers = {s["object"]: s["rows"]["mine/appearance"]["whole"]["psnr"] for s in found["samples"]}
    assert abs(numbers["lamp"] - numbers["safe"]) > 0.1
    text = (tmp_path / "out" / "results.md").read_text()
    for label, objects in (
        ("PartDrag-4D's categories", ["oven"]),
        ("new categories", ["lamp", "safe", "vault"]),
    ):
        ((count, _, cell, _),) = cells_of(text, label)
        mean = sum(numbers[name] for name in objects) / len(objects)
        assert count == str(len(objects)) and cell.startswith(f"{mean:.2f} / ")

    assert evaluate(monkeypatch, *arguments, "--categories", "Safe", "Lamp") == 0
    text = (tmp_path / "out" / "results.md").read_text()
    assert cells_of(text, "Safe") and not cells_of(text, "new categories")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "pass --resolution 64"),
        (["--resolution", 64, "--vgg-weights", "no.pth"], "--vgg-weights: no checkpoint at no.pth"),
        (["--resolution", 60], "multiple of 16"),
        (["--resolution", 64, "--categories", "Oven"], "no object of category Oven"),
        (["--resolution", 64, "--drags", 5, 0], "--drags must be 1 or more"),
        (["--drags", 5, 1, 5], "--drags wants one number, or several different ones"),
        (["--sam", "sam.pth"], "pass that, too"),
        (["--cpu-samples", "1", "--propagate", "part"], "leave one out"),
        (["--input-views", 1, 1], "--input-views wants one number, or several different ones"),
        (["--device", "abacus"], "--device abacus: no such device"),
        (["--data", "nowhere"], "nowhere: no shards there"),
        (["--resolution", 64, "--targets", "nowhere"], "nowhere: no shards there"),
        (["--resolution", 64, "--teacher", "no.safetensors"], "no checkpoint at no.safetensors"),
    ],
)
def test_what_a_person_got_wrong_is_told_in_a_line(
    arguments: list[object],
    reason: str,
    run: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = run / "appearance" / "weights.safetensors"
    usual = [weights, "--data", data, "--split", "all", "--pairs", 1]
    assert evaluate(monkeypatch, *usual, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and reason in error and error.count("\n") == 1


def test_a_network_of_larger_pictures_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.safetensors"
    PartRM(replace(NANO, input_size=128)).save_pretrained(path)
    arguments = [path, "--data", data, "--split", "all", "--resolution", 64, "--no-lpips"]
    assert evaluate(monkeypatch, *arguments) == 1
    assert f"{path} takes 128" in capsys.readouterr().err
