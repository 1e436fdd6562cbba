"""Lists the songs of a catalogue of any size, one by one: from folders, prefixes, lists and manifests."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyperstem.audio import READABLE
from hyperstem.cluster import objects
from hyperstem.errors import ConfigError, DataError, HyperstemError
from hyperstem.files import user_path
from hyperstem.separation import manifest
from hyperstem.separation.messages import error_line, reason_of

MANIFESTS = (".jsonl", ".ndjson", ".parquet")
"""Extensions of manifests, files that list songs."""
COLUMNS = ("file", "folder", "seconds", "size")
"""The columns of a manifest; all but the first are optional, and others are ignored."""
_LOSSLESS = (".wav", ".wave", ".flac", ".aif", ".aiff", ".w64", ".rf64", ".caf", ".ape", ".wv", ".tta")
_BYTES_PER_S = {True: 120_000, False: 24_000}
_UNKNOWN_S = 240.0


class Listed(NamedTuple):
    """One song of the catalogue."""

    place: str
    """Absolute path or URL."""
    folder: str = ""
    """Its folder in the catalogue, which its stems keep."""
    seconds: float = _UNKNOWN_S
    """Its length, or an estimate from its size."""


class Unlisted(NamedTuple):
    """A place that could not be listed."""

    place: str
    error: str
    reason: str = "missing"


def songs(sources: Iterable[str], root: str | None = None, skip: str = "") -> Iterator[Listed | Unlisted]:
    """All songs at the given places, always in the same order.

    Args:
        sources: files, folders, manifests (``.jsonl``, ``.parquet``), URLs of songs, or prefixes.
        root: songs keep their folders relative to it; None keeps those relative to the source.
        skip: a folder or prefix that is not searched, namely the destination of the stems.
    """
    for source in sources:
        try:
            yield from _source(source, root, skip)
        except HyperstemError as error:
            yield Unlisted(source, error_line(source, error), "not listed")
        except OSError as error:
            yield Unlisted(source, error_line(source, error), reason_of(error))


def absolute(place: str) -> str:
    """A place in a form that is valid on every machine of the cluster."""
    return place if objects.is_url(place) else os.path.abspath(user_path(place))  # noqa: PTH100 (keeps links)


def _source(source: str, root: str | None, skip: str) -> Iterator[Listed | Unlisted]:
    place = absolute(source)
    if objects.is_url(place):
        objects.check(place)
    path = Path(place)
    if place.lower().endswith(MANIFESTS):
        yield from _manifest(place, root)
    elif objects.is_url(place):
        yield from _url(place, root, skip)
    elif path.is_dir():
        yield from _folder(path, root or place, skip)
    else:
        yield _local(path, path.stat().st_size, root or str(path.parent))


def _url(url: str, root: str | None, skip: str) -> Iterator[Listed]:
    """The song at this URL, or the songs below it."""
    for entry in objects.entries(url):
        inside = entry.url != url
        name = objects.file_name(entry.url)
        if inside and (name.startswith(".") or Path(name).suffix.lower() not in READABLE):
            continue
        if inside and skip and entry.url.startswith(objects.join(skip, "")):
            continue
        top = root or (url if inside else url.rpartition("/")[0])
        yield Listed(entry.url, _own_folder(entry.url, top), _seconds(name, entry.size))


def _folder(folder: Path, root: str, skip: str) -> Iterator[Listed | Unlisted]:
    """Songs in and below a folder, as `find_sources` finds them: no hidden files, no output of ours."""
    if str(folder) == skip or manifest.is_ours(folder / manifest.MANIFEST):
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        yield Unlisted(str(folder), error_line(folder, error), reason_of(error))
        return
    manifests = (folder / entry.name for entry in entries if entry.name.endswith(manifest.MANIFEST))
    written = {absolute(str(file)) for path in manifests for file in manifest.files(path)}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(folder / entry.name, root, skip)
        elif Path(entry.name).suffix.lower() in READABLE and entry.path not in written and entry.is_file():
            yield _local(folder / entry.name, entry.stat().st_size, root)


def _local(path: Path, size: int, root: str) -> Listed:
    return Listed(str(path), _own_folder(str(path), root), _seconds(path.name, size))


def _own_folder(place: str, root: str) -> str:
    """The folder relative to `root`, or the complete one outside of it, so that songs of one name do not collide."""
    if objects.is_url(place):
        folder, top = objects.folder(place), objects.folder(objects.join(root, "")) if objects.is_url(root) else ""
        if objects.is_url(root) and objects.bucket(place) != objects.bucket(root):
            return folder
    else:
        folder = Path(place).parent.as_posix()
        top = "/" if objects.is_url(root) else Path(absolute(root)).as_posix()
    if folder == top:
        return ""
    return _clean(folder.removeprefix(top.rstrip("/") + "/"))


def _seconds(name: str, size: int | None) -> float:
    """A song's length, estimated from its size: it only serves to find the longest songs."""
    return _UNKNOWN_S if size is None else size / _BYTES_PER_S[name.lower().endswith(_LOSSLESS)]


def _manifest(place: str, root: str | None) -> Iterator[Listed | Unlisted]:
    """The songs that a manifest lists; one at a URL is downloaded first."""
    top = place.rpartition("/")[0]
    with tempfile.TemporaryDirectory(prefix="hyperstem-") as folder:
        path = Path(place)
        if objects.is_url(place):
            path = Path(folder, objects.file_name(place))
            objects.download(place, path)
        rows = _parquet(path, place) if path.suffix.lower() == ".parquet" else _jsonl(path)
        for number, row in enumerate(rows, 1):
            try:
                yield _row(row, top, root or top)
            except (HyperstemError, OSError) as error:
                yield Unlisted(place, f"{place}, row {number}: {error}", "not listed")


def _row(row: Any, top: str, root: str) -> Listed:
    """One song of a manifest. The file itself is not checked: the worker does that."""
    name = row.get("file") if isinstance(row, Mapping) else None
    if not isinstance(name, str) or not name:
        raise DataError(f'no song in {str(row)[:80]!r}; a row has a "file", its path or URL')
    inside = not objects.is_url(name) and not name.startswith("/")
    place = objects.join(top, name) if inside and objects.is_url(top) else name if not inside else str(Path(top, name))
    place = absolute(place)
    if objects.is_url(place):
        objects.check(place)
    own = _own_folder(place, root)
    folder = row.get("folder")
    seconds, size = _number(row.get("seconds")), _number(row.get("size"))
    return Listed(place, own if folder is None else _clean(folder), seconds or _seconds(place, size or None))


def _clean(folder: object) -> str:
    parts = str(folder).replace(os.sep, "/").split("/")
    if ".." in parts:
        raise ConfigError(f"folder {folder!r} leads out of the output folder")
    return "/".join(part for part in parts if part not in ("", "."))


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e15 else 0


def _jsonl(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for row in file:
            if row.strip():
                try:
                    yield json.loads(row)
                except ValueError:
                    yield os.fsdecode(row.strip())


def _parquet(path: Path, place: str) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise ConfigError(f"{place} needs pyarrow, which is not installed: pip install 'hyperstem[ray]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in COLUMNS if name in file.schema_arrow.names]
            for part in file.iter_batches(batch_size=4096, columns=columns):
                yield from part.to_pylist()
    except ArrowException as error:
        raise DataError(f"{place} is no Parquet file that can be read: {str(error).splitlines()[0]}") from None
