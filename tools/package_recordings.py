"""Recordings that install by package name, as folders of solo files to train on.

python tools/package_recordings.py FOLDER [--packages ROOT]

FOLDER/orchestra: pieces of Debian's wesnoth-1.16-music in which no drums are heard. FOLDER/speech: the dialogues of
its fillets-ng-data, fillets-ng-data-cs and fillets-ng-data-nl, those of each level and language joined. FOLDER/words:
letters, syllables and words in 30 languages, of its klettres-data, ktuberling-data and tuxpaint-stamps-default, those
of each program and language joined. All of them are under the GPL, version 2 or later. FOLDER/guitars: the guitars of
its fretsonfire-songs-muldjord and -sectoid, which that game keeps in files of their own; CC BY-SA 3.0.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import resample
from hyperstem.errors import AudioError

MUSIC, SPEECH = "usr/share/games/wesnoth/1.16/data/core/music", "usr/share/games/fillets-ng/sound"
PIECES = (
    "battle",
    "battle-epic",
    "breaking_the_chains",
    "defeat",
    "defeat2",
    "elf-land",
    "heroes_rite",
    "knalgan_theme",
    "main_menu",
    "nunc_dimittis",
    "return_to_wesnoth",
    "revelation",
    "sad",
    "silvan_sanctuary",
    "the_city_falls",
    "the_deep_path",
    "the_king_is_dead",
    "transience",
    "underground",
    "victory2",
)
SONGS = "usr/share/games/fretsonfire/data/songs"
LANGUAGES = ("cs", "en", "nl")
LETTERS, WORDS, STAMPS = "usr/share/klettres", "usr/share/ktuberling/sounds", "usr/share/tuxpaint/stamps"
PACKAGES = {
    "wesnoth-1.16-music": MUSIC,
    "fillets-ng-data": SPEECH,
    "fillets-ng-data-cs": f"{SPEECH}/airplane/cs",
    "fillets-ng-data-nl": f"{SPEECH}/airplane/nl",
    "fretsonfire-songs-muldjord": f"{SONGS}/muldjord",
    "fretsonfire-songs-sectoid": f"{SONGS}/sectoid",
    "klettres-data": LETTERS,
    "ktuberling-data": WORDS,
    "tuxpaint-stamps-default": STAMPS,
}
"""A folder by which one sees that a package is there."""
SPEECH_HZ = 22_050
SHORTEST_S = 10.0


def main() -> None:
    """Writes the folders, of which none may be there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("/"), help="where the packages are unpacked (default: /)")
    args = parser.parse_args()
    missing = [package for package, place in PACKAGES.items() if not (args.packages / place).is_dir()]
    if missing:
        parser.error(f"not under {args.packages}: the packages {', '.join(missing)}; install or unpack them there")
    orchestra, guitars, speech, words = folders = [
        args.folder / name for name in ("orchestra", "guitars", "speech", "words")
    ]
    there = [str(folder) for folder in folders if folder.exists()]
    if there:
        parser.error(f"{', '.join(there)} exist; move them away")
    for folder in folders:
        folder.mkdir(parents=True)
    for piece in PIECES:
        shutil.copy(args.packages / MUSIC / f"{piece}.ogg", orchestra)
    print(f"{orchestra}: {len(PIECES)} pieces")
    played = sorted((args.packages / SONGS).glob("*/*/guitar.ogg"))
    for guitar in played:
        shutil.copy(guitar, guitars / f"{guitar.parent.name.replace(' ', '_').lower()}.ogg")
    print(f"{guitars}: {len(played)} guitars")
    levels = sorted((args.packages / SPEECH).iterdir())
    write_joined(
        speech,
        {
            f"{level.name}-{language}": sorted((level / language).glob("*.ogg"))
            for level in levels
            for language in LANGUAGES
        },
    )
    write_joined(words, speakers(args.packages))


def speakers(packages: Path) -> dict[str, list[Path]]:
    """The files of each program and language in which letters and words are spoken."""
    folders = [
        (program, each)
        for program, place in (("klettres", LETTERS), ("ktuberling", WORDS))
        for each in sorted((packages / place).iterdir())
        if each.is_dir() and "@" not in each.name
    ]
    found = {f"{program}-{each.name}": sorted(each.rglob("*.ogg")) for program, each in folders}
    for path in sorted((packages / STAMPS).rglob("*_desc*.ogg")):  # the others are noises
        language = path.stem.rpartition("_desc")[2].strip("_") or "en"
        found.setdefault(f"tuxpaint-{language}", []).append(path)
    return found


def write_joined(folder: Path, speakers: Mapping[str, Sequence[Path]]) -> None:
    """Writes ``name.flac`` of each speaker of whom enough is heard."""
    spoken_s, written = 0.0, 0
    for name, paths in speakers.items():
        wave = joined(paths)
        if wave.shape[1] >= SHORTEST_S * SPEECH_HZ:
            audio.write(folder / f"{name}.flac", wave, SPEECH_HZ)
            spoken_s, written = spoken_s + wave.shape[1] / SPEECH_HZ, written + 1
    print(f"{folder}: {written} files, {spoken_s / 60:.0f} minutes")


def joined(paths: Sequence[Path]) -> np.ndarray:
    """Some files, one after the other, (1, time) at SPEECH_HZ; broken ones are left out."""
    waves = [np.zeros((1, 0), np.float32)]
    for path in paths:
        try:
            wave, rate_hz = audio.read(path)
        except AudioError as error:
            print(f"left out: {error}")
            continue
        waves.append(resample(wave.mean(axis=0, keepdims=True), rate_hz, SPEECH_HZ))
    return np.concatenate(waves, axis=1)


if __name__ == "__main__":
    main()
