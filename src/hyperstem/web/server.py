"""Runs the studio: one folder, one socket, uvicorn on it."""

import contextlib
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import uvicorn

from hyperstem.errors import ConfigError
from hyperstem.web.app import create_app
from hyperstem.web.settings import StudioSettings

SHORT_TOKEN = 16


def serve(settings: StudioSettings, ports: Sequence[int], open_browser: bool, show_token: bool = True) -> int:
    """Serves the studio until interrupted; prints its address once the port is open.

    Args:
        settings: the studio's settings.
        ports: ports to try in turn, 0 for any free one.
        open_browser: whether to open the page.
        show_token: whether the printed address contains the token.

    Raises:
        ConfigError: another studio uses the folder.
        OSError: no port is free.
    """
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again after its shutdown
    with contextlib.suppress(KeyboardInterrupt), _locked(settings.folder), _listen(settings.host, ports) as listener:
        url = page_url(settings, listener.getsockname()[1])
        config = uvicorn.Config(
            create_app(settings),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
            server_header=False,
            limit_concurrency=1000,
            h11_max_incomplete_event_size=64 << 10,
        )
        shown = url if show_token else url.partition("?")[0]
        print(f"hyperstem studio: {shown} (Ctrl-C ends it)", flush=True)
        if settings.token and len(settings.token) < SHORT_TOKEN:
            count = len(settings.token)
            print(f"note: the token has {count} characters; {SHORT_TOKEN} or more are harder to guess", flush=True)
        with _opened(url, settings.folder, open_browser):
            _Server(config).run(sockets=[listener])
    return 0


@contextlib.contextmanager
def _opened(url: str, folder: Path, wanted: bool) -> Iterator[None]:
    """Opens the page in a browser; an address with a token goes through a file, as others can read a program's
    arguments."""
    if not wanted:
        yield
        return
    with contextlib.ExitStack() as stack:
        address = url
        if "?token=" in url:
            page = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=folder, prefix="open-", suffix=".html"))
            page.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">')
            page.flush()
            address = Path(page.name).resolve().as_uri()
        timer = threading.Timer(0.8, webbrowser.open, [address])
        timer.start()
        stack.callback(timer.cancel)
        yield


class _Server(uvicorn.Server):
    """Ends the event streams on shutdown; otherwise it would wait until all clients leave."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.runner.close_streams()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def page_url(settings: StudioSettings, port: int) -> str:
    """The address to open; the page keeps its token in a cookie."""
    query = f"?token={quote(settings.token, safe='')}" if settings.token else ""
    if settings.public_url:
        return settings.public_url.rstrip("/") + "/" + query
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/{query}"


def _listen(host: str, ports: Sequence[int]) -> socket.socket:
    """A listening socket on the first of `ports` that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = OSError("no port to listen on")
    for port in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(256)
            return listener
        except OSError as error:
            listener.close()
            last = OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror or error}")
    raise last


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks `folder` against a second studio, where the system can."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another studio uses {folder}; choose another --folder") from None
        yield
