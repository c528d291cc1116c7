"""`python -m datagen`: make sample objects, mix objects, adopt meshes, build shards, look at those,
check them, pack them."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datagen.adopting import adopt
from datagen.blender import BlenderError
from datagen.build import Build, BuildError, Executor, build
from datagen.cameras import RigName
from datagen.inspection import contact_sheet, summary, text
from datagen.mixing import Part, mix, parts_of
from datagen.object_ids import copy_id
from datagen.packing import pack, report
from datagen.pool import Limits, WorkerLost
from datagen.render_settings import PRESETS, Denoiser, Device, Light
from datagen.renderer import RendererName
from datagen.samples import CATEGORIES, KINDS, write_sample
from datagen.shard_maker import Sampling
from datagen.shards import ShardError, open_shards, read_manifest
from datagen.source import ObjectError, find_objects
from datagen.states import Scheme, object_rng
from datagen.verification import verify_file, verify_folder

GENERATED = Path("data/generated")


@dataclass(frozen=True)
class BuildCommand:
    """Render articulated objects into PartDrag-4D shards, one HDF5 file an object.

    Started again after an interruption, it goes on where it stopped. Its exit status is 0 only
    where every object asked for was made.
    """

    objects: tuple[Path, ...] = ()
    """Object folders, zips, or folders of either, as PartNet-Mobility ships them. Default: eight
    sample objects of our own, one a category, made on the spot."""
    out: Path = GENERATED / "shards"
    """Folder for the shards."""
    categories: tuple[str, ...] = ()
    """Only objects of these categories, such as Safe Toaster. Default: all."""
    preset: Literal["preview", "standard", "partdrag4d"] = "standard"
    """How pictures are made: preview (128 pixels, to look at), standard (256 pixels, to train on),
    partdrag4d (512 pixels, the published rig and light, to compare). The options up to --light
    change single settings of it."""
    rig: RigName | None = None
    """Where the cameras stand: ring, twelve all around; dome, its four input views, and others from
    lower down and higher up, to train on; partdrag4d, the published twelve."""
    resolution: int | None = None
    """Width and height of the pictures in pixels."""
    samples: int | None = None
    """Paths per pixel."""
    adaptive_threshold: float | None = None
    """Noise at which a pixel is done; 0 takes all samples everywhere."""
    denoiser: Denoiser | None = None
    """OpenImageDenoise's quality, or none."""
    bounces: int | None = None
    """Bounces of light between surfaces."""
    light: Light | None = None
    """studio: white sky and soft sun; partdrag4d: the published white sky and point light."""
    scheme: Scheme = "uniform"
    """How the other parts are placed while one moves: uniform in their range, or partdrag4d, the
    published extremes of up to two others."""
    draws: int = 1
    """Random configurations of the other parts for each moved part (uniform)."""
    state_list: Path | None = None
    """File of published state names, one a line: exactly these states are rendered."""
    min_share: float = 0.002
    """Parts that cover a smaller share of the pixels in the input view that shows them best are
    left out; 0 keeps all."""
    stretch: float = 0.0
    """Make copies of the objects, longer or shorter along each axis by a random factor of up to 1
    plus this, such as 0.3: more shapes of few. Their ids end with the seed."""
    repaint: float = 0.0
    """Make copies of the objects, each of whose materials has a random colour with this
    probability: more looks of few. Their ids end with the seed, too."""
    collisions: bool = True
    """Leave states out in which parts stand in one another. Without, planning is quicker."""
    points: int = 2048
    """Surface points on each link, at least 2048."""
    seed: int = 0
    """Decides everything random; the same seed gives the same bytes."""
    workers: int = 0
    """Worker processes, each with a Blender of its own. 0: one a processor, as memory allows."""
    executor: Executor = "local"
    """Where the workers run: on this machine, or on a Ray cluster that shares the folders."""
    ray_address: str | None = None
    """The Ray cluster's address."""
    renderer: RendererName = "blender"
    """blender, or tracer: paths traced with Warp, nearly the same pictures, on a GPU (--device
    CUDA) many times as fast. It has no denoiser, so it wants more --samples."""
    device: Device = "CPU"
    """What pictures are rendered on."""
    blender: str | None = None
    """An installed Blender's program, in place of the bpy wheel."""
    hang_seconds: float = 600.0
    """A worker silent for longer is restarted and its object tried once more."""
    worker_memory_gb: float = 4.0
    """A worker larger than this is restarted and its object tried once more."""

    def run(self) -> int:
        overrides = {
            name: value
            for name in (
                "rig",
                "resolution",
                "samples",
                "adaptive_threshold",
                "denoiser",
                "bounces",
                "light",
            )
            if (value := getattr(self, name)) is not None
        }
        if self.points < 2048:
            raise BuildError(f"--points {self.points}: a shard holds at least 2048 points a part")
        if self.stretch < 0:
            raise BuildError(f"--stretch {self.stretch}: 0 or more")
        if not 0 <= self.repaint <= 1:
            raise BuildError(f"--repaint {self.repaint}: a probability, from 0 to 1")
        sampling = Sampling(
            self.scheme,
            self.draws,
            self.seed,
            self.points,
            self.min_share,
            self.stretch,
            self.repaint,
            self.collisions,
        )
        if sampling.copies and self.state_list:
            raise BuildError(
                "--stretch and --repaint do not go with --state-list: copies have other ids"
            )
        objects = self.objects or _sample_objects(self.seed)
        request = Build(
            objects,
            self.out,
            self.categories,
            sampling,
            replace(PRESETS[self.preset], **overrides),
            self.state_list,
            self.workers,
            self.executor,
            self.ray_address,
            self.renderer,
            self.blender,
            self.device,
            Limits(hang_s=self.hang_seconds, memory_bytes=int(self.worker_memory_gb * 1e9)),
        )
        result = build(request)
        print(result.text())
        return 0 if result.complete else 1


def _sample_objects(seed: int) -> tuple[Path, ...]:
    """The embedded default: one sample object a category."""
    folder = GENERATED / "objects"
    return tuple(write_sample(category, seed, folder) for category in CATEGORIES)


@dataclass(frozen=True)
class ObjectsCommand:
    """Write sample objects of our own in PartNet-Mobility's layout: doors, drawers, lids, racks and
    knobs, with sizes, colours and handles drawn from a seed."""

    out: Path = GENERATED / "objects"
    """Folder for the object folders."""
    categories: tuple[str, ...] = CATEGORIES
    """Which kinds of object: PartDrag-4D's categories, or Contraption: random things that open,
    turn and slide."""
    count: int = 1
    """How many of each category."""
    seed: int = 0
    """The first object's seed; the others follow."""

    def run(self) -> int:
        unknown = [c for c in self.categories if c not in KINDS]
        if unknown:
            raise BuildError(
                f"no sample objects of category {', '.join(unknown)}; there are: {', '.join(KINDS)}"
            )
        for category in self.categories:
            for seed in range(self.seed, self.seed + self.count):
                print(write_sample(category, seed, self.out))
        return 0


@dataclass(frozen=True)
class MixCommand:
    """Write objects, some of whose parts are those of others, made to fit: more things of few.

    Mix objects to train on among themselves alone: a mix holds parts of other objects than the one
    that its id names.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Object folders, zips, or folders of either, as PartNet-Mobility ships them."""
    out: Path = GENERATED / "mixed"
    """Folder for the object folders, named by object and seed."""
    count: int = 1
    """Mixes of each object."""
    share: float = 0.6
    """How many of an object's parts are replaced, of those that another part fits for."""
    seed: int = 0
    """The first mixes' seed; the others follow."""

    def run(self) -> int:
        if not 0 < self.share <= 1:
            raise BuildError(f"--share {self.share}: above 0, up to 1")
        if not self.objects:
            raise BuildError("no objects to mix: name their folders or zips")
        hosts: list[list[Part]] = []
        failed = 0
        for path in find_objects(list(self.objects)):
            try:
                hosts.append(parts_of(path))
            except ObjectError as error:
                failed += 1
                print(f"left out: {error}", file=sys.stderr)
        spare = [part for parts in hosts for part in parts]
        for parts in filter(None, hosts):  # what moves nothing has none
            for seed in range(self.seed, self.seed + self.count):
                object_id = parts[0].obj.id
                rng = object_rng(seed, object_id, "mix")
                made = mix(parts, spare, self.share, copy_id(object_id, seed), self.out, rng)
                print(made or f"{object_id}, seed {seed}: no part replaced")
        return 1 if failed else 0


@dataclass(frozen=True)
class AdoptCommand:
    """Write objects made of meshes in which nothing moves: some of their pieces are given a hinge
    or a slider, by guess. More things to learn from, where there are few articulated ones.
    """

    meshes: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """OBJ files, y up, with materials and pictures beside them, or folders to search for them."""
    out: Path = GENERATED / "adopted"
    """Folder for the object folders, named by mesh and seed."""
    count: int = 1
    """Objects of each mesh."""
    parts: int = 3
    """The most parts that an object is given."""
    seed: int = 0
    """The first objects' seed; the others follow."""

    def run(self) -> int:
        if self.parts < 1:
            raise BuildError(f"--parts {self.parts}: 1 or more")
        found: list[Path] = []
        for path in self.meshes:
            inside = (p for p in path.rglob("*") if p.suffix.lower() == ".obj")
            found += sorted(inside) if path.is_dir() else [path]
        if not found:
            raise BuildError("no meshes to adopt: name OBJ files, or folders that hold some")
        named = {mesh.stem: mesh for mesh in found}
        for mesh in found:
            if named[mesh.stem] != mesh:
                raise BuildError(
                    f"{mesh} and {named[mesh.stem]} would be objects of one name: rename one, or "
                    "adopt them into folders of their own"
                )
        failed = 0
        for mesh in found:
            for seed in range(self.seed, self.seed + self.count):
                try:
                    rng = object_rng(seed, mesh.stem, "adopt")
                    made = adopt(mesh, copy_id(mesh.stem, seed), self.out, self.parts, rng)
                    print(made or f"{mesh}, seed {seed}: no piece of it would do for a part")
                except (ObjectError, OSError) as error:
                    failed += 1
                    print(f"left out: {error}", file=sys.stderr)
        return 1 if failed else 0


@dataclass(frozen=True)
class InspectCommand:
    """Say what shards hold, and draw a contact sheet: views by states, with drags."""

    path: Annotated[Path, tyro.conf.Positional]
    """A shard, a pack, or a folder of them."""
    json: bool = False
    """Print JSON in place of text."""
    sheet: Path | None = None
    """Write contact sheets: a PNG file for one shard, a folder of PNG files for a folder."""
    views: tuple[int, ...] | None = None
    """The sheets' columns. Default: all views."""
    states: tuple[int, ...] | None = None
    """The sheets' rows, by state number. Default: all, or an even choice of 24."""
    cell: int = 128
    """Width and height of the sheets' pictures in pixels."""

    def run(self) -> int:
        shards = open_shards(self.path)
        summaries = {name: summary(shard) for name, shard in shards.items()}
        if self.json:
            one = [shard.path for shard in shards.values()] == [self.path]  # and no pack
            print(json.dumps(next(iter(summaries.values())) if one else summaries, indent=1))
        else:
            print("\n\n".join(text(s) for s in summaries.values()))
        if self.sheet:
            for name, shard in shards.items():
                file = self.sheet if self.path == shard.path else self.sheet / f"{name}.png"
                for kind, chosen, count in (
                    ("view", self.views, len(shard.camera_to_world)),
                    ("state", self.states, len(shard.states)),
                ):
                    if any(not 0 <= number < count for number in chosen or ()):
                        raise ShardError(
                            f"{name} has {kind}s 0 to {count - 1}, not all of {chosen}"
                        )
                file.parent.mkdir(parents=True, exist_ok=True)
                contact_sheet(shard, self.views, self.states, self.cell).save(file)
                shard.close()
        return 0


@dataclass(frozen=True)
class VerifyCommand:
    """Check shards: schema, checksums, poses against joint positions, points against depth, or in
    packs, which have no depth, against link maps alone."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Shards, packs, or folders of them."""

    def run(self) -> int:
        bad = 0
        for path in self.paths:
            if path.is_dir():
                reports = verify_folder(path)
            else:
                expected = read_manifest(path.parent).get(path.name)
                reports = verify_file(path, expected)
            for name, faults in reports.items():
                bad += bool(faults)
                print(f"{name}: {'good' if not faults else f'{len(faults)} fault(s)'}")
                for fault in faults:
                    print(f"  {fault}")
            if any("/" in name for name in reports):
                print(
                    f"{path}: a pack has no depth, its points were checked by link maps alone, or "
                    "not at all where pictures were made smaller"
                )
        return 1 if bad else 0


@dataclass(frozen=True)
class PackCommand:
    """Make a compact form of shards, for moving them to the machine that trains on them: few files,
    lossy colour, only what training reads. It is read as shards are.

    Started again after an interruption, it goes on where it stopped.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of shards."""
    out: Path = GENERATED / "pack"
    """Folder for the pack."""
    quality: int = 90
    """Of the colour, as WebP has it: 0 to 100. docs/benchmarks.md has sizes and errors."""
    resolution: int | None = None
    """Pixels along a side that pictures are averaged down to, for training on such: smaller files,
    and quicker to decode. Default: as they are."""
    max_mb: float = 60.0
    """The largest size of a file, in 10^6 bytes."""
    workers: int = 0
    """Worker processes. 0: one a processor."""

    def run(self) -> int:
        if not 0 <= self.quality <= 100:
            raise BuildError(f"--quality {self.quality}: it goes from 0 to 100")
        size = int(self.max_mb * 1e6)
        pack(self.folder, self.out, self.quality, size, self.workers, self.resolution)
        print(report(self.out))
        return 0


def main() -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    command = tyro.extras.subcommand_cli_from_dict(
        {
            "build": BuildCommand,
            "objects": ObjectsCommand,
            "mix": MixCommand,
            "adopt": AdoptCommand,
            "inspect": InspectCommand,
            "verify": VerifyCommand,
            "pack": PackCommand,
        },
        prog="python -m datagen",
        description=__doc__,
    )
    try:
        return int(command.run())
    except (BuildError, ObjectError, ShardError, BlenderError, WorkerLost, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; started again, it goes on where it stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
