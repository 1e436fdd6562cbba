"""A process that works for the studio: it is sent one request, reports in lines of JSON, and never outlives its use."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from hyperstem.errors import AudioError
from hyperstem.web.settings import StudioSettings
from hyperstem.web.worker.limits import cause_of, too_slow

LINE_BYTES = 1 << 20


Take = Callable[[dict[str, Any]], Awaitable[None]]


async def work(settings: StudioSettings, request: dict[str, Any], log: Path, take: Take) -> None:
    """Has the settings' worker do what `request` asks, and ends it whatever happens.

    Args:
        settings: the command and its limits.
        request: a `worker.__main__.Request` but for the limits.
        log: file that takes what the process writes to its standard error.
        take: is given every report in turn, the last one is ``done``; what it raises ends the process.

    Raises:
        AudioError: it failed, was ended by a limit, or ended without a word; says why.
        OSError: it cannot be started.
        ValueError: it reports what is no report.
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
            process = await _start(settings.worker, errors)
        async with asyncio.timeout(settings.time_limit_s):
            await _send(process, {**request, **limits})
            if not await _follow(process, take):
                raise AudioError(cause_of(await process.wait(), settings))
    except TimeoutError:
        raise AudioError(too_slow(settings)) from None
    finally:
        await _kill(process)


async def _follow(process: asyncio.subprocess.Process, take: Take) -> bool:
    """Hands on what the process reports, and tells whether it has said that all is done."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        message: dict[str, Any] = json.loads(line)
        event = message["event"]
        if event == "failed":
            raise AudioError(message["error"])
        await take(message)
        if event == "done":
            return True
    return False


async def _start(command: Sequence[str], errors: Any) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=errors, limit=LINE_BYTES, start_new_session=True
    )


async def _send(process: asyncio.subprocess.Process, request: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    with contextlib.suppress(ConnectionError):
        await process.stdin.drain()


async def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process is None:
        return
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin:
        process.stdin.close()
    await asyncio.shield(process.wait())
