"""Finds the songs at the paths that a user gives."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hyperstem.audio import READABLE
from hyperstem.files import user_path, without_extension
from hyperstem.separation import manifest
from hyperstem.separation.tasks import Result

_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):[/\\]+")
"""The beginning of a URL, of whose two slashes `Path` keeps one."""
_BLOCK = 1 << 20


class Found(NamedTuple):
    """The songs found at the given paths."""

    sources: list[Path]
    failures: list[Result]
    folders: dict[Path, str]
    """The folder of each source relative to the one searched, with "/" between its parts; "" for that folder itself."""


def read_list(file: BinaryIO) -> Iterator[Path]:
    """The paths in a list that `read_names` reads."""
    return map(user_path, read_names(file))


def read_names(file: BinaryIO) -> Iterator[str]:
    """The names in a list, one per line, or separated by null bytes as `find -print0` writes them.

    The list is read block by block, so it may have any length.
    """
    left, end = b"", b""
    while block := file.read(_BLOCK):
        end = end or (b"\0" if b"\0" in block else b"\n")
        *lines, left = (left + block).split(end)
        yield from filter(None, map(_listed, lines))
    if (last := _listed(left)) is not None:
        yield last


def _listed(line: bytes) -> str | None:
    """The name in one line, without the byte order mark and carriage return of Windows; None if it is empty."""
    line = line.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
    return os.fsdecode(line) if line else None


def find_sources(given: Iterable[Path], root: Path | None = None, listed: Iterable[Path] = ()) -> Found:
    """The audio files at the given paths: files as they are, folders searched by file extension; each file once.

    In folders, hidden files and the output of earlier runs are ignored.

    Args:
        given: files and folders.
        root: songs keep their folders relative to it; None keeps those relative to the folder given.
        listed: more of them, from a list; without `root` they keep their folders relative to the current one.
    """
    sources: dict[Path, Path] = {}
    folders: dict[Path, str] = {}
    failures: list[Result] = []
    named = ((path, root or path) for path in given)
    for path, top in itertools.chain(named, ((path, root or Path()) for path in listed)):
        for item in _songs(path, failures):
            if sources.setdefault(resolved(item), item) is item:
                folders[item] = _folder(item, top)
    return Found(list(sources.values()), failures, folders)


def _songs(path: Path, failures: list[Result]) -> list[Path]:
    """The songs at one path; problems with it are added to `failures`."""
    try:
        if path.is_dir():
            return _audio_files(path, failures)
        if _ADDRESS.match(str(path)) and not path.exists():
            address = _ADDRESS.sub(r"\1://", str(path))
            message = f"{address} is an address, and nothing is downloaded here: save the sound as a file and give that"
            failures.append(Result(Path(address), "failed", message, "address"))
            return []
    except OSError as error:
        failures.append(_unreadable(path, error))
        return []
    return [path]


def _folder(source: Path, root: Path) -> str:
    """The source's folder relative to `root`; empty if it lies elsewhere."""
    try:
        here, top = os.path.abspath(source.parent), os.path.abspath(root)  # noqa: PTH100 (links are not followed)
        folder = Path(here).relative_to(top)
    except ValueError:
        return ""
    return "" if folder == Path() else folder.as_posix()


def resolved(path: Path) -> Path:
    """The absolute path, with links followed where possible."""
    found = path.absolute()
    with contextlib.suppress(OSError, RuntimeError):
        found = path.resolve()
    return Path(without_extension(str(found))) if os.name == "nt" else found


def _unreadable(path: Path, error: OSError) -> Result:
    return Result(path, "failed", f"{path}: {error.strerror}", "system")


def _audio_files(folder: Path, failures: list[Result]) -> list[Path]:
    """Audio files in and below a folder, except those that a manifest there lists as our output."""
    files, written, before = [], set(), len(failures)
    for path in _files(folder, failures):
        if path.name.endswith(manifest.MANIFEST):
            written |= {resolved(file) for file in manifest.files(path)}
        elif path.suffix.lower() in READABLE and path.is_file():
            files.append(path)
    songs = [path for path in files if resolved(path) not in written]
    if not songs and len(failures) == before:
        failures.append(Result(folder, "failed", f"{folder}: no audio files in this folder", "missing"))
    return songs


def _files(folder: Path, failures: list[Result]) -> Iterator[Path]:
    """The files that are not hidden, in order; only the manifest if a folder holds our own output. Folders that cannot
    be read are added to `failures`."""
    if manifest.is_ours(folder / manifest.MANIFEST):
        yield folder / manifest.MANIFEST
        return
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, failures)
            else:
                yield path
    except OSError as error:
        failures.append(_unreadable(folder, error))
