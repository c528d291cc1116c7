"""Drags that are true of a part, and the motion of a hinge or a slider that obeys them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from datagen.cameras import project, unproject
from model.splatter import first_splats
from model.views import Views

NEAREST = 0.1  # world units before the camera: what is nearer is not where a drag starts
DRAWN = 100  # Gaussians, the likelier the more they count, that are weighed against drags
ROUGH = 0.3  # world units: how far off a Gaussian may be, for one ..
EXACT = (0.1, 0.03, 0.01, 0.003, 0.001)  # .. of one of these shares of the picture that the end
# of a drag is missed by, ..
VAGUE = 0.1  # .. for so much less of all this, for each drag, were ends an e-th as exact, ..
DEPTH = 0.1  # .. and for one of these world units that a drag's start lies nearer, or farther
TURNS = np.radians(np.arange(-170, 180, 20))  # that a hinge may have turned by, to look from ..
LIKELY_TURNS = 2  # .. the likeliest of these
SCREW = 0.005  # radians times world units along their axis: of hinges and sliders one is 0
ALONG = 3  # times as badly as any other may a joint fit that goes along an axis of the world
SETTLED = 1e-4  # a step that mends a smaller share of what is missed is the last
STEP = 1e-6  # of the differences that slopes are made of

Errors = Callable[[Float[np.ndarray, "K 6"], Float[np.ndarray, "K D"]], Float[np.ndarray, "K E"]]
"""What K changes miss, with as many guesses of how much farther away drags start than they seem to,
in units of `DEPTH`. A change turns about a centre, by a rotation vector in radians, and then shifts
in world units."""


class Pulls(NamedTuple):
    """Drags that are true of the part: where points of it are, and where a view has them after.

    Attributes:
        point: in the world, before.
        end: in pixels (x, y).
        camera_to_world, intrinsics: of the view.
        size: of its picture, in pixels.
    """

    point: Float[np.ndarray, "D 3"]
    end: Float[np.ndarray, "D 2"]
    camera_to_world: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    size: int


class Fit(NamedTuple):
    """A change of `Errors`, and how far away drags start.

    Attributes:
        exact: share of the picture, of `EXACT`, that the ends of drags are taken to be off by.
        cost: what is missed at that.
        change, farther: as in `Errors`, the latter of each drag.
    """

    exact: float
    cost: float
    change: Float[np.ndarray, "6"]
    farther: Float[np.ndarray, "D"]

    @property
    def badness(self) -> float:
        """The more, the less likely."""
        return self.cost + VAGUE * len(self.farther) * math.log(self.exact)


def pulls(
    before: Float[Tensor, "N 14"],
    views: Views,
    drawn: Float[Tensor, "V S S"],
    start: Float[np.ndarray, "D 2"],
    end: Float[np.ndarray, "D 2"],
    layers: int,
) -> Pulls:
    """Drags of view 0, with the points that they start on: half way between where the first splats
    of their pixels are, which lie on the surface unless at its edge, and where all splats together
    show it, which are in front of it or behind where it is thin. A splat that is off by more than
    `DEPTH` counts as off by as much.

    Args:
        before: Gaussians before the drags: of each view, of each layer, row by row.
        views: what they were made of; a batch of one.
        drawn: depth of all Gaussians in each view, 0 where there is nothing.
        start, end: of drags, as fractions of the picture. Those that start on nothing are left out.
        layers: of the Gaussians.
    """
    size, count = views.pictures.shape[-1], views.pictures.shape[1]
    camera = views.camera_to_world[0, 0].double().cpu().numpy()
    lens = views.intrinsics[0].double().cpu().numpy()
    column, row = np.clip(np.floor(start * size).astype(int), 0, size - 1).T
    surface = drawn[0].double().cpu().numpy()[row, column]
    first = first_splats(before[None], count, layers, size)[0, 0].double().cpu().numpy()
    own = (first[row, column] - camera[:3, 3]) @ camera[:3, 2]
    there = surface > NEAREST
    depth = (surface + np.clip(own - surface, -DEPTH, DEPTH) / 2)[there]
    point = unproject(size * start[there].astype(float), depth, camera, lens)
    return Pulls(point, size * end[there].astype(float), camera, lens, size)


def pulled_motion(
    motion: Float[Tensor, "7"],
    here: Float[Tensor, "N 3"],
    there: Float[Tensor, "N 3"],
    weight: Float[Tensor, "N"],
    drags: Pulls,
) -> tuple[Float[Tensor, "7"], Pulls]:
    """The motion of a hinge or a slider that brings the points of drags to their ends, and
    Gaussians, which together count as much as one, near to where they went; and the drags, with the
    points that they start on then. How far away these are is known roughly, and found along with
    the motion. How exact their ends are is not known: a hand's are not, and tell it by not going
    together. Joints of most things go along, or about, an axis of the world in which they stand
    upright: one that does is taken unless it fits far worse than any other. The network may
    have taken what turned far to have turned the other way: hinges are looked for from other turns,
    too.

    Args:
        motion: a first guess, as in `rigid_part.RigidPart`.
        here, there: where Gaussians were, and went.
        weight: what each of them counts.
        drags: one or more.
    """
    drawn = _evenly(weight.cpu().numpy(), DRAWN)
    x, y = here.cpu().numpy()[drawn], there.cpu().numpy()[drawn]
    centre = x.mean(axis=0)
    w, *axis = motion.tolist()[:4]
    turn = Rotation.from_quat([*axis, w])
    shift = turn.apply(centre) + motion[4:].cpu().numpy() - centre
    errors = {exact: _errors(x, y, centre, drags, exact) for exact in EXACT}
    farther = np.zeros(len(drags.point))
    guess = Fit(EXACT[0], math.inf, np.concatenate([turn.as_rotvec(), shift]), farther)
    other = _likeliest(errors, guess, np.eye(6))
    turns, shifts = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    hinges = [np.column_stack([turns[:, i], np.delete(shifts, i, axis=1)]) for i in range(3)]
    joints = [*hinges, *shifts.T[..., None]]
    along = [_best(errors, other.exact, other, free) for free in joints]
    begins = _turned(errors[EXACT[0]], y.mean(axis=0) - centre, hinges, guess)
    along += [_likeliest(errors, begin, hinge) for begin, hinge in begins]
    best = min(along, key=lambda fit: fit.badness)
    other = min(other, _likeliest(errors, best, np.eye(6)), key=lambda fit: fit.badness)
    if best.badness - other.badness > (ALONG - 1) * other.cost:
        best = other
    turn = Rotation.from_rotvec(best.change[:3])
    *axis, w = turn.as_quat(canonical=True)
    found = here.new_tensor([w, *axis, *(centre + best.change[3:] - turn.apply(centre))])
    points = drags.point + best.farther[:, None] * _steps_away(drags)
    return found, drags._replace(point=points)


def missed_share(motion: Float[Tensor, "7"], drags: Pulls) -> float:
    """By how much of their way a motion misses the ends of one or more drags, in the picture: the
    root of the mean square of the one over that of the other."""
    w, *axis = motion.double().tolist()[:4]
    moved = Rotation.from_quat([*axis, w]).apply(drags.point) + motion[4:].double().cpu().numpy()
    start, there = (
        project(points, drags.camera_to_world, drags.intrinsics)[0]
        for points in (drags.point, moved)
    )
    return float(np.linalg.norm(there - drags.end) / np.linalg.norm(start - drags.end))


def _evenly(weight: Float[np.ndarray, "N"], count: int) -> Int[np.ndarray, "count"]:
    """As many of these in turn, each as often as its weight has it."""
    up_to = np.cumsum(weight)
    return np.searchsorted(up_to, up_to[-1] * (np.arange(count) + 0.5) / count)


def _errors(
    x: Float[np.ndarray, "n 3"],
    y: Float[np.ndarray, "n 3"],
    centre: Float[np.ndarray, "3"],
    drags: Pulls,
    exact: float,
) -> Errors:
    """How far from where they went Gaussians are, and drags from their ends, for one of this share
    of the picture; how far a motion is from a hinge's or a slider's; and the guesses themselves,
    which are to be small."""
    steps = _steps_away(drags)

    def errors(
        change: Float[np.ndarray, "K 6"], farther: Float[np.ndarray, "K D"]
    ) -> Float[np.ndarray, "K E"]:
        matrix = Rotation.from_rotvec(change[:, :3]).as_matrix().swapaxes(1, 2)

        def moved(points: Float[np.ndarray, "*K n 3"]) -> Float[np.ndarray, "K n 3"]:
            return (points - centre) @ matrix + centre + change[:, None, 3:]

        rough = (moved(x) - y) / (ROUGH * math.sqrt(len(x)))
        points = moved(drags.point + farther[:, :, None] * steps)
        pixels, _ = project(points, drags.camera_to_world, drags.intrinsics)
        ends = (pixels - drags.end) / drags.size / exact
        screw = (change[:, :3] * change[:, 3:]).sum(axis=1, keepdims=True) / SCREW
        return np.hstack([*(e.reshape(len(change), -1) for e in (rough, ends)), screw, farther])

    return errors


def _steps_away(drags: Pulls) -> Float[np.ndarray, "D 3"]:
    """From the camera through the points of drags, `DEPTH` long."""
    rays = drags.point - drags.camera_to_world[:3, 3]
    return rays * (DEPTH / np.linalg.norm(rays, axis=1, keepdims=True))


def _turned(
    errors: Errors,
    shift: Float[np.ndarray, "3"],
    hinges: list[Float[np.ndarray, "6 5"]],
    guess: Fit,
) -> list[tuple[Fit, Float[np.ndarray, "6 5"]]]:
    """The likeliest turns of hinges that shift what they turn so, of each hinge's two ways the best
    turn alone."""
    found = []
    for hinge in hinges:
        axis = hinge[:, 0]
        changes = TURNS[:, None] * axis
        changes[:, 3:] = np.where(axis[:3], 0, shift)
        missed = errors(changes, np.tile(guess.farther, (len(TURNS), 1)))
        costs = np.sqrt(1 + missed**2).sum(axis=1)
        for way in (TURNS > 0, TURNS < 0):
            best = np.flatnonzero(way)[costs[way].argmin()]
            found.append((guess._replace(cost=costs[best], change=changes[best]), hinge))
    return sorted(found, key=lambda turned: turned[0].cost)[:LIKELY_TURNS]


def _likeliest(errors: dict[float, Errors], begin: Fit, free: Float[np.ndarray, "6 f"]) -> Fit:
    """The likeliest of fits that take ends to be the more exact, each looked for from the one
    before, which is near."""
    fits = []
    for exact in errors:
        fits.append(begin := _best(errors, exact, begin, free))
    return min(fits, key=lambda fit: fit.badness)


def _best(
    errors: dict[float, Errors], exact: float, begin: Fit, free: Float[np.ndarray, "6 f"]
) -> Fit:
    """What misses least of the changes that these columns span, looked for from another one on."""
    columns = free.shape[1]

    def missed(unknown: Float[np.ndarray, "K f_D"]) -> Float[np.ndarray, "K E"]:
        return errors[exact](unknown[:, :columns] @ free.T, unknown[:, columns:])

    def slopes(unknown: Float[np.ndarray, "f_D"]) -> Float[np.ndarray, "E f_D"]:
        here, *there = missed(np.vstack([unknown, unknown + STEP * np.eye(len(unknown))]))
        return np.stack([(near - here) / STEP for near in there], axis=1)

    found = least_squares(
        lambda unknown: missed(unknown[None])[0],
        np.concatenate([free.T @ begin.change, begin.farther]),
        slopes,
        loss="soft_l1",
        ftol=SETTLED,
        max_nfev=60,
    )
    return Fit(exact, found.cost, free @ found.x[:columns], found.x[columns:])
