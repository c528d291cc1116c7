"""The files of one object, in a folder or in a zip, read in place and never outside of it."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from functools import cached_property
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
"""What one object may unpack to, in bytes; PartNet-Mobility's largest is below 200 MB."""

UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError)
"""What zipfile raises on damaged zips."""


class ObjectError(Exception):
    """An object that cannot be used: which, in which file, at which line or element, and why."""

    def __init__(self, object_id: str, file: str, message: str, where: str = "") -> None:
        super().__init__(object_id, file, message, where)
        self.object_id, self.file, self.message, self.where = object_id, file, message, where

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else self.file
        return f"object {self.object_id}: {place}: {self.message}"


class ObjectFiles:
    """Reads the files of the object at `path`, a folder or a zip that holds `mobility.urdf`.

    Names are looked up as written, then without regard to case. Nothing is ever unpacked to disk.

    Raises:
        ObjectError: there is no such object, it is too large, the zip is broken, or a zip's entry
            or a folder's link points outside of it.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.id = path.stem if path.suffix.lower() == ".zip" else path.name
        self._zip: zipfile.ZipFile | None = None
        self._names: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}
        if path.is_dir():
            self._open_folder(max_bytes)
        else:
            self._open_zip(max_bytes)
        if "mobility.urdf" not in self._names:
            raise ObjectError(self.id, str(path), "no mobility.urdf in it")

    def _open_folder(self, max_bytes: int) -> None:
        inside = os.path.realpath(self.path)
        size = 0
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise ObjectError(self.id, name, "a link that points outside of the object")
            if path.is_file():
                self._names[name] = path.as_posix()
                size += path.stat().st_size
        self._check_size(size, max_bytes)

    def _open_zip(self, max_bytes: int) -> None:
        try:
            self._zip = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise ObjectError(self.id, str(self.path), "no such file or folder") from None
        except UNREADABLE as error:
            raise ObjectError(self.id, str(self.path), f"not a readable zip: {error}") from error
        entries = [i for i in self._zip.infolist() if not i.filename.endswith("/")]
        for entry in entries:
            name = PurePosixPath(entry.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
                raise ObjectError(
                    self.id, str(self.path), f"entry {entry.filename!r} points outside the zip"
                )
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ObjectError(
                    self.id,
                    str(self.path),
                    f"entry {entry.filename!r} is compressed in an unknown way",
                )
        self._check_size(sum(i.file_size for i in entries), max_bytes)
        tops = [
            i.filename.removesuffix("mobility.urdf")
            for i in entries
            if PurePosixPath(i.filename).name == "mobility.urdf"
        ]
        if len(tops) > 1:
            raise ObjectError(self.id, str(self.path), "it holds more than one mobility.urdf")
        top = tops[0] if tops else ""
        self.id = PurePosixPath(top).name or self.id
        self._names = {
            i.filename.removeprefix(top): i.filename for i in entries if i.filename.startswith(top)
        }

    def _check_size(self, size: int, max_bytes: int) -> None:
        if size > max_bytes:
            raise ObjectError(
                self.id,
                str(self.path),
                f"unpacks to {size:,} bytes, over the limit of {max_bytes:,}",
            )

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._names}

    def find(self, name: str) -> str | None:
        """The stored spelling of `name`, or None where there is no such file in the object."""
        parts: list[str] = []
        for part in PurePosixPath(name.replace("\\", "/")).parts:
            if part == ".." and parts:
                parts.pop()
            elif part != ".":
                parts.append(part)
        clean = "/".join(parts)
        return clean if clean in self._names else self._folded.get(clean.casefold())

    def read(self, name: str) -> bytes:
        """The content of a file that `find` found.

        Raises:
            ObjectError: the file cannot be read.
        """
        try:
            if self._zip is None:
                return Path(self._names[name]).read_bytes()
            entry = self._zip.getinfo(self._names[name])
            with self._zip.open(entry) as file:
                # Asked for so many bytes, zipfile unpacks no more, whatever else the entry holds.
                return file.read(entry.file_size)
        except UNREADABLE as error:
            raise ObjectError(self.id, name, f"cannot be read: {error}") from error

    def note(self, what: str, name: str) -> None:
        """Remember a harmless fault of the file `name`."""
        names = self._notes.setdefault(what, [])
        if name not in names:
            names.append(name)

    def warn(self) -> None:
        """Log all harmless faults noted so far as one warning, and forget them."""
        if self._notes:
            faults = "; ".join(
                f"{len(names)} {what} (such as {names[0]})" for what, names in self._notes.items()
            )
            logger.warning("object %s: left out: %s", self.id, faults)
            self._notes.clear()


def find_objects(paths: list[Path]) -> list[Path]:
    """Objects named by `paths`: object folders, object zips, or folders that hold either.

    Raises:
        ObjectError: a path does not exist, or holds no object.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file() or (path / "mobility.urdf").is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise ObjectError(path.name, str(path), "no such file or folder")
        inside = sorted(
            p
            for p in path.iterdir()
            if p.suffix.lower() == ".zip" or (p / "mobility.urdf").is_file()
        )
        if not inside:
            raise ObjectError(path.name, str(path), "holds no object (no mobility.urdf, no zip)")
        found += inside
    return list(dict.fromkeys(found))
