"""The log of a run: JSON lines, and files for TensorBoard if it is installed."""

import json
import math
import time
from pathlib import Path
from typing import Any, Self, TextIO


class Journal:
    """Appends records to ``log.jsonl``: event, step, time and the event's values.

    Args:
        folder: folder of the log, created with the first record; None writes nothing.
        tensorboard: whether to write files for TensorBoard too.
    """

    def __init__(self, folder: Path | None, tensorboard: bool = True) -> None:
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
    """The records of a run, without those after the step from which it was resumed or before it started anew."""
    records: list[dict[str, Any]] = []
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line that is incomplete because the machine went down
        if record["event"] == "resumed":
            records = [earlier for earlier in records if earlier["step"] <= record["step"]]
        if record["event"] == "started":
            records = []
        records.append(record)
    return records


def _opened(path: Path) -> TextIO:
    """A log to append to, on a new line even if the last one is incomplete because the machine went down."""
    incomplete = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    file = path.open("a", encoding="utf-8")
    file.write("\n" if incomplete else "")
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
    """All finite numbers in nested values, with their keys joined by slashes."""
    numbers = []
    for name, value in values.items():
        if isinstance(value, dict):
            numbers += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            numbers.append((f"{prefix}{name}", float(value)))
    return numbers
