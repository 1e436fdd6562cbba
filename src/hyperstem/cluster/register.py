"""What a run must know of all songs at once, on disk: names in use, songs seen, songs done by earlier runs."""

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

from hyperstem.cluster import objects
from hyperstem.cluster.catalogue import Listed, Unlisted
from hyperstem.errors import ConfigError
from hyperstem.separation import names
from hyperstem.separation.sharding import Shard
from hyperstem.separation.tasks import BatchSettings, name_below, task_of, track_fields

_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE taken (name TEXT PRIMARY KEY, next INTEGER) WITHOUT ROWID;
CREATE TABLE earlier (place TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT) WITHOUT ROWID;
"""


class Song(NamedTuple):
    """One song of the catalogue, with the name of its stems."""

    place: str
    """Absolute path or URL."""
    folder: str
    track: str
    seconds: float
    """Its length, or an estimate."""
    stamp: str = ""
    """Stamp of the file when an earlier run separated it."""
    sha256: str = ""
    """SHA-256 of the file with that stamp."""


class Register:
    """Names the songs of a catalogue; its table is a temporary file.

    Args:
        settings: how stems are written.
        stems: names of the model's stems.

    Raises:
        ConfigError: the template gives all songs the same names.
    """

    def __init__(self, settings: BatchSettings, stems: tuple[str, ...]) -> None:
        if "track" not in track_fields(settings):
            raise ConfigError(f"template {settings.template!r} has no {{track}}; all songs would be one")
        self._settings, self._stems = settings, stems
        self._folder = tempfile.TemporaryDirectory(prefix="hyperstem-")
        self._table = sqlite3.connect(Path(self._folder.name, "songs.sqlite"), check_same_thread=False)
        self._table.executescript(_TABLES)

    def remember(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds the records of songs that earlier runs separated."""
        found = ([record.get(name) for name in ("file", "stamp", "source_sha256")] for record in records)
        rows = (
            [_text(str(text)) for text in row] for row in found if all(isinstance(text, str) and text for text in row)
        )
        self._table.executemany("INSERT OR REPLACE INTO earlier VALUES (?, ?, ?)", rows)

    def named(self, listing: Iterable[Listed | Unlisted], shard: Shard) -> Iterator[Song | Unlisted]:
        """The shard's songs, each once. Songs whose names would collide get -2, -3, ... in the order listed, the same
        in every shard; every shard reports what cannot be listed."""
        for item in listing:
            if isinstance(item, Unlisted):
                yield item
            elif self._is_new(item.place):
                track, name = self._name(item)
                if shard.holds(name):
                    yield Song(item.place, item.folder, track, item.seconds, *self._earlier(item.place))

    def _is_new(self, place: str) -> bool:
        digest = hashlib.sha256(_text(place).encode()).digest()[:12]
        return self._table.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def _earlier(self, place: str) -> tuple[str, str]:
        row = self._table.execute("SELECT stamp, sha256 FROM earlier WHERE place = ?", (_text(place),)).fetchone()
        return row or ("", "")

    def _name(self, item: Listed) -> tuple[str, str]:
        """An unused track name, and the name of its manifest below the output folder."""
        source = Path(objects.file_name(item.place) if objects.is_url(item.place) else item.place)
        plain = names.track_name(source)
        first = self._key(source, plain, item.folder)
        found = self._table.execute("SELECT next FROM taken WHERE name = ?", (first,)).fetchone()
        for number in count(found[0] if found else 1):
            track = plain if number == 1 else f"{plain}-{number}"
            key = self._key(source, track, item.folder)
            if self._table.execute("INSERT OR IGNORE INTO taken VALUES (?, 2)", (key,)).rowcount:
                break
        self._table.execute("UPDATE taken SET next = ? WHERE name = ?", (number + 1, first))
        return track, key

    def _key(self, source: Path, track: str, folder: str) -> str:
        task = task_of(source, track, folder, self._settings, self._stems)
        return _text(name_below(task, self._settings))

    def close(self) -> None:
        """Removes the file."""
        self._table.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _text(place: str) -> str:
    """Text for the table: file names may be any bytes, but the table needs valid Unicode."""
    return place if place.isascii() else json.dumps(place)
