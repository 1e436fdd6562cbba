"""What a run writes down as it goes: JSON lines, and TensorBoard's files where it is installed."""

import json
import math
import time
from pathlib import Path
from typing import Any, Self, TextIO


class Journal:
    """Appends records to ``log.jsonl``; a record holds the event's name, the step, the time and the event's values."""

    def __init__(self, folder: Path | None, tensorboard: bool = True) -> None:
        """Writes into `folder`, from the first record on; without one, nothing is written."""
        self._folder, self._tensorboard = folder, tensorboard
        self._file: TextIO | None = None
        self._board: Any = None

    def write(self, event: str, step: int, **values: Any) -> None:
        """Appends one record; numbers that are not finite become null."""
        if self._folder is None:
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = _opened(self._folder / "log.jsonl")
            self._board = _board(self._folder) if self._tensorboard else None
        record = {"event": event, "step": step, "time": int(time.time()), **values}
        self._file.write(json.dumps(_plain(record)) + "\n")
        self._file.flush()
        if self._board is not None and event in ("train", "validation"):
            for name, value in _numbers(values):
                self._board.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._board):
            if file is not None:
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of a run that still count: not those after a step from which it was resumed or before a new start."""
    records: list[dict[str, Any]] = []
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line cut short when the machine went down
        if record["event"] == "resumed":
            records = [earlier for earlier in records if earlier["step"] <= record["step"]]
        if record["event"] == "started":
            records = []
        records.append(record)
    return records


def _opened(path: Path) -> TextIO:
    """A log to append to, its last line ended if it was cut short when the machine went down."""
    held = path.read_bytes() if path.exists() else b""
    file = path.open("a", encoding="utf-8")
    if held and not held.endswith(b"\n"):
        file.write("\n")
    return file


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _numbers(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found.append((f"{prefix}{name}", float(value)))
    return found
