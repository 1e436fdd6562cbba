"""Runs a worker process: sends it one request, reads its reports (lines of JSON), and always ends it."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hyperstem.errors import AudioError
from hyperstem.web.settings import StudioSettings
from hyperstem.web.worker.limits import describe_exit, time_limit_message

LINE_BYTES = 1 << 20

Handler = Callable[[dict[str, Any]], Awaitable[None]]


async def run_worker(settings: StudioSettings, request: dict[str, Any], log: Path, handle: Handler) -> None:
    """Runs the settings' worker command on one request.

    Args:
        settings: the command and its limits.
        request: the fields of a `worker.__main__.Request`, without the limits.
        log: file for the process's standard error.
        handle: called with each report in turn, the last one is ``done``; an exception in it ends the process.

    Raises:
        AudioError: it failed, exceeded a limit, or ended without a report; the message says why.
        OSError: it cannot be started.
        ValueError: a report is not valid.
    """
    limits = {
        "max_length_s": float(settings.max_length_s),
        "memory_bytes": settings.memory_bytes,
        "time_limit_s": float(settings.time_limit_s),
        "file_bytes": settings.quota_bytes,
    }
    process = None
    try:
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *settings.worker,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_BYTES,
                start_new_session=True,
            )
        async with asyncio.timeout(settings.time_limit_s):
            await _send(process, {**request, **limits})
            if not await _read_reports(process, handle):
                raise AudioError(describe_exit(await process.wait(), settings))
    except TimeoutError:
        raise AudioError(time_limit_message(settings)) from None
    finally:
        await _kill(process)


async def _send(process: asyncio.subprocess.Process, request: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    with contextlib.suppress(ConnectionError):
        await process.stdin.drain()


async def _read_reports(process: asyncio.subprocess.Process, handle: Handler) -> bool:
    """Passes on the reports; returns whether the last one was ``done``."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        message: dict[str, Any] = json.loads(line)
        event = message["event"]
        if event == "failed":
            raise AudioError(message["error"])
        await handle(message)
        if event == "done":
            return True
    return False


async def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process is None:
        return
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin:
        process.stdin.close()
    await asyncio.shield(process.wait())
