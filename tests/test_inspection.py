"""Summaries are whole and readable; contact sheets show drags on the right pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from synthetic import synthetic_shard

from datagen.drags import sample_drags
from datagen.inspection import CORE, contact_sheet, summary, text
from datagen.shards import Shard

CELL = 96


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return Shard(synthetic_shard(tmp_path_factory.mktemp("inspection") / "cabinet.h5"))


def cells(sheet: Image.Image, columns: int, rows: int) -> np.ndarray:
    """[rows, columns, CELL, CELL, 3]: the sheet without its labels."""
    pixels = np.asarray(sheet)[-CELL * rows :, -CELL * columns :]
    return pixels.reshape(rows, CELL, columns, CELL, 3).swapaxes(1, 2)


def bright(pixels: np.ndarray) -> np.ndarray:
    """Where an arrow's core is."""
    return np.abs(pixels.astype(int) - CORE).max(axis=-1) < 20


def test_summary_is_json_and_whole(shard: Shard) -> None:
    found = summary(shard)
    assert json.loads(json.dumps(found)) == found
    assert found["bytes"] == shard.path.stat().st_size
    assert [(j["name"], j["part"], j["type"]) for j in found["joints"]] == [
        ("joint_drawer", 0, "prismatic"),
        ("joint_lid", 1, "revolute"),
    ]
    assert [s["positions"] for s in found["states"]] == [list(s.positions) for s in shard.states]
    views = found["views"]
    assert (views["count"], views["rig"], views["resolution"]) == (12, "ring", 64)
    assert views["fov_degrees"] == pytest.approx(2 * np.degrees(np.arctan(16 / 35)))


def test_text_names_what_matters(shard: Shard) -> None:
    lines = text(summary(shard)).splitlines()
    assert lines[0] == "Cabinet cabinet"
    header, drawer, lid = lines[lines.index("Movable parts") + 1 :][:3]
    assert drawer.split() == [
        "0",
        "joint_drawer",
        "prismatic",
        "drawer",
        "0.000",
        "0.450",
        "-1.00",
        "+0.00",
        "+0.00",
        "6",
    ]
    assert lid.split()[4:6] == ["0°", "90°"]
    assert header.index("semantic") == drawer.index("drawer", 20) == lid.index("lid", 20)
    assert any("cabinet_1_0_u0 … cabinet_1_5_u0" in line for line in lines)
    assert max(map(len, lines)) <= 120


def test_sheet_has_a_cell_for_every_picture(shard: Shard) -> None:
    sheet = contact_sheet(shard, cell=CELL)
    assert 0 < sheet.width - 12 * CELL < 200 and 0 < sheet.height - 12 * CELL < 40
    part = contact_sheet(shard, views=[6, 2], states=[9], cell=CELL)
    again = contact_sheet(shard, views=[6, 2], states=[9], cell=CELL)
    assert part.tobytes() == again.tobytes()
    assert (cells(part, 2, 1)[0] == cells(sheet, 12, 12)[9, [6, 2]]).all()


def test_arrows_start_on_the_moved_part(shard: Shard) -> None:
    drawn = bright(cells(contact_sheet(shard, [0], [1, 5], CELL), 1, 2))[:, 0]
    for arrows, state, goal in zip(drawn, (1, 5), (2, 4), strict=True):
        assert arrows.any()
        drags = sample_drags(shard, state, goal, 10_000, np.random.default_rng(0))
        ends = np.concatenate([drags.start_pixel, drags.end_pixel]) * CELL / shard.resolution
        row, column = np.nonzero(arrows)
        assert (np.stack([column, row], axis=1) > ends.min(axis=0) - 4).all()
        assert (np.stack([column, row], axis=1) < ends.max(axis=0) + 4).all()


def test_no_arrows_where_the_part_is_hidden(shard: Shard) -> None:
    assert not bright(cells(contact_sheet(shard, [6], [0], CELL), 1, 1)).any()
