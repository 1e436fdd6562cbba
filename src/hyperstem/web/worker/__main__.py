"""The process that decodes and separates one song; whatever a hostile file does to it, the studio lives on.

It reads one line of JSON from standard input (a `Request`), sets its own limits, and writes one JSON object a line to
standard output: ``format``, ``progress``, ``ready``, and at the end ``done`` or ``failed``. It makes a download instead
where the request holds an order. It ends when its standard input closes.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperstem.config import from_mapping
from hyperstem.errors import HyperstemError
from hyperstem.web.sound.orders import Order
from hyperstem.web.worker.limits import end_with_parent, limit

Send = Callable[[dict[str, Any]], None]
Load = Callable[[str, str], Any]
"""(model, quality) -> Separator."""


@dataclass(frozen=True)
class Request:
    """What the studio asks of one process."""

    folder: str
    source: str
    name: str
    model: str
    quality: str
    max_length_s: float
    memory_bytes: int
    time_limit_s: float
    file_bytes: int
    order: Order | None = None
    """A download to be made of the song, which is separated already."""
    target: str = ""
    """The folder for the download's files."""


def main(load: Load | None = None) -> int:
    """Separates the song that standard input names.

    Args:
        load: how to get a separator; None loads the real one.

    Returns:
        The exit status: 0, also when the song failed in a way that was reported.
    """
    line = _read_line()
    if not line:
        return 2
    send = _take_over_output()
    request = from_mapping(Request, json.loads(line), "worker request")
    limit(request.memory_bytes, request.time_limit_s, request.file_bytes)
    end_with_parent()
    try:
        (_make if request.order else _separate)(request, load or _load, send)
    except MemoryError:
        send(
            {
                "event": "failed",
                "error": f"this song needs more memory than the studio allows one song "
                f"({request.memory_bytes / 2**30:.1f} GiB)",
            }
        )
    except (HyperstemError, OSError) as error:
        send({"event": "failed", "error": _in_words(error, request)})
    return 0


def _read_line() -> bytes:
    """The first line of standard input, nothing read past it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line


def _take_over_output() -> Send:
    """Keeps standard output for reports alone: what libraries print there goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(message: dict[str, Any]) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    return send


def _in_words(error: Exception, request: Request) -> str:
    """The error's message with the song's own name in place of where the studio keeps it."""
    text = str(error) if isinstance(error, HyperstemError) else (getattr(error, "strerror", None) or str(error))
    text = text.removeprefix(f"{request.source}: ")
    return text.replace(request.source, request.name).replace(request.folder, "the studio's folder")


def _load(model: str, quality: str) -> Any:
    from hyperstem.separation.separator import Separator

    return Separator.load(model, quality=quality)  # type: ignore[arg-type]


def _separate(request: Request, load: Load, send: Send) -> None:
    """Decodes the original, then separates it: a preview first where that is faster, then in the quality asked for."""
    from hyperstem.web.worker.separation import decode_original, run_final, run_preview

    folder, source = Path(request.folder), Path(request.source)
    total_s = decode_original(source, folder, request.max_length_s, send)
    separator = load(request.model, request.quality)
    send({"event": "format", "stems": list(separator.stems)})
    if request.quality != "preview":
        preview = load(request.model, "preview")
        if preview.rate_hz < separator.rate_hz:
            run_preview(preview, source, folder, total_s, send)
        del preview
    done = run_final(separator, source, request.name, folder, total_s, send)
    send({"event": "done", **done})


def _make(request: Request, load: Load, send: Send) -> None:
    """Makes a download."""
    from hyperstem.web.worker.downloads import make

    assert request.order is not None
    folder, source, target = Path(request.folder), Path(request.source), Path(request.target)
    separator = load(request.model, request.quality) if request.order.separated else None
    make(request.order, separator, source, request.name, folder, target, send)


if __name__ == "__main__":
    sys.exit(main())
