"""Render multitrack songs with the built-in band: OUT/<song>/drums, bass, other, vocals, ready to train on.

The band composes and plays original music from a seed: the same seed gives the same files. Every song carries
song.json: its seed, settings, style, key and form.
"""

import argparse
from pathlib import Path

from hyperstem.cli._arguments import number, positive, positive_int, whole
from hyperstem.cli._usage import UsageError, usage

HELP = "render multitrack songs to train on, from a seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the songs")
    parser.add_argument(
        "--songs", type=positive_int, metavar="N", help="how many (default: 8, or as many as --minutes needs)"
    )
    parser.add_argument("--minutes", type=positive, metavar="M", help="minutes of music in all")
    parser.add_argument(
        "--seconds",
        type=number(1, 3600),
        metavar="S",
        help="length of a song (default: 75; with --songs and --minutes what they make)",
    )
    parser.add_argument(
        "--seed", type=whole(0, (1 << 32) - 1), default=0, metavar="N", help="another seed, other songs (default: 0)"
    )
    parser.add_argument(
        "--rate", type=whole(8000, 96_000), default=44100, metavar="HZ", help="sample rate (default: 44100)"
    )
    parser.add_argument(
        "--format",
        choices=("flac", "wav", "ogg", "opus"),
        default="flac",
        help="opus needs --rate 48000 (default: flac)",
    )
    parser.add_argument(
        "-j", "--jobs", type=positive_int, default=1, metavar="N", help="songs rendered at the same time (default: 1)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no report and no progress")


def run(args: argparse.Namespace) -> int:
    """Renders the songs."""
    import time

    from tqdm import tqdm

    from hyperstem import audio
    from hyperstem.errors import AudioError, ConfigError
    from hyperstem.synth.library import Rendered, SynthConfig, render_songs, songs_for

    seconds, songs = args.seconds, args.songs
    if args.minutes is not None and songs is not None and seconds is not None:
        raise UsageError("give two of --songs, --seconds and --minutes; the third follows")
    if args.minutes is not None and songs is not None:
        seconds = args.minutes * 60 / songs
    seconds = 75.0 if seconds is None else seconds
    if songs is None:
        songs = 8 if args.minutes is None else songs_for(args.minutes, seconds)
    with usage(ConfigError, AudioError):
        config = SynthConfig(songs, seconds, args.seed, args.rate, args.format)
        audio.named_format(config.format).check(config.rate_hz, 2, "pcm16")
    began = time.perf_counter()
    with tqdm(total=songs, unit="song", disable=args.quiet or None, leave=False) as bar:

        def show(done: int, total: int, song: Rendered) -> None:
            bar.set_postfix_str(song.folder.name, refresh=False)
            bar.update()

        rendered = render_songs(args.output, config, args.jobs, show)
    if not args.quiet:
        new = [item for item in rendered if not item.kept]
        cpu_s = sum(item.cpu_s for item in new)
        speed = f", {sum(item.seconds for item in new) / cpu_s:.1f}x real time per core" if cpu_s else ""
        minutes = sum(item.seconds for item in rendered) / 60
        print(
            f"{len(new)} songs rendered, {len(rendered) - len(new)} kept, {minutes:.1f} minutes in {args.output} "
            f"({time.perf_counter() - began:.0f} s{speed})"
        )
    return 0
