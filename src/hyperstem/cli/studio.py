"""Open the studio: a local web page that separates songs and plays their stems in a mixer.

It listens on this computer only, unless --host opens it to others, who then need a token: the one in --token-file or
in the environment variable HYPERSTEM_TOKEN, or else one that is generated and printed. Songs and their stems are kept
in --folder until they are too old or the disk quota is reached. The page /docs describes the job API for scripts.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from hyperstem.cli._arguments import path, port, positive, positive_int
from hyperstem.cli._usage import usage

if TYPE_CHECKING:
    from hyperstem.web.settings import StudioSettings

HELP = "separate songs and hear their stems in the browser"
DEFAULT_PORT = 8017


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add(
        "--port",
        type=port,
        metavar="N",
        help=f"port to listen on, 0 for any free one (default: {DEFAULT_PORT}, or a free one if it is taken)",
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, this computer only); with any other, requests need a token",
    )
    add("--token", type=_no_token, help=argparse.SUPPRESS)
    add(
        "--token-file",
        type=path,
        metavar="FILE",
        help="file with the secret that every request must carry (default: HYPERSTEM_TOKEN, else made where needed)",
    )
    add(
        "--public-url",
        metavar="URL",
        help="address, sub path included, that a proxy in front gives the studio; requests then need a token",
    )
    add("--no-browser", action="store_true", help="do not open a browser")
    add("--folder", type=path, metavar="DIR", help="where songs and jobs are kept (default: your data folder)")
    add("--model", default="default", metavar="NAME|PATH", help="model that separates (default: default)")
    add("--jobs", type=positive_int, default=1, metavar="N", help="songs separated at the same time (default: 1)")
    add("--waiting", type=positive_int, default=100, metavar="N", help="songs that may wait (default: 100)")
    add("--max-upload-mb", type=positive, default=1024, metavar="MB", help="largest file taken (default: 1024)")
    add("--max-minutes", type=positive, default=120, metavar="MIN", help="longest song taken (default: 120)")
    add("--memory-gb", type=positive, default=6, metavar="GB", help="memory for one song (default: 6)")
    add("--time-limit", type=positive, default=180, metavar="MIN", help="time for one song (default: 180)")
    add("--keep-days", type=positive, default=7, metavar="DAYS", help="days a song is kept (default: 7)")
    add("--quota-gb", type=positive, default=20, metavar="GB", help="disk space for all songs (default: 20)")
    add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="least that is logged; info has every request and what becomes of songs (default: warning)",
    )
    add("--log-format", choices=("text", "json"), default="text", help="lines of text or of JSON (default: text)")


def _no_token(_: str) -> str:
    """Refuses a token on the command line."""
    raise argparse.ArgumentTypeError(
        "a token given like this can be read by everybody on this computer; put it into the environment variable "
        "HYPERSTEM_TOKEN or a --token-file, or leave it out and one is made"
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
    from hyperstem.web import log

    with usage():
        settings, made = _settings(args)
    store.find(args.model)
    ports = (DEFAULT_PORT, 0) if args.port is None else (args.port,)
    log.set_up(args.log_level, args.log_format)
    return serve(settings, ports, not args.no_browser, show_token=made or sys.stdout.isatty())


def _settings(args: argparse.Namespace) -> "tuple[StudioSettings, bool]":
    """The settings, and whether their token was generated here."""
    from hyperstem.web import tokens
    from hyperstem.web.settings import StudioSettings, default_folder, is_loopback

    given = tokens.read_token(args.token_file)
    needed = args.public_url is not None or not is_loopback(args.host)
    settings = StudioSettings(
        folder=args.folder or default_folder(),
        host=args.host,
        token=given or (tokens.new_token() if needed else None),
        public_url=args.public_url,
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
    return settings, given is None
