"""The options of ``hyperstem separate``."""

import argparse
from pathlib import Path

from hyperstem.cli._arguments import bits_per_second, names, number, place, positive_int, rate, seconds
from hyperstem.cli._progress import MODES
from hyperstem.separation.quality import QUALITIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "inputs", nargs="*", metavar="SONG", help="songs in any format, folders of them, or - for standard input"
    )
    _add_stems(parser.add_argument_group("which stems").add_mutually_exclusive_group())
    _add_files(parser.add_argument_group("the files written"))
    _add_network(parser.add_argument_group("the network"))
    _add_songs(parser.add_argument_group("songs and messages"))
    _add_cluster(parser.add_argument_group("catalogues on many machines (needs hyperstem[ray])"))


def _add_stems(group: argparse._MutuallyExclusiveGroup) -> None:
    add = group.add_argument
    add("--only", "--stems", dest="stems", type=names, metavar="NAMES", help="write only these, e.g. vocals,drums")
    add("--without", type=names, metavar="NAMES", help="write a single file: the song without these, e.g. drums")
    add("--karaoke", action="store_true", help="write two files: vocals, and accompaniment, which is the rest")


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-o", "--output", type=place, default=Path("separated"), metavar="DIR", help="folder (default: %(default)s)")
    add(
        "--format",
        default="wav",
        choices=("wav", "flac", "mp3", "ogg", "opus", "m4a", "stem.mp4"),
        help="(default: %(default)s)",
    )
    add("--bitrate", type=bits_per_second, metavar="RATE", help="of lossy formats, e.g. 320k (default: about 256k)")
    add(
        "--subtype",
        default="pcm16",
        choices=("pcm16", "pcm24", "float"),
        help="samples of wav (all) and flac (not float) (default: %(default)s)",
    )
    add(
        "--clip",
        default="scale",
        choices=("scale", "clamp", "error"),
        help="peaks above full scale: one gain for all stems, clamp, or fail; float files keep them "
        "(default: %(default)s)",
    )
    add("--rate", type=rate, metavar="HZ|input", help="sample rate (default: input)")
    add("--channels", default="input", choices=("input", "mono", "stereo"), help="(default: %(default)s)")
    add("--template", default="{folder}/{track}/{stem}.{ext}", help="names of the files (default: %(default)s)")
    add("--plot", action="store_true", help="also draw picture.png: waveforms and spectrograms (needs hyperstem[plot])")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace files that exist")
    existing.add_argument("--skip-existing", action="store_true", help="skip songs that are done")


def _add_network(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", default="default", metavar="NAME|PATH", help="model name or file (default: %(default)s)")
    add(
        "--quality",
        default="full",
        choices=QUALITIES,
        help="run one, two or all stages of the network, if it has that many (default: %(default)s)",
    )
    add(
        "--segment",
        type=number(0.1, 1e6),
        metavar="S",
        help="seconds the network sees at once (default: what the model was trained on)",
    )
    add(
        "--overlap",
        type=number(0, 0.9),
        metavar="0..0.9",
        help="fraction of a segment crossfaded with the next (default: 0.05)",
    )
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where it runs (default: %(default)s)")
    add("--threads", type=positive_int, metavar="N", help="CPU threads (default: all cores, 8 at most)")


def _add_songs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--files-from",
        metavar="LIST",
        help="also the songs listed in a file, one per line; - for standard input",
    )
    add(
        "--root",
        type=place,
        metavar="DIR",
        help="songs keep their folders relative to it (default: the folder given; for a list the current one)",
    )
    add(
        "--stream",
        type=_stream,
        metavar="N|LANG",
        help="sound stream of files with several: a number from 0, a language or title (default: the file's default)",
    )
    add(
        "--strict",
        action="store_true",
        help="refuse damaged files (default: separate what can be decoded)",
    )
    add("--start", type=seconds, default=0.0, metavar="S", help="begin here, in seconds")
    add("--duration", type=number(0, 1e9, above=True), metavar="S", help="separate this many seconds")
    add("--jobs", type=positive_int, metavar="N", help="songs separated at once (default: 1, with --ray all it can)")
    add("--shard", metavar="I/N", help="only part I of N equal parts, to split the songs among machines")
    add("--json", action="store_true", help="print one JSON record per song on standard output")
    add("--progress", choices=MODES, help="on standard error; auto is a bar on a terminal and lines elsewhere")
    add("--quiet", action="store_true", help="print failures only")


def _stream(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="on Ray: on this machine, or a cluster at HOST:PORT or auto; songs and DIR may be URLs (s3://, gs://, az://)",
    )
    add("--records", choices=("jsonl", "parquet"), help="format of the records of all songs (default: jsonl)")
