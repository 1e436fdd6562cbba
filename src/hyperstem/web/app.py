"""The studio's web application: pages and API."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route

from hyperstem.web import api_analysis, api_downloads, api_events, api_jobs, api_sound, pages
from hyperstem.web.guard import Guard
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.metrics import Metrics
from hyperstem.web.middleware import AccessLog, HeadRequests
from hyperstem.web.schema import TOKEN
from hyperstem.web.settings import StudioSettings
from hyperstem.web.uploads import UploadError

STATIC = Path(__file__).parent / "static"

DESCRIPTION = """Separate songs into stems and listen to them.

Upload a song with `POST /api/v1/jobs`, follow it with `GET /api/v1/jobs/{id}` or its events, and fetch its stems when
its state is `done`. Errors are JSON: `{"error": "the reason"}`. If the studio was started with a token, send it as
`Authorization: Bearer TOKEN`."""


def create_app(settings: StudioSettings) -> FastAPI:
    """The studio as an ASGI application; its queue starts and stops with it."""
    runner = Runner(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await runner.start()
        try:
            yield
        finally:
            await runner.stop()

    app = FastAPI(
        title="hyperstem studio",
        version=version("hyperstem"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        license_info={"name": "MIT"},
    )
    app.state.settings, app.state.runner, app.state.metrics = settings, runner, Metrics(runner)
    sounds = (api_downloads.router, api_sound.router, api_analysis.router)
    for router in (api_jobs.router, api_events.router, *sounds):
        app.include_router(router, prefix="/api/v1", dependencies=[Security(TOKEN)])
        app.include_router(router, prefix="/api", include_in_schema=False)
    schema = next(route for route in app.routes if isinstance(route, Route) and route.path == app.openapi_url)
    app.add_route("/api/openapi.json", schema.endpoint, include_in_schema=False)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _value_error)
    app.add_exception_handler(UploadError, _upload_error)
    app.add_exception_handler(Exception, _internal_error)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(HeadRequests)
    app.add_middleware(AccessLog, metrics=app.state.metrics)
    return app


def _json_error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _json_error(error.status_code, str(error.detail), dict(error.headers or {}))


async def _value_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _json_error(422, f"{place or 'the request'}: {first['msg']}")


async def _upload_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UploadError)
    # The rest of the upload is not read, so the connection cannot be reused.
    return _json_error(error.status, str(error), {"connection": "close"})


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    return _json_error(500, "internal error; the studio's log has the details")
