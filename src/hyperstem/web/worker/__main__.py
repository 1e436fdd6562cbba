"""The process that decodes and separates one song, so that a hostile file cannot harm the studio.

It reads one line of JSON from standard input (a `Request`), limits itself, and writes one JSON object per line to
standard output: ``format``, ``progress``, ``ready``, and finally ``done`` or ``failed``. If the request contains an
order, it renders that download instead. It ends when its standard input closes.
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
from hyperstem.web.worker.limits import end_with_parent, limit_process

Send = Callable[[dict[str, Any]], None]
Load = Callable[[str, str], Any]
"""(model, quality) -> Separator."""


@dataclass(frozen=True)
class Request:
    """A song to separate, or a download to render, and the limits."""

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
    """A download to render from the separated song."""
    target: str = ""
    """The folder for the download's files."""


def main(load: Load | None = None) -> int:
    """Handles the request on standard input.

    Args:
        load: loads a separator; None loads the real one.

    Returns:
        The exit status: 0, also if the song failed and that was reported.
    """
    line = _read_line()
    if not line:
        return 2
    send = _redirect_output()
    request = from_mapping(Request, json.loads(line), "worker request")
    limit_process(request.memory_bytes, request.time_limit_s, request.file_bytes)
    end_with_parent()
    try:
        (_run_download if request.order else _separate)(request, load or _load, send)
    except MemoryError:
        allowed = f"{request.memory_bytes / 2**30:.1f} GiB"
        send({"event": "failed", "error": f"this song needs more memory than the studio allows one song ({allowed})"})
    except (HyperstemError, OSError) as error:
        send({"event": "failed", "error": _message(error, request)})
    return 0


def _read_line() -> bytes:
    """The first line of standard input, without reading beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line


def _redirect_output() -> Send:
    """Reserves standard output for reports: what libraries print there goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(message: dict[str, Any]) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    return send


def _message(error: Exception, request: Request) -> str:
    """The error's message, with the song's name in place of the studio's paths."""
    text = str(error) if isinstance(error, HyperstemError) else (getattr(error, "strerror", None) or str(error))
    text = text.removeprefix(f"{request.source}: ")
    return text.replace(request.source, request.name).replace(request.folder, "the studio's folder")


def _load(model: str, quality: str) -> Any:
    from hyperstem.separation.separator import Separator

    return Separator.load(model, quality=quality)  # type: ignore[arg-type]


def _separate(request: Request, load: Load, send: Send) -> None:
    """Decodes the original, separates a preview if that is faster, then separates in the requested quality."""
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


def _run_download(request: Request, load: Load, send: Send) -> None:
    from hyperstem.web.worker.downloads import make_download

    assert request.order is not None
    folder, source, target = Path(request.folder), Path(request.source), Path(request.target)
    separator = load(request.model, request.quality) if request.order.separated else None
    make_download(request.order, separator, source, request.name, folder, target, send)


if __name__ == "__main__":
    sys.exit(main())
