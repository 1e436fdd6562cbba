"""One record per song, in parts beside the stems: JSON lines or Parquet. Each part appears complete, and later runs
read them, so that a run continues where another ended."""

import json
import secrets
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from hyperstem.cluster import objects
from hyperstem.files import replacing

FOLDER = "_records"
"""Folder of the parts below the destination."""
PART_RECORDS = 1000
"""Records per part."""
_EVERY_S = 10.0
"""Interval at which an incomplete part is rewritten; a run that is killed loses at most the records since."""
Kind = Literal["jsonl", "parquet"]


class Records:
    """Collects a run's records.

    Args:
        destination: the folder or URL of the stems.
        kind: file format of the parts.
    """

    def __init__(self, destination: str, kind: Kind = "jsonl") -> None:
        self._place = place(destination)
        self._kind: Kind = kind
        self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        self._part, self._rows, self._written, self._at = 1, [], 0, time.monotonic()

    def add(self, record: dict[str, Any]) -> None:
        """Appends a record; writes the part at intervals.

        Raises:
            OSError: it cannot be written.
        """
        self._rows.append(record)
        if len(self._rows) >= PART_RECORDS:
            self.flush()
            self._part, self._rows, self._written = self._part + 1, [], 0
        elif time.monotonic() - self._at > _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Writes the part as it is now.

        Raises:
            OSError: it cannot be written.
        """
        self._at = time.monotonic()
        if len(self._rows) == self._written:
            return
        data = _jsonl(self._rows) if self._kind == "jsonl" else _parquet(self._rows)
        path = objects.join(self._place, f"{self._run}-{self._part:05}.{self._kind}")
        if objects.is_url(path):
            objects.write(data, path)
        else:
            with replacing(Path(path)) as temporary:
                temporary.write_bytes(data)
        self._written = len(self._rows)


def place(destination: str) -> str:
    """The folder or URL of the records of a destination."""
    return objects.join(destination, FOLDER)


def earlier(destination: str) -> Iterator[dict[str, Any]]:
    """All records of earlier runs into a destination. Unreadable ones are ignored, because manifests decide.

    Raises:
        OSError: the store does not answer.
    """
    for name, data in _parts(place(destination)):
        yield from _read_parquet(data) if name.endswith(".parquet") else _read_jsonl(data)


def _parts(folder: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part, oldest first."""
    if not objects.is_url(folder):
        for path in sorted(Path(folder).glob("[!.]*")):
            yield path.name, path.read_bytes()
        return
    try:
        for entry in objects.entries(folder + "/"):
            yield entry.url, objects.read(entry.url) or b""
    except FileNotFoundError:
        return


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("ascii")


def _read_jsonl(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float64()
    types = {
        "file": text,
        "folder": text,
        "status": text,
        "error": text,
        "reason": text,
        "stems": pyarrow.map_(text, text),
        "seconds": number,
        "elapsed_s": number,
        "real_time_factor": number,
        "peak": number,
        "gain": number,
        "rate_hz": pyarrow.int64(),
        "frames": pyarrow.int64(),
        "warnings": pyarrow.list_(text),
        "source_sha256": text,
        "manifest": text,
        "model": text,
        "model_sha256": text,
        "stamp": text,
        "host": text,
        "tries": pyarrow.int64(),
    }
    columns = {
        name: pyarrow.array([_value(row.get(name)) for row in rows], kind, from_pandas=False)
        for name, kind in types.items()
    }
    target = BytesIO()
    parquet.write_table(pyarrow.table(columns), target)
    return target.getvalue()


def _value(value: Any) -> Any:
    """The value as Arrow accepts it: maps as pairs, and only valid UTF-8."""
    if isinstance(value, dict):
        return [(_value(key), _value(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _read_parquet(data: bytes) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        yield from parquet.read_table(BytesIO(data), columns=["file", "status", "stamp", "source_sha256"]).to_pylist()
    except (pyarrow.ArrowException, OSError):
        return
