"""Open the studio: a local web page that separates songs and plays their stems in a mixer.

It listens on this computer only, unless --host opens it to others, which needs a --token. Songs and their stems are
kept in --folder until they are too old or the disk quota is reached. The page /docs describes the job API for scripts.
"""

import argparse
from typing import TYPE_CHECKING

from hyperstem.cli._arguments import path, port, positive, positive_int
from hyperstem.cli._usage import usage

if TYPE_CHECKING:
    from hyperstem.web.settings import StudioSettings

HELP = "separate songs and hear their stems in the browser"
DEFAULT_PORT = 8017


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--port",
        type=port,
        metavar="N",
        help=f"port to listen on, 0 for any free one (default: {DEFAULT_PORT}, or a free one if it is taken)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, this computer only); any other needs --token",
    )
    parser.add_argument("--token", metavar="T", help="secret that every request must carry")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument(
        "--folder", type=path, metavar="DIR", help="where songs and jobs are kept (default: your data folder)"
    )
    parser.add_argument(
        "--model", default="default", metavar="NAME|PATH", help="model that separates (default: default)"
    )
    parser.add_argument(
        "--jobs", type=positive_int, default=1, metavar="N", help="songs separated at the same time (default: 1)"
    )
    parser.add_argument(
        "--waiting", type=positive_int, default=100, metavar="N", help="songs that may wait (default: 100)"
    )
    parser.add_argument(
        "--max-upload-mb", type=positive, default=1024, metavar="MB", help="largest file taken (default: 1024)"
    )
    parser.add_argument(
        "--max-minutes", type=positive, default=120, metavar="MIN", help="longest song taken (default: 120)"
    )
    parser.add_argument("--memory-gb", type=positive, default=6, metavar="GB", help="memory for one song (default: 6)")
    parser.add_argument(
        "--time-limit", type=positive, default=180, metavar="MIN", help="time for one song (default: 180)"
    )
    parser.add_argument(
        "--keep-days", type=positive, default=7, metavar="DAYS", help="days a song is kept (default: 7)"
    )
    parser.add_argument(
        "--quota-gb", type=positive, default=20, metavar="GB", help="disk space for all songs (default: 20)"
    )


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted."""
    try:
        from hyperstem.web.server import serve
    except ImportError as error:
        from hyperstem.errors import ConfigError

        raise ConfigError(
            f"the studio needs the extra 'web' ({error.name} is missing): pip install 'hyperstem[web]'"
        ) from None
    from hyperstem.models import store

    with usage():
        settings = _settings(args)
    store.find(args.model)
    ports = (DEFAULT_PORT, 0) if args.port is None else (args.port,)
    return serve(settings, ports, open_browser=not args.no_browser)


def _settings(args: argparse.Namespace) -> "StudioSettings":
    from hyperstem.web.settings import StudioSettings, default_folder

    return StudioSettings(
        folder=args.folder or default_folder(),
        host=args.host,
        token=args.token,
        model=args.model,
        running=args.jobs,
        waiting=args.waiting,
        max_upload_bytes=int(args.max_upload_mb * 2**20),
        max_length_s=args.max_minutes * 60,
        memory_bytes=int(args.memory_gb * 2**30),
        time_limit_s=args.time_limit * 60,
        keep_days=args.keep_days,
        quota_bytes=int(args.quota_gb * 2**30),
    )
