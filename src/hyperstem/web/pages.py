"""The pages: the studio, the API reference, health, metrics, and the exchange of the token for a cookie."""

import asyncio
import os
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response, Security
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from hyperstem.web.guard import WRONG_TOKEN_S, cookie_name, host_name, token_is_right
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.schema import TOKEN, Health, Session, errors
from hyperstem.web.settings import StudioSettings

PAGES = Path(__file__).parent / "static"
YEAR_S = 365 * 86400

router = APIRouter()


def _page(name: str, request: Request) -> HTMLResponse:
    text = (PAGES / name).read_text(encoding="utf-8")
    return HTMLResponse(text.replace("{{nonce}}", request.state.nonce))


def _keep_token(request: Request, response: Response, token: str) -> None:
    settings: StudioSettings = request.app.state.settings
    public, host = settings.public, request.headers.get("host", "")
    encrypted = public is not None and public.scheme == "https" and host_name(host) == public.hostname
    response.set_cookie(
        cookie_name(request.scope),
        token,
        max_age=YEAR_S,
        httponly=True,
        samesite="strict",
        secure=encrypted or request.url.scheme == "https",
        path=f"{settings.base}/",
    )


async def _is_right(request: Request, token: str) -> bool:
    """Whether `token` is the studio's; delays the answer if not."""
    right = token.isascii() and token_is_right(request.app.state.settings, token)
    if not right:
        await asyncio.sleep(WRONG_TOKEN_S)
    return right


@router.get("/", include_in_schema=False)
async def index(request: Request, token: str | None = None) -> Response:
    """The studio; ``?token=`` moves the token from the address to a cookie."""
    if token is None or request.app.state.settings.token is None or not await _is_right(request, token):
        return _page("index.html", request)
    response = RedirectResponse(f"{request.scope['root_path']}/", 303)
    _keep_token(request, response, token)
    return response


@router.get("/docs", include_in_schema=False)
@router.get("/api", include_in_schema=False)
def api_description(request: Request) -> HTMLResponse:
    """The API reference."""
    return _page("docs.html", request)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """The icon."""
    return Response((PAGES / "icon.svg").read_bytes(), media_type="image/svg+xml")


@router.get("/healthz", tags=["studio"], responses={503: {"model": Health, "description": "It is not healthy."}})
def health(request: Request, response: Response) -> Health:
    """Whether the studio is healthy: its queue runs and its folder is writable. Needs no token."""
    runner: Runner = request.app.state.runner
    if not runner.is_alive:
        status = "the queue has stopped"
    elif not os.access(runner.jobs.folder, os.W_OK):
        status = "the studio's folder is not writable"
    else:
        return Health(status="ok")
    response.status_code = 503
    return Health(status=status)


@router.get(
    "/metrics", tags=["studio"], response_class=PlainTextResponse, responses=errors(), dependencies=[Security(TOKEN)]
)
def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.post("/api/session", include_in_schema=False, status_code=204, response_class=Response)
@router.post("/api/v1/session", tags=["studio"], status_code=204, response_class=Response, responses=errors(400))
async def open_session(session: Session, request: Request) -> Response:
    """Exchanges the token for a cookie, for pages that cannot send headers."""
    if not await _is_right(request, session.token):
        raise HTTPException(401, "this is not the studio's token")
    response = Response(status_code=204)
    if request.app.state.settings.token is not None:
        _keep_token(request, response, session.token)
    return response
