"""ASGI middleware: the access log with the metrics, and HEAD requests."""

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from hyperstem.web.guard import App, Receive, Scope, Send
from hyperstem.web.metrics import Metrics

log = logging.getLogger("hyperstem.access")


class AccessLog:
    """Logs, times and counts requests, without their query strings."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, size, first_s = time.perf_counter(), 0, 0, None
        path = scope["path"]

        async def counted_send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, size, first_s
            if message["type"] == "http.response.start":
                status, first_s = message["status"], time.perf_counter() - begun
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, counted_send)
        except Exception:
            status = status or 500
            raise
        finally:
            self.metrics.count(scope, status, first_s)
            _log_request(scope, path, status, size, time.perf_counter() - begun)


def _log_request(scope: Scope, path: str, status: int, size: int, seconds: float) -> None:
    values = ((scope.get("client") or ("-",))[0], scope["method"], quote(path), status, size, round(seconds * 1000, 1))
    fields = dict(zip(("client", "method", "path", "status", "bytes", "ms"), values, strict=True))
    log.info("%s %s %s %d, %d bytes in %.1f ms", *values, extra={"fields": fields})


class HeadRequests:
    """Answers HEAD like GET, without the body."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on one request; a HEAD request only until the response's headers are sent."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        started = asyncio.Event()

        async def headers_only(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                started.set()
            elif started.is_set():
                await asyncio.Event().wait()  # never returns: the task is cancelled

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
