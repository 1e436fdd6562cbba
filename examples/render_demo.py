"""Renders demo.ogg: half a minute of the built-in band, the song that the README separates.

python examples/render_demo.py            # writes examples/demo.ogg
python examples/render_demo.py --stems DIR  # also its true stems, as DIR/drums.flac, ...
python examples/render_demo.py --studio     # also the studio's smaller copy of it
"""

import argparse
from pathlib import Path

import soundfile
import soxr

from hyperstem import audio
from hyperstem.synth import render_song

SEED, SECONDS, RATE_HZ, STYLE = 2017, 30.0, 44100, "pop"
STUDIO = Path(__file__).parents[1] / "src" / "hyperstem" / "web" / "static" / "demo.opus"
STUDIO_RATE_HZ = 48000
TAGS = {
    "title": "Half a Minute",
    "artist": "The hyperstem band",
    "copyright": "CC0 1.0",
    "comment": "Rendered by examples/render_demo.py",
}


def main() -> None:
    """Renders the song and writes it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("demo.ogg"), help="the mixture")
    parser.add_argument("--stems", type=Path, metavar="DIR", help="also write the four stems there")
    parser.add_argument("--studio", action="store_true", help=f"also write {STUDIO.name} of the studio's page")
    args = parser.parse_args()
    stems = render_song(SEED, SECONDS, RATE_HZ, style=STYLE)
    song = sum(stems.values())
    audio.write(args.output, song, RATE_HZ, tags=TAGS)
    if args.studio:
        small = soxr.resample(song.T, RATE_HZ, STUDIO_RATE_HZ)
        soundfile.write(STUDIO, small, STUDIO_RATE_HZ, format="OGG", subtype="OPUS", compression_level=0.8)
    if args.stems:
        args.stems.mkdir(parents=True, exist_ok=True)
        for stem, wave in stems.items():
            audio.write(args.stems / f"{stem}.flac", wave, RATE_HZ)


if __name__ == "__main__":
    main()
