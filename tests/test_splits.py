"""Splits: by a file, by name, and what is said of those that cannot be."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.splits import SplitError, split_shards


def shards_of(*names: str, category: str = "Oven") -> dict[str, Any]:
    return {name: SimpleNamespace(object=SimpleNamespace(category=category)) for name in names}


OBJECTS = shards_of("1", "2", "3") | shards_of("4", category="Safe")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["1", "4"], "val": {"2": "Oven", "9": "Oven"}}))
    return path


def test_a_file_says_which(file: Path) -> None:
    """Lists and mappings; objects that it does not name are in neither, names without a shard are
    passed over."""
    assert list(split_shards(OBJECTS, "train", file)) == ["1", "4"]
    assert list(split_shards(OBJECTS, "val", file)) == ["2"]
    assert split_shards(OBJECTS, "all", file) == OBJECTS
    assert list(split_shards(OBJECTS, "train", file, ["Safe"])) == ["4"]


def test_copies_go_where_their_objects_go(file: Path) -> None:
    """Else what is held out would be trained on, a little longer."""
    objects = OBJECTS | shards_of("1-7", "2-7", "3-7", "2-12")
    assert list(split_shards(objects, "train", file)) == ["1", "4", "1-7"]
    assert list(split_shards(objects, "val", file)) == ["2", "2-7", "2-12"]
    many = shards_of(*(f"{n}{copy}" for n in range(60) for copy in ("", "-1", "-22")))
    for split in ("train", "val"):
        found = set(split_shards(many, split))
        assert {name.partition("-")[0] + "-22" for name in found} <= found


def test_by_name_one_in_eight_is_held_out() -> None:
    objects = shards_of(*map(str, range(4000)))
    train, val = split_shards(objects, "train"), split_shards(objects, "val")
    assert not set(train) & set(val) and set(train) | set(val) == set(objects)
    assert len(val) == pytest.approx(500, abs=63)  # three standard deviations


def test_who_is_held_out_never_changes() -> None:
    """Else numbers of earlier runs would be of objects that later ones have been trained on."""
    val = split_shards(shards_of(*map(str, range(60))), "val")
    assert list(val) == ["2", "6", "18", "21", "25", "28", "32", "33", "38", "53"]


@given(st.sets(st.text(), min_size=1), st.sets(st.text()))
def test_more_objects_move_none_to_the_other_side(names: set[str], more: set[str]) -> None:
    for split in ("train", "val"):
        try:
            before = set(split_shards(shards_of(*names), split))
        except SplitError:
            before = set()
        if before:
            assert set(split_shards(shards_of(*names, *more), split)) & names == before


def test_an_unknown_category_is_named_beside_those_there_are() -> None:
    with pytest.raises(SplitError, match="no object of category Ofen; there are: Oven, Safe"):
        split_shards(OBJECTS, "all", None, ["Oven", "Ofen"])


def test_an_empty_split_says_who_chose(file: Path) -> None:
    with pytest.raises(SplitError, match=r"split val of 4 \(.*splits.json names none of them"):
        split_shards(OBJECTS, "val", file, ["Safe"])
    with pytest.raises(SplitError, match=r"split val of 1 \(one in 8 by its name.*take.* all"):
        split_shards(shards_of("1"), "val")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"val": []}', b'{"train": 3}', b"\xff\x00"])
def test_what_is_no_split_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no_split.json"
    path.write_bytes(content)
    with pytest.raises(SplitError, match=r'no_split.json: no split file, \{"train": \[ids\]'):
        split_shards(OBJECTS, "train", path)


def test_a_split_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"absent.json: no split file"):
        split_shards(OBJECTS, "train", tmp_path / "absent.json")
