"""Access control: checks Host, Origin and token of every request, and adds security headers to every response."""

import asyncio
import functools
import hmac
import json
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

from starlette.requests import HTTPConnection

from hyperstem.web.settings import StudioSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

WRONG_TOKEN_S = 0.5
"""Delay after a wrong token, against guessing."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
UPLOAD_PATHS = ("/api/v1/jobs", "/api/jobs")
SMALL_BODY_BYTES = 64 << 10
"""Largest body of a request that is not an upload."""
OPEN_PATHS = ("/api/v1/session", "/api/session")
"""Paths under /api/ without a token."""
SECRET_PATHS = ("/metrics",)
"""Paths outside /api/ that need the token."""
HOME_ENDINGS = (".local", ".lan", ".home", ".internal", ".localdomain", ".home.arpa", ".fritz.box", ".speedport.ip")
"""Endings of host names that home routers and multicast DNS assign; nobody can register them publicly."""

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), interest-cohort=()",
}


def content_policy(nonce: str) -> str:
    """The Content-Security-Policy: everything from this server, no inline scripts, inline styles only with `nonce`.

    WebAssembly is allowed, for the time stretcher; `eval` is not.
    """
    return (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
        f"style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def host_name(header: str) -> str:
    """The name in a Host header, without its port, in lower case; empty if it is malformed."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?", header.strip())
    return match[1].strip("[]").lower() if match else ""


def host_is_allowed(header: str, settings: StudioSettings) -> bool:
    """Whether the Host header names this studio; this stops DNS rebinding.

    Allowed are this computer's names, the public URL's, and, if other computers have access, IP addresses, which cannot
    be rebound. With a token, which an attacker's page does not have, names of a home network are allowed too.
    """
    name = host_name(header)
    if not name:
        return False
    if settings.public and _authority(settings.public.scheme, header) == _authority(*settings.public[:2]):
        return True
    if name in {"localhost", "127.0.0.1", "::1", settings.host.lower()}:
        return True
    if settings.token and _is_home_name(name):
        return True
    return not settings.is_loopback and (name in _own_names() or _is_address(name))


def origin_is_allowed(origin: str, host: str, settings: StudioSettings) -> bool:
    """Whether `origin` is this studio, under the request's host name or its public URL."""
    scheme, _, rest = origin.partition("://")
    if scheme not in ("http", "https"):
        return False
    public = settings.public
    if public and scheme == public.scheme and _authority(scheme, rest) == _authority(*public[:2]):
        return True
    return rest.lower() == host.strip().lower()


def _authority(scheme: str, authority: str) -> str:
    """Host and port, normalised: lower case, without the scheme's default port."""
    return authority.strip().lower().removesuffix({"http": ":80", "https": ":443"}[scheme])


def _is_home_name(name: str) -> bool:
    own = socket.gethostname().lower().partition(".")[0]
    return "." not in name or name.endswith(HOME_ENDINGS) or name.partition(".")[0] == own


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@functools.cache
def _own_names() -> frozenset[str]:
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


class Guard:
    """ASGI middleware: refuses forbidden requests, and adds security headers to responses."""

    def __init__(self, app: App, settings: StudioSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request or passes it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce
        path = self._strip_base(scope)
        headers = {name.lower(): value.decode("latin-1") for name, value in reversed(scope["headers"])}

        async def send_secured(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._secured(message.get("headers", []), nonce)}
            await send(message)

        if not path:  # without its last slash, the page's relative addresses would be wrong
            location = [(b"location", f"{self.settings.base}/".encode()), (b"content-length", b"0")]
            await send_secured({"type": "http.response.start", "status": 308, "headers": location})
            await send_secured({"type": "http.response.body", "body": b""})
        elif refusal := self._refusal(scope, path, headers):
            if refusal[0] == 401 and _given_token(scope, headers):
                await asyncio.sleep(WRONG_TOKEN_S)
            await _answer(send_secured, *refusal)
        else:
            await self.app(scope, receive, send_secured)

    def _strip_base(self, scope: Scope) -> str:
        """The path below the public URL's, which a proxy may have removed; `scope` then contains both."""
        path, base = scope["path"], self.settings.base
        if base and not path.startswith(base + "/") and path != base:
            scope["path"] = base + path
        scope["root_path"] = base
        return scope["path"].removeprefix(base)

    def _secured(self, headers: list[tuple[bytes, bytes]], nonce: str) -> list[tuple[bytes, bytes]]:
        extra = {**HEADERS, b"content-security-policy": content_policy(nonce).encode()}
        if not any(name.lower() == b"cache-control" for name, _ in headers):
            extra[b"cache-control"] = b"no-store"
        return [*headers, *extra.items()]

    def _refusal(self, scope: Scope, path: str, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if not host_is_allowed(host, self.settings):
            return 403, f"this studio does not serve the host name {host_name(host) or '(none)'!r}"
        origin = headers.get(b"origin")
        foreign = origin is not None and not origin_is_allowed(origin, host, self.settings)
        cross_site = headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign or (cross_site and (scope["method"] not in SAFE_METHODS or path.startswith("/api/"))):
            return 403, "requests from other sites are refused"
        secret = (path.startswith("/api/") and path not in OPEN_PATHS) or path in SECRET_PATHS
        if self.settings.token and secret and not token_is_right(self.settings, _given_token(scope, headers)):
            return 401, "a token is needed: send it as 'Authorization: Bearer TOKEN'"
        if path not in UPLOAD_PATHS:
            if b"transfer-encoding" in headers:
                return 411, "the request needs a content-length header"
            if int(headers.get(b"content-length", "0") or 0) > SMALL_BODY_BYTES:
                return 413, f"the body of this request may have at most {SMALL_BODY_BYTES} bytes"
        return None


def token_is_right(settings: StudioSettings, given: str) -> bool:
    """Whether `given` is the studio's token, compared in constant time."""
    return settings.token is None or hmac.compare_digest(given.encode(), settings.token.encode())


def cookie_name(scope: Scope) -> str:
    """Name of the token's cookie; it contains the port, because browsers share cookies between the ports of a host."""
    return f"hyperstem_token_{(scope.get('server') or ('', 0))[1]}"


def _given_token(scope: Scope, headers: dict[bytes, str]) -> str:
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return HTTPConnection(scope).cookies.get(cookie_name(scope), "")


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
