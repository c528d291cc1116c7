"""Training: what the stages learn from, how runs end, go on, and refuse to."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch.utils.data import default_collate
from torch.utils.tensorboard import SummaryWriter

import train
from datagen.shard_writer import write_manifest
from datagen.shards import open_shards
from model.checkpoint_layout import CheckpointError
from model.config import PRESETS, PartRMConfig
from model.metrics import psnr
from model.partrm import PartRM
from model.rendering import render
from model.training.augmentation import Augmentation
from model.training.checkpoints import ResumeError, checkpoints
from model.training.config import TrainConfig
from model.training.dataset import Sample, StateDataset, Stream, Task
from model.training.folders import as_one, chances
from model.training.loop import (
    held_out_samples,
    measure,
    network_config,
    starting_network,
    train_stage,
)
from model.training.processes import Processes
from model.training.run import TrainingError
from model.training.stages import (
    Outcome,
    Stage,
    changed_loss,
    compared,
    render_for_any_size,
    surface_loss,
)
from tests.backbones import write_hed, write_vgg
from tests.synthetic import synthetic_shard

ROOT = Path(__file__).parent.parent
NANO = PRESETS["nano"]
STATIC = replace(NANO, drag_levels=())
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two shards; the one called `kept1` is held out by its name."""
    folder = tmp_path_factory.mktemp("shards")
    for name in ("trained", "kept1"):
        synthetic_shard(folder / f"{name}.h5")
    write_manifest(folder, {f"{name}.h5": {} for name in ("trained", "kept1")})
    return folder


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def settings(data: Path, out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        data=data,
        out=out,
        preset="nano",
        device="cpu",
        steps=4,
        batch_size=2,
        warmup_steps=2,
        rendered_views=4,
        lpips=False,
        workers=0,
        log_every=1,
        pictures_every=100,
        checkpoint_every=2,
        val_samples=0,
    )
    return replace(base, **changes)


def options(config: TrainConfig) -> list[str]:
    """The command line of the settings in which a config differs from the defaults."""
    given = [f"--{name}" for name in ("data", "out")]
    flags = [given[0], str(config.data), given[1], str(config.out), "--no-lpips"]
    for name in ("preset", "device", "stage", "steps", "batch_size", "warmup_steps"):
        flags += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    for name in ("rendered_views", "workers", "log_every", "checkpoint_every", "val_samples"):
        flags += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return flags


def command(config: TrainConfig, *prefix: str) -> list[str]:
    return [*(prefix or (sys.executable,)), "train.py", *options(config)]


def batch_of(data: Path, task: Task, count: int = 2, **changes: Any) -> Sample:
    dataset = StateDataset(open_shards(data), task, NANO.input_size, **changes)
    return default_collate([dataset[7 * i] for i in range(count)])


# What is learnt


def test_a_pair_of_states_is_learnt_by_heart(data: Path) -> None:
    batch = batch_of(data, Task(True, False, 4), 1, augmentation=Augmentation.of(0))
    stage = Stage(PartRM(NANO), None, None, 0.0, nullcontext)
    optimizer = torch.optim.AdamW(stage.network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        outcome = stage.loss(stage.network, batch, with_lpips=False)
        outcome.loss.backward()
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("moves", [False, True])
def test_gradients_reach_every_parameter(data: Path, moves: bool) -> None:
    network = PartRM(STATIC)
    if moves:
        network = network.with_drag_levels(NANO.drag_levels)
    stage = Stage(network, None, None, 0.0, nullcontext)
    outcome = stage.loss(network, batch_of(data, Task(moves, False, 4)), with_lpips=False)
    outcome.loss.backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(("wanted", "chosen"), [(1, [0]), (2, [0, 3]), (9, [0, 1, 2, 3, 4, 5])])
def test_lpips_is_of_as_many_views_as_asked_for(data: Path, wanted: int, chosen: list[int]) -> None:
    class Pictures(torch.nn.Module):
        key = "lpips"

        def forward(self, drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            self.drawn, self.truth = drawn, truth
            return (drawn - truth).square().mean(dim=(1, 2, 3))

    seen, batch = Pictures(), batch_of(data, Task(False, False, 6))
    stage = Stage(PartRM(STATIC), None, seen, 0.5, nullcontext, lpips_views=wanted)
    outcome = stage.loss(stage.network, batch, with_lpips=True)
    truth, _ = batch.truth()
    torch.testing.assert_close(seen.truth, truth[:, chosen].flatten(0, 1))
    torch.testing.assert_close(seen.drawn, outcome.rendering.colour[:, chosen].flatten(0, 1))
    parts = outcome.parts
    torch.testing.assert_close(
        outcome.loss, parts["colour"] + parts["alpha"] + 0.5 * parts["lpips"]
    )


def test_motion_is_learnt_from_the_teachers_gaussians_of_the_target_state(data: Path) -> None:
    teacher = PartRM(STATIC)
    student = teacher.with_drag_levels(NANO.drag_levels)
    stage = Stage(student, teacher, None, 0.0, nullcontext)
    plain = {"augmentation": Augmentation.of(0)}
    batch = batch_of(data, Task(True, True, 0), **plain)
    outcome = stage.loss(student, batch, with_lpips=False)
    taught = teacher(batch.answer().network_input())
    torch.testing.assert_close(outcome.loss, (outcome.gaussians - taught).square().mean())
    outcome.loss.backward()
    assert all(p.grad is None for p in teacher.parameters())

    # Were the source the target, and no drag given, there would be nothing left to learn.
    same = batch._replace(target_inputs=batch.source, drag_mask=torch.zeros_like(batch.drag_mask))
    assert float(stage.loss(student, same, with_lpips=False).loss.detach()) < 1e-12


def test_splats_that_follow_learn_the_teachers_gaussians_of_the_source_moved(data: Path) -> None:
    config = replace(STATIC, positions="displaced", layers=2)
    teacher = PartRM(config)
    stage = Stage(teacher.with_drag_levels(NANO.drag_levels), teacher, None, 0.0, nullcontext)
    task = Task(True, True, 0, follows=True)
    batch = batch_of(data, task, augmentation=Augmentation.of(0))
    side = config.splat_size
    shown = batch.moved.unflatten(2, (side, 2)).unflatten(4, (side, 2)).sum((3, 5))
    moved = (shown > 2)[:, :, None].expand(-1, -1, 2, -1, -1)  # both layers
    assert moved.any()
    with torch.no_grad():
        expected = teacher(batch.question().network_input())
    for sample, mask, motion in zip(expected, moved.flatten(1), batch.motion, strict=True):
        w, x, y, z, *shift = motion.tolist()
        turn = Rotation.from_quat([x, y, z, w])
        sample[mask, :3] = torch.tensor(turn.apply(sample[mask, :3]) + shift).float()
        turned = turn * Rotation.from_quat(sample[mask][:, [8, 9, 10, 7]])
        xyzw = torch.tensor(turned.as_quat()).float()
        sign = (xyzw[:, 3] * sample[mask, 7]).sign()  # near the unturned one or its opposite
        sample[mask, 7:11] = xyzw[:, [3, 0, 1, 2]] * sign[:, None]

    def loss(gaussians: torch.Tensor) -> float:
        return float(stage.loss(lambda *_: gaussians, batch, with_lpips=False).loss)

    assert loss(expected) < 1e-6
    assert loss(expected + 1) == pytest.approx(1, rel=1e-3)


def test_a_splat_is_to_lie_where_the_surface_is_that_its_pixel_shows(data: Path) -> None:
    batch = batch_of(data, Task(True, False, 4, surface=8))
    side, layers = 32, 2
    cells = torch.stack(torch.meshgrid(*[torch.arange(n) for n in (4, side, side)], indexing="ij"))
    first = cells.movedim(0, -1).float().expand(2, 4, side, side, 3)  # view, row, column
    gaussians = torch.zeros(2, 4, layers, side, side, 14)
    gaussians[:, :, 0, ..., :3] = first
    gaussians = gaussians.flatten(1, 4)
    column, row = (batch.surface_pixel * side).floor().unbind(-1)
    view = torch.arange(4.0)[:, None].expand_as(row)
    at_splat = batch._replace(surface_point=torch.stack([view, row, column], dim=-1))
    assert float(surface_loss(gaussians, at_splat, layers)) == 0
    beside = at_splat._replace(surface_point=at_splat.surface_point + torch.tensor([0, 3.0, 4]))
    assert float(surface_loss(gaussians, beside, layers)) == pytest.approx(5)


def test_the_error_where_states_differ_counts_alike_for_small_parts_and_large_ones() -> None:
    source = torch.ones(2, 4, 3, 32, 32)
    truth = torch.ones(2, 6, 3, 32, 32)
    truth[0, :, :, :16], truth[1, :, :, :4] = 0, 0
    truth[:, 4:] = 0  # in views that are no input, no source is known
    drawn = truth.clone()
    drawn[:, :, :, 8:] = 0.3  # elsewhere, errors are not counted
    drawn[0, :4, :, 8:16] += 0.2
    expected = (0.5 * 0.5**2 + 0) / 2
    assert float(changed_loss(drawn, truth, source)) == pytest.approx(expected, rel=1e-5)


def test_every_other_view_is_blurred_as_one_of_twice_the_size(data: Path) -> None:
    batch = batch_of(data, Task(False, False, 5), augmentation=Augmentation.of(0))
    gaussians = PartRM(STATIC)(batch.question().network_input(), None).detach()
    truth, _ = batch.truth()
    size = truth.shape[-1]
    lenses = batch.intrinsics[:, None]
    drawn = render_for_any_size(gaussians, batch.target_cameras, lenses, size, size)
    for view, camera in enumerate(batch.target_cameras.unbind(dim=1)):
        blur = 0.3 if view % 2 == 0 else 0.075
        alone = render(gaussians, camera[:, None], lenses, size, size, blur=blur)
        torch.testing.assert_close(drawn.colour[:, view], alone.colour[:, 0])
        torch.testing.assert_close(drawn.depth[:, view], alone.depth[:, 0])


def test_the_target_state_and_not_the_source_is_rendered(data: Path) -> None:
    batch = batch_of(data, Task(True, False, 4), augmentation=Augmentation.of(0))
    assert not torch.equal(batch.target, batch.source)
    still = batch_of(data, Task(False, False, 4), augmentation=Augmentation.of(0))
    assert torch.equal(still.target, still.source)


# How runs end and go on


def test_all_three_stages_follow_one_another(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(data, tmp_path / "run", stage="all", val_samples=2)
    train.train(config)
    reconstructor = PartRM.from_pretrained(config.out / "reconstruct" / "weights.safetensors")
    mover = PartRM.from_pretrained(config.out / "appearance" / "weights.safetensors")
    assert reconstructor.config == STATIC
    assert mover.config == NANO
    said = capsys.readouterr().out
    assert "appearance: loss" in said and "PSNR" in said
    assert "dB on held-out objects" in said
    assert any((config.out / "motion").glob("events.out.tfevents.*"))


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    whole = settings(data, tmp_path / "whole", stage="reconstruct", steps=8)
    undisturbed = _start(whole)
    killed = replace(whole, out=tmp_path / "killed")
    process = _start(killed)
    folder = killed.out / "reconstruct"
    _until(lambda: len(checkpoints(folder)) > 0, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "weights.safetensors").exists()
    # Loading in worker processes or in the trainer's own, the samples are the same.
    assert _start(replace(killed, workers=1)).wait() == 0
    assert undisturbed.wait() == 0
    for config in (whole, killed):
        assert len(checkpoints(config.out / "reconstruct")) == config.keep
    weights = [c.out / "reconstruct" / "weights.safetensors" for c in (whole, killed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_sigterm_saves_and_stops(data: Path, tmp_path: Path) -> None:
    config = settings(
        data, tmp_path / "run", stage="reconstruct", steps=100_000, checkpoint_every=50_000
    )
    process = _start(config)
    folder = config.out / "reconstruct"
    _until(lambda: any(folder.glob("events*")), process)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on from there" in said
    assert len(checkpoints(folder)) == 1


def test_two_processes_train_as_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    one = settings(data, tmp_path / "one", stage="reconstruct", steps=2, batch_size=2)
    train_stage(one, "reconstruct", ALONE)
    two = replace(one, out=tmp_path / "two", batch_size=1)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(two, *torchrun), cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    a, b = (load_file(c.out / "reconstruct" / "weights.safetensors") for c in (one, two))
    for name, weight in a.items():
        torch.testing.assert_close(b[name], weight, atol=2e-4, rtol=1e-3)


def test_what_an_earlier_stage_left_is_not_freed_in_workers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA's graphs are, which abort a process that was forked."""

    class Left:
        def __init__(self) -> None:
            self.itself, self.process = self, os.getpid()

        def __del__(self) -> None:
            if os.getpid() != self.process:
                os.abort()

    def collecting(dataset: StateDataset, number: int) -> Sample:
        gc.collect()
        return sample(dataset, number)

    sample = StateDataset.__getitem__
    monkeypatch.setattr(StateDataset, "__getitem__", collecting)
    gc.disable()
    try:
        Left()
        train_stage(settings(data, tmp_path, workers=1, steps=2), "reconstruct", ALONE)
    finally:
        gc.enable()


def test_other_folders_are_trained_on_too_but_for_what_is_held_out(
    data: Path, tmp_path: Path
) -> None:
    def samples(name: str, *also: Path) -> int:
        run = settings(data, tmp_path / name, also=also)
        train_stage(run, "reconstruct", ALONE)
        found = checkpoints(tmp_path / name / "reconstruct")[-1]
        return int(torch.load(found, weights_only=True)["settings"]["samples"])

    again = tmp_path / "again"
    shutil.copytree(data, again)
    assert samples("both", again) == 2 * samples("one") > 0


def test_shares_say_how_often_samples_are_of_each_folder(data: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    synthetic_shard(small / "trained.h5")
    write_manifest(small, {"trained.h5": {}})
    folders = [open_shards(data), open_shards(small)]
    dataset = StateDataset(as_one(folders), Task(False, False, 4), NANO.input_size)
    dataset.chances = chances([shard for shard, _, _ in dataset.items], folders, (1, 3))
    large = sum(len(shard.states) for shard in folders[0].values())
    assert len(dataset) == large + large / 2
    numbers = islice(Stream(len(dataset), chances=dataset.chances), 4000)
    drawn = np.array([number % len(dataset) for number in numbers])
    assert (drawn >= large).mean() == pytest.approx(0.75, abs=0.03)
    assert set(drawn) == set(range(len(dataset)))

    run = settings(data, tmp_path / "run", also=(small,), shares=(1, 3))
    assert train_stage(run, "reconstruct", ALONE).is_file()
    for wrong in ((1.0,), (1.0, 0.0)):
        with pytest.raises(ValueError, match="--shares"):
            settings(data, tmp_path / "run", also=(small,), shares=wrong)


def test_a_finished_stage_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "run")
    weights = train_stage(config, "reconstruct", ALONE)
    before = weights.read_bytes()
    train_stage(config, "reconstruct", ALONE)
    assert weights.read_bytes() == before


# Steps that are not finite


def _poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let the loss of these steps be infinite."""
    plain, count = Stage.loss, iter(range(1_000_000))

    def poisoned(self: Stage, *args: Any, **kwargs: Any) -> Outcome:
        outcome = plain(self, *args, **kwargs)
        return outcome._replace(loss=outcome.loss * torch.inf) if next(count) in steps else outcome

    monkeypatch.setattr(Stage, "loss", poisoned)


def test_a_step_that_is_not_finite_is_skipped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _poison(monkeypatch, {1})
    weights = train_stage(settings(data, tmp_path / "run"), "reconstruct", ALONE)
    assert all(tensor.isfinite().all() for tensor in load_file(weights).values())
    assert "skipped steps 1" in capsys.readouterr().out


def test_many_steps_in_a_row_that_are_not_finite_stop_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, set(range(2, 100)))
    config = settings(data, tmp_path / "run", steps=50, bad_steps=3)
    with pytest.raises(TrainingError, match=r"3 steps in a row.*loss inf.*checkpoint-00000002\.pt"):
        train_stage(config, "reconstruct", ALONE)
    folder = config.out / "reconstruct"
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-00000002.pt"]
    assert not (folder / "weights.safetensors").exists()


# What is refused


def test_settings_that_differ_are_named_when_a_run_is_to_go_on(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "run")
    train_stage(config, "reconstruct", ALONE)
    with pytest.raises(ResumeError, match=r"lr: 0\.0005 then, 0\.001 now"):
        train_stage(replace(config, lr=1e-3), "reconstruct", ALONE)


def test_the_stand_in_for_lpips_says_so_and_is_not_exchanged_for_it(
    data: Path,
    random_vgg: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: set[str] = set()
    monkeypatch.setattr(SummaryWriter, "add_scalar", lambda _, tag, *__: written.add(tag))
    hed, moved = write_hed(tmp_path / "hed.weights.h5"), tmp_path / "moved.weights.h5"
    config = settings(data, tmp_path / "run", steps=2, batch_size=1, lpips=True, lpips_after=0)
    train_stage(replace(config, vgg_weights=hed), "reconstruct", ALONE)
    assert "LPIPS on HED's VGG-16, a stand-in" in capsys.readouterr().out
    assert "lpips_hed" in written and "lpips" not in written

    train_stage(replace(config, vgg_weights=hed.rename(moved)), "reconstruct", ALONE)
    vgg = write_vgg(tmp_path / "vgg16.pth")
    with pytest.raises(ResumeError, match=r"lpips: LPIPS on HED's VGG-16 then, True now"):
        train_stage(replace(config, vgg_weights=vgg), "reconstruct", ALONE)


def test_data_that_do_not_fit_the_preset_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pictures of 64 pixels, and preset mini takes 128"):
        train_stage(settings(data, tmp_path / "run", preset="mini"), "reconstruct", ALONE)


def test_a_stage_without_the_one_before_says_what_to_do(data: Path, tmp_path: Path) -> None:
    for stage, option in (("motion", "--init"), ("appearance", "--init")):
        with pytest.raises(CheckpointError, match=f"none of stage .* {option} FILE"):
            train_stage(settings(data, tmp_path / "run"), stage, ALONE)


@pytest.mark.parametrize(
    ("found", "moves", "message"),
    [
        (replace(STATIC, heads=1), True, "heads: 2, 1"),
        (NANO, False, "embeds drags: no network to reconstruct with"),
        (replace(NANO, drag_levels=(1,)), True, r"levels \(1,\), not \(0, 1, 2\)"),
    ],
)
def test_a_checkpoint_of_another_preset_is_refused_by_what_differs(
    tmp_path: Path, found: PartRMConfig, moves: bool, message: str
) -> None:
    path = tmp_path / "other.safetensors"
    PartRM(found).save_pretrained(path)
    with pytest.raises(CheckpointError, match=message):
        starting_network(path, NANO, moves)


def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path / "nothing", tmp_path / "run")
    monkeypatch.setattr(sys, "argv", command(config)[1:])
    assert train.main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ")


# Held-out objects


def test_held_out_objects_are_measured_without_augmentation(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "run", val_samples=3)
    samples = held_out_samples(config, "appearance", network_config(config))
    assert len(samples) == 3
    assert all(sample.present.all() for sample in samples)
    network = PartRM(NANO)
    stage = Stage(network, None, None, 0.0, nullcontext, for_any_size=False)
    outcomes = [stage.loss(network, sample, with_lpips=False) for sample in samples]
    each = [psnr(*compared(o, s)).mean() for o, s in zip(outcomes, samples, strict=True)]
    expected = float(torch.stack(each).mean().detach())
    assert measure(stage, network, samples, torch.device("cpu")) == pytest.approx(expected)


def _start(config: TrainConfig) -> subprocess.Popen[str]:
    """Train as a user does. Processes are alike; this one's threads, for one, may be set."""
    return subprocess.Popen(
        command(config), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _until(condition: Any, process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while a process runs."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() < deadline
        time.sleep(0.02)
