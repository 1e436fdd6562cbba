"""Material that allows commercial use, to train the model `free`: folders that `hyperstem prepare` reads.

python tools/free_material.py songs FOLDER MIDI...     songs as drums, bass, other and vocals, played by a soundfont
python tools/free_material.py drums FOLDER MIDI...     drummers' takes, each played by one of its drum kits
python tools/free_material.py sung FOLDER --minutes M  speech of flite's voices, sung to melodies made up from a seed

Needs the programs fluidsynth and flite, the packages mido and pyworld-prebuilt, and a General MIDI soundfont. The
model's card names the recordings it was trained on and their terms.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RATE_HZ = 44100
LONGEST_S = 240.0
DRUM_CHANNEL = 9
KITS = (0, 0, 8, 16, 24, 25, 32, 40)
"""Programs of General MIDI's drum kits: standard, twice as often, room, power, electronic, TR-808, jazz and brush."""
GENERAL_MIDI = {22: 42, 26: 46, 58: 43}
"""Notes of electronic drums (edges of the closed and the open hi-hat, a tom's rim) to those of General MIDI."""
VOICES = ("awb", "rms", "slt", "kal16")
SUNG_RATE_HZ = 16000
FRAME_MS = 5.0
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))
LYRICS = """
river morning light over the hills we wander slowly home again never lonely under a silver moon hold me closer tonight
and let the summer rain fall down around us far away I hear your voice calling in the wind remember all those golden
days when we were young and nothing could bring us down oh my love stay with me time will heal and time will tell
every broken story has another ending waiting somewhere out there
"""


def main() -> None:
    """Writes one kind of material."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("songs", "drums", "sung"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("midi", type=Path, nargs="*")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.kind == "sung") == bool(args.midi):
        parser.error("songs and drums need MIDI files; sung takes none")
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    if args.kind == "sung":
        sing(args.folder, args.minutes, rng)
    for path in sorted(args.midi):
        if args.kind == "songs":
            play_song(path, args.folder / path.stem, args.soundfont)
        else:
            take = on_kit(mido.MidiFile(path, clip=True), int(rng.choice(KITS)))
            name = "-".join((*path.parts[-3:-1], path.stem))
            _write(args.folder / f"{name}.flac", play(take, args.soundfont), RATE_HZ)


def play_song(path: Path, folder: Path, soundfont: Path) -> None:
    """Writes the stems of a MIDI song that has at least two of them."""
    try:
        song = mido.MidiFile(path, clip=True)
    except (OSError, ValueError, EOFError, KeyError) as error:
        print(f"{path}: left out, {error}")
        return
    stems = {stem: play(part, soundfont) for stem in ("drums", "bass", "other", "vocals") if (part := keep(song, stem))}
    if len(stems) < 2:
        print(f"{path}: left out, only {', '.join(stems) or 'silence'}")
        return
    length = min(max(wave.shape[0] for wave in stems.values()), int(LONGEST_S * RATE_HZ))
    for stem, wave in stems.items():
        whole = np.zeros((length, 2), np.float32)
        whole[: wave.shape[0]] = wave[:length]
        _write(folder / f"{stem}.flac", whole, RATE_HZ)


def keep(song: mido.MidiFile, stem: str) -> mido.MidiFile | None:
    """The song with the notes of one stem alone; None if it has none."""
    programs = dict.fromkeys(range(16), 0)
    part, found = mido.MidiFile(type=0, ticks_per_beat=song.ticks_per_beat), False
    track = mido.MidiTrack()
    time = 0
    for message in mido.merge_tracks(song.tracks):
        time += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        if message.type == "note_on" and message.velocity:
            if stem_of(message.channel, programs[message.channel]) != stem:
                continue
            found = True
        if message.type == "sysex":
            continue
        track.append(message.copy(time=time))
        time = 0
    part.tracks.append(track)
    return part if found else None


def stem_of(channel: int, program: int) -> str | None:
    """The stem of a General MIDI instrument, counted from 0; None for sound effects."""
    if channel == DRUM_CHANNEL or program in (113, 115, 116, 117, 118, 119):
        return "drums"
    if program in range(32, 40):
        return "bass"
    if program in range(52, 55):
        return "vocals"
    return "other" if program < 120 else None


def on_kit(take: mido.MidiFile, kit: int) -> mido.MidiFile:
    """A drummer's take with General MIDI's notes, on the drum kit with this program."""
    for message in take.tracks[0]:
        if message.type == "program_change":
            message.program = kit
        if message.type in ("note_on", "note_off"):
            message.note = GENERAL_MIDI.get(message.note, message.note)
    take.tracks[0].insert(0, mido.Message("program_change", channel=DRUM_CHANNEL, program=kit))
    return take


def play(song: mido.MidiFile, soundfont: Path) -> np.ndarray:
    """A MIDI song as fluidsynth plays it (time, 2) float32."""
    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder, "song.mid"), Path(folder, "song.wav")
        song.save(midi)
        command = ["fluidsynth", "-ni", "-q", "-g", "0.3", "-r", str(RATE_HZ), "-F", sound, soundfont, midi]
        subprocess.run(command, check=True, capture_output=True)
        return soundfile.read(sound, dtype="float32", always_2d=True)[0]


def sing(folder: Path, minutes: float, rng: np.random.Generator) -> None:
    """Writes singing, a file a minute, each by a singer of its own."""
    for number in range(round(minutes)):
        voice, size = VOICES[number % len(VOICES)], float(rng.uniform(0.85, 1.2))
        phrases: list[np.ndarray] = []
        while sum(map(len, phrases)) < 60 * SUNG_RATE_HZ:
            words = rng.choice(LYRICS.split(), int(rng.integers(3, 9)))
            phrases += [sung(speech(voice, words), size, rng), np.zeros(int(rng.uniform(0.1, 0.8) * SUNG_RATE_HZ))]
        _write(folder / f"{voice}-{number:03d}.flac", np.concatenate(phrases), SUNG_RATE_HZ)


def speech(voice: str, words: Sequence[str]) -> np.ndarray:
    """Words spoken by a voice of flite, at `SUNG_RATE_HZ`."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", voice, "-t", " ".join(words), "-o", file.name], check=True)
        wave, rate_hz = soundfile.read(file.name)
    if rate_hz != SUNG_RATE_HZ:
        raise SystemExit(f"flite's voice {voice} has {rate_hz} Hz, not {SUNG_RATE_HZ}")
    return wave


def sung(wave: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Speech sung to a melody: slower, on the notes of a scale, with glides, vibrato and another vocal tract.

    Args:
        wave: the speech (time,) float64.
        size: factor on the frequencies of the formants.
        rng: draws the melody.
    """
    import pyworld

    pitch, times = pyworld.harvest(wave, SUNG_RATE_HZ, frame_period=FRAME_MS)
    envelope = pyworld.cheaptrick(wave, pitch, times, SUNG_RATE_HZ)
    noise = pyworld.d4c(wave, pitch, times, SUNG_RATE_HZ)
    voiced = pitch > 0
    steps = np.where(voiced, 1 / rng.uniform(1.3, 3.0), 1 / 1.1)  # vowels are held longer than consonants
    frames = np.interp(np.arange(int((1 / steps).sum())), np.cumsum(1 / steps), np.arange(len(pitch)))
    frames = frames.round().astype(int)
    bins = np.arange(envelope.shape[1])
    warped = np.minimum(bins / size, bins[-1]).round().astype(int)
    tune = melody(voiced[frames], float(np.median(pitch[voiced])) if voiced.any() else 150.0, size, rng)
    envelope, noise = (np.ascontiguousarray(x[frames][:, warped]) for x in (envelope, noise))
    return pyworld.synthesize(tune, envelope, noise, SUNG_RATE_HZ, FRAME_MS)


def melody(voiced: np.ndarray, centre_hz: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """The pitch of each frame in Hz, 0 where `voiced` is false."""
    scale, key = SCALES[rng.integers(len(SCALES))], rng.uniform(0, 12)
    degrees = np.array([12 * octave + step for octave in range(-2, 4) for step in scale]) + key - 12
    place = int(np.abs(degrees - 12 * np.log2(size) - rng.uniform(0, 7)).argmin())
    note = np.empty(len(voiced))
    start = 0
    while start < len(voiced):
        stop = start + int(rng.uniform(0.12, 0.9) * 1000 / FRAME_MS)
        place = int(np.clip(place + rng.integers(-2, 3), 4, len(degrees) - 5))
        note[start:stop] = degrees[place]
        start = stop
    glide = np.hanning(int(rng.uniform(40, 140) / FRAME_MS) + 2)
    note = np.convolve(np.pad(note, len(glide), "edge"), glide / glide.sum(), "same")[len(glide) : -len(glide)]
    seconds = np.arange(len(voiced)) * FRAME_MS / 1000
    note += rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * seconds)
    return np.where(voiced, np.clip(centre_hz * 2 ** (note / 12), 70, 900), 0.0)


def _write(path: Path, wave: np.ndarray, rate_hz: int) -> None:
    path.parent.mkdir(exist_ok=True)
    peak = float(np.abs(wave).max(initial=1e-9))
    soundfile.write(path, wave / max(1.0, peak / 0.99), rate_hz)


if __name__ == "__main__":
    main()
