"""What the band can play on beside its own synthesis: installed sound libraries and programs, and their licences."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hyperstem.errors import DataError
from hyperstem.synth.compose import accompany
from hyperstem.synth.play import samples, soundfont, speech

_LICENCES = {  # by a file's or program's name, as the Debian packages state them
    "FluidR3_GM.sf2": "MIT (fluid-soundfont-gm)",
    "MuseScore_General_Full.sf2": "MIT (musescore-general-soundfont)",
    "MuseScore_General.sf3": "MIT (musescore-general-soundfont)",
    "TimGM6mb.sf2": "GPL-2 (timgm6mb-soundfont)",
    "mma": "GPL-2+ (the program; its grooves are its own)",
    "fillets": "GPL-2 (fillets-ng-data)",
    "espeak-ng": "GPL-3+ (the program that speaks)",
    "built-in": "none needed: synthesised from nothing",
}


@dataclass(frozen=True)
class Sources:
    """What was found.

    Attributes:
        soundfonts: SoundFont files, played by fluidsynth.
        families: MMA's grooves.
        kits: sampled drum kits.
        speakers: voices of recorded speech, sung by WORLD.
        espeak: whether espeak-ng can speak.
        missing: one line for each thing that is not there, and what would bring it.
    """

    soundfonts: tuple[Path, ...] = ()
    families: tuple[accompany.Family, ...] = ()
    kits: tuple[samples.Kit, ...] = ()
    speakers: tuple[speech.Speaker, ...] = ()
    espeak: bool = False
    missing: tuple[str, ...] = ()

    def report(self) -> list[str]:
        """One line per kind of source."""
        lines = ["built-in band: drums, bass, accompaniment, voice"]
        if self.soundfonts:
            lines.append(f"SoundFonts: {', '.join(path.name for path in self.soundfonts)}")
        if self.families:
            lines.append(f"MMA: {sum(len(f.mains) for f in self.families)} grooves in {len(self.families)} files")
        if self.kits:
            lines.append(f"sampled kits: {', '.join(kit.name for kit in self.kits)}")
        if self.speakers:
            lines.append(f"recorded voices: {len(self.speakers)}, {sum(len(s.files) for s in self.speakers)} files")
        if self.espeak:
            lines.append("espeak-ng: spoken syllables")
        return lines + [f"not used: {line}" for line in self.missing]


def licence_of(name: str) -> str:
    """The licence of a source by its name, as far as known."""
    return _LICENCES.get(name, "unknown: see where it came from")


def speech_licence(speaker: speech.Speaker) -> str:
    """The licence of recorded speech."""
    return licence_of("fillets" if "fillets-ng" in str(speaker.files[0]) else speaker.name)


def find_sources(
    soundfonts: Sequence[Path] | None = None, voices: Sequence[Path] | None = None, kits: Sequence[Path] | None = None
) -> Sources:
    """Looks for sound libraries and programs.

    Args:
        soundfonts: folders with .sf2 or .sf3 files; the usual ones if not given.
        voices: folders with recorded speech; the usual ones if not given.
        kits: folders with Hydrogen drum kits; the usual ones if not given.

    Raises:
        DataError: a folder that was asked for has nothing, or the program that it needs is missing.
    """
    missing = []
    fonts = soundfont.find_soundfonts(_folders(soundfonts, soundfont.FOLDERS))
    if soundfonts and not fonts:
        raise DataError(f"no .sf2 or .sf3 file in {', '.join(map(str, soundfonts))}")
    if not shutil.which("fluidsynth"):
        if soundfonts:
            raise DataError(
                "SoundFonts need the program fluidsynth, which is not installed (Debian: apt install fluidsynth)"
            )
        missing.append("SoundFonts (install the program fluidsynth and a SoundFont, e.g. fluid-soundfont-gm)")
        fonts = []
    elif not fonts:
        missing.append("SoundFonts (none in " + ", ".join(map(str, soundfont.FOLDERS)) + ")")
    families: list[accompany.Family] = []
    library = next((path for path in accompany.LIBRARIES if path.is_dir()), None)
    if shutil.which("mma") and library:
        families = accompany.find_families(library)
    else:
        missing.append("grooves (install the program mma)")
    speakers = speech.find_speakers(_folders(voices, speech.FOLDERS))
    if voices and not speakers:
        raise DataError(f"no voice (three or more sound files) in {', '.join(map(str, voices))}")
    espeak = bool(shutil.which("espeak-ng"))
    if find_spec("pyworld") is None:
        if voices:
            raise DataError("singing from speech needs pyworld: pip install 'hyperstem[synth]'")
        missing.append("singing from speech (pip install 'hyperstem[synth]')")
        speakers, espeak = [], False
    found = samples.find_kits(_folders(kits, samples.FOLDERS))
    if kits and not found:
        raise DataError(f"no Hydrogen drum kit (a folder with drumkit.xml) in {', '.join(map(str, kits))}")
    return Sources(tuple(fonts), tuple(families), tuple(found), tuple(speakers), espeak, tuple(missing))


def _folders(given: Sequence[Path] | None, usual: Sequence[Path]) -> Sequence[Path]:
    """The given folders, which must exist, or the usual ones that do."""
    for folder in given or ():
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
    return given if given else [folder for folder in usual if folder.is_dir()]


def kit_licence(kit: samples.Kit) -> str:
    """A kit's licence in one line."""
    return re.sub(r"\s+", " ", kit.licence)[:200]
