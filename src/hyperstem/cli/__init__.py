"""The command line: one module per subcommand, each with ``HELP``, ``add_arguments(parser)`` and ``run(args) -> int``.

The command modules import nothing heavy at their top; numpy, onnxruntime and torch are imported inside ``run``.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from hyperstem.cli._usage import Parser, UsageError, did_you_mean
from hyperstem.errors import HyperstemError

_TRAINING = ("torch", "safetensors", "onnx")
"""Packages that the base install does not include."""


def command_names() -> list[str]:
    """Names of the subcommands: one per public module in this package."""
    here = Path(__file__).parent
    return sorted(path.stem.replace("_", "-") for path in here.glob("[!_]*.py"))


def build_parser(only: str | None = None) -> Parser:
    """The complete parser, or, to start faster, one with only the subcommand `only`."""
    parser = Parser(
        prog="hyperstem",
        usage="hyperstem SONG... [options]\n       hyperstem COMMAND ...",
        description="Separate music into its stems with Meta-TasNet. Without a command, separate is meant.",
        epilog="hyperstem COMMAND --help tells the options of a command.",
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="hyperstem")
    for name in [only] if only else command_names():
        module = import_module(f"hyperstem.cli.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        command.set_defaults(run=module.run, parser=command)
        module.add_arguments(command)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments; wrong usage ends the program with one line and status 2."""
    argv = _with_command(list(argv))
    only = argv[0] if argv and argv[0] in command_names() else None
    parser = build_parser(only)
    if not argv:
        parser.error("nothing to do; expected a song or a command")
    if only is None and not argv[0].startswith("-"):
        parser.error(f"no command and no file {argv[0]!r}{did_you_mean(argv[0], command_names())}")
    args, others = parser.parse_known_args(argv)
    if others and hasattr(args, "inputs") and not any(word.startswith("-") for word in others):
        args.inputs += others  # songs may come after options too
    elif others:
        args.parser.refuse(next(([word] for word in others if word.startswith("-")), others))
    return args


def _with_command(argv: list[str]) -> list[str]:
    """The arguments with a command in front: `separate` if there is none and the first may be a song or an option."""
    if not argv or argv[0] in (*command_names(), "-h", "--help", "--version"):
        return argv
    first = argv[0]
    may_be_song = first.startswith("-") or any(mark in first for mark in "./\\~") or Path(first).exists()
    return ["separate", *argv] if may_be_song else argv


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Returns:
        The exit status: 0 done, 1 failed (one line on standard error says why), 130 interrupted.

    Raises:
        SystemExit: with status 2, wrong usage (one line on standard error says what); with 0, after --help.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be any bytes; standard error does so already
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("hyperstem: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        return args.parser.error(str(error))
    except HyperstemError as error:
        print(f"hyperstem: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"hyperstem: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get("HYPERSTEM_DEBUG"):
            raise
        print(f"hyperstem: {_unexpected(error, args.command)}", file=sys.stderr)
        return 1


def _unexpected(error: Exception, command: str) -> str:
    """The message for an unexpected error."""
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module in _TRAINING:
        return f"{command} needs {module}, which is not installed: pip install 'hyperstem[train]'"
    return f"internal error: {type(error).__name__}: {error} (set HYPERSTEM_DEBUG=1 for the traceback)"


class _Version(argparse.Action):
    """Prints the version; the package metadata is read only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"hyperstem {version('hyperstem')}")
        parser.exit()
