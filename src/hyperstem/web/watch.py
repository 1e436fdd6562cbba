"""Every request seen from outside: its line in the access log, its share of the metrics, and HEAD wherever GET is."""

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from hyperstem.web.guard import App, Receive, Scope, Send
from hyperstem.web.metrics import Metrics

log = logging.getLogger("hyperstem.access")


class Watch:
    """ASGI middleware: times and counts requests and writes them to the access log, without their queries."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, size, first_s = time.perf_counter(), 0, 0, None
        path = scope["path"]

        async def seen(message: MutableMapping[str, Any]) -> None:
            nonlocal status, size, first_s
            if message["type"] == "http.response.start":
                status, first_s = message["status"], time.perf_counter() - begun
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, seen)
        except Exception:
            status = status or 500
            raise
        finally:
            self.metrics.count(scope, status, first_s)
            _note(scope, path, status, size, time.perf_counter() - begun)


def _note(scope: Scope, path: str, status: int, size: int, seconds: float) -> None:
    client, method, milliseconds = (scope.get("client") or ("-",))[0], scope["method"], round(seconds * 1000, 1)
    shown = quote(path)
    fields = {
        "client": client,
        "method": method,
        "path": shown,
        "status": status,
        "bytes": size,
        "ms": milliseconds,
    }
    log.info(
        "%s %s %s %d, %d bytes in %.1f ms",
        client,
        method,
        shown,
        status,
        size,
        milliseconds,
        extra={"fields": fields},
    )


class Head:
    """ASGI middleware: answers HEAD as GET would, without the body."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on; where it is HEAD, only until the answer's headers are there."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        started = asyncio.Event()

        async def headers_only(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                started.set()
            elif started.is_set():
                await asyncio.Event().wait()  # the body is never asked for: the task is cancelled meanwhile

        scope["method"] = "GET"
        answer = asyncio.ensure_future(self.app(scope, receive, headers_only))
        waiting = asyncio.ensure_future(started.wait())
        try:
            await asyncio.wait([answer, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            scope["method"] = "HEAD"
            for task in (answer, waiting):
                task.cancel()
            results = await asyncio.gather(answer, waiting, return_exceptions=True)
        if started.is_set():
            await send({"type": "http.response.body", "body": b""})
        elif isinstance(results[0], BaseException):
            raise results[0]
