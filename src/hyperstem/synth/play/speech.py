"""Singing from recorded speech: the WORLD vocoder takes it apart, a melody puts it together again.

Syllables are found by their loud voiced cores. A note takes the next syllable of the recording: its consonants keep
their length, its core is drawn out to the note's, and pitch, tract length and colour are the singer's.
WORLD: Morise, Yokomori, Ozawa 2016.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import resample
from hyperstem.errors import DataError, HyperstemError
from hyperstem.synth import dsp
from hyperstem.synth.compose.score import Syllable, stream
from hyperstem.synth.play.singer import Singer, contour

FOLDERS = (Path("/usr/share/games/fillets-ng/sound"),)
_SOUNDS = (".ogg", ".wav", ".flac", ".opus", ".mp3")
_SPEECH_HZ, _VOICE_HZ = 22050, 44100
_FFT, _FRAME_MS = 1024, 5.0
_VARIANTS = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "croak",
    "klatt",
    "klatt2",
    "klatt3",
)
_LANGUAGES = ("en", "en-us", "de", "it", "es", "fr", "pt", "sv", "fi", "pl", "nl", "cs", "id", "eo")


class Speaker(NamedTuple):
    """Recordings of one voice."""

    name: str
    files: tuple[Path, ...]


class Spoken(NamedTuple):
    """Speech taken apart by WORLD, five milliseconds a frame, and its syllables."""

    f0: np.ndarray  # (frame,) Hz, 0 where unvoiced
    envelope: np.ndarray  # (frame, bin) power
    aperiodic: np.ndarray  # (frame, bin) 0 to 1
    syllables: np.ndarray  # (syllable, 4): frames of start, core's start, core's end, end


def find_speakers(folders: Sequence[Path] = FOLDERS) -> list[Speaker]:
    """Voices below the folders, one per folder, or per letter where names are built like ``level-m-word.ogg``."""
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SOUNDS):
            letter = re.search(r"-([a-z])-", path.name)
            name = f"{path.parent.name}-{letter.group(1)}" if letter else str(path.parent.relative_to(folder))
            groups.setdefault(name, []).append(path)
    return [
        Speaker(name, tuple(files))
        for name, files in sorted(groups.items())
        if len(files) >= 3 and sum(path.stat().st_size for path in files) > 60_000
    ]


def gather(speaker: Speaker, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """About `seconds` of a voice: files by chance, mono at 22.05 kHz, levels evened out: float32 (time,).

    Raises:
        DataError: none of its files can be read.
    """
    pieces, total = [], 0.0
    for i in rng.permutation(len(speaker.files)):
        try:
            wave, rate_hz = audio.read(speaker.files[int(i)], duration_s=12.0)
        except (HyperstemError, OSError):
            continue
        mono = resample(wave.mean(axis=0), rate_hz, _SPEECH_HZ)
        level = float(np.percentile(dsp.loudness(mono, 2048)[::256], 90)) if mono.size > 4096 else 0.0
        if level > 1e-4:
            pieces.append(mono * np.float32(0.1 / level))
            total += mono.size / _SPEECH_HZ
        if total >= seconds:
            break
    if not pieces:
        raise DataError(f"none of the voice {speaker.name!r}'s files can be read")
    return np.concatenate(pieces)


def speak(seconds: float, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Speech by the installed program espeak-ng: the voice's name and float32 (time,) at 22.05 kHz.

    Raises:
        DataError: espeak-ng is missing or fails.
    """
    voice = f"{rng.choice(_LANGUAGES)}+{rng.choice(_VARIANTS)}"
    onsets, cores = list("bdfghklmnprstvw"), ["a", "e", "i", "o", "u", "ai", "au", "ei"]
    words = [
        "".join(str(rng.choice(onsets)) + str(rng.choice(cores)) for _ in range(int(rng.integers(1, 4))))
        for _ in range(int(seconds * 2))
    ]
    with tempfile.TemporaryDirectory(prefix="hyperstem-") as folder:
        target = Path(folder, "voice.wav")
        command = [
            "espeak-ng",
            "-v",
            voice,
            "-s",
            str(int(rng.integers(110, 160))),
            "-p",
            str(int(rng.integers(30, 70))),
            "-w",
            str(target),
            " ".join(words),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise DataError(f"espeak-ng cannot be run: {error}") from None
        if done.returncode or not target.exists():
            raise DataError(f"espeak-ng cannot speak as {voice}: {done.stderr.strip()[:200]}")
        wave, rate_hz = audio.read(target)
    return voice, resample(wave[0], rate_hz, _SPEECH_HZ)


def _pyworld() -> Any:
    """The vocoder, which is an optional dependency."""
    try:
        return import_module("pyworld")
    except ImportError:
        raise DataError("singing from speech needs pyworld: pip install 'hyperstem[synth]'") from None


def take_apart(wave: np.ndarray) -> Spoken:
    """Pitch, envelope and noise share of speech (time,) at 22.05 kHz, and where its syllables lie.

    Raises:
        DataError: pyworld is missing, or there are no syllables.
    """
    pyworld = _pyworld()
    speech = wave.astype(np.float64) + 1e-6 * stream(len(wave), 60).standard_normal(len(wave))
    rough, times = pyworld.dio(speech, _SPEECH_HZ, f0_floor=65.0, f0_ceil=600.0, frame_period=_FRAME_MS)
    f0 = pyworld.stonemask(speech, rough, times, _SPEECH_HZ)
    envelope = pyworld.cheaptrick(speech, f0, times, _SPEECH_HZ, fft_size=_FFT)
    aperiodic = pyworld.d4c(speech, f0, times, _SPEECH_HZ, fft_size=_FFT)
    spoken = Spoken(f0, envelope, aperiodic, _syllables(f0, envelope))
    if len(spoken.syllables) < 4:
        raise DataError("too few syllables in the speech")
    return spoken


def _syllables(f0: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Frames (start, core start, core end, end) of every syllable: peaks of voiced loudness and the dips between."""
    low, high = int(250 / _SPEECH_HZ * _FFT), int(3500 / _SPEECH_HZ * _FFT)
    loud_db = 10 * np.log10(envelope[:, low:high].mean(axis=1) + 1e-12)
    kernel = np.hanning(15)[1:-1]
    loud_db = np.convolve(np.pad(loud_db, 6, mode="edge"), kernel / kernel.sum(), mode="valid")
    voiced = f0 > 0
    floor = np.percentile(loud_db[voiced], 20) if voiced.any() else np.inf
    peaks = [
        i
        for i in range(5, len(loud_db) - 5)
        if voiced[i] and loud_db[i] > floor and loud_db[i] == loud_db[i - 5 : i + 6].max()
    ]
    kept: list[int] = []
    for peak in peaks:  # two peaks without a dip of 2 dB between them are one
        if kept and min(loud_db[kept[-1]], loud_db[peak]) - loud_db[kept[-1] : peak + 1].min() < 2.0:
            if loud_db[peak] > loud_db[kept[-1]]:
                kept[-1] = peak
        else:
            kept.append(peak)
    dips = [a + int(np.argmin(loud_db[a:b])) for a, b in pairwise(kept)]
    edges = [0, *dips, len(loud_db) - 1]
    rows = []
    for peak, start, end in zip(kept, edges, edges[1:], strict=False):
        inside = voiced & (loud_db > loud_db[peak] - 5.0)
        first, last = peak, peak
        while first > start and inside[first - 1]:
            first -= 1
        while last < end and inside[last + 1 if last + 1 < len(inside) else last] and last + 1 < len(inside):
            last += 1
        if last - first >= 5:
            rows.append((max(start, first - 36), first, last, min(end, last + 30)))
    return np.array(rows, dtype=int).reshape(-1, 4)


def _timing(phrase: list[Syllable], rows: np.ndarray, start_s: float, frames: int) -> tuple[np.ndarray, ...]:
    """For every frame of the phrase the speech's frame, whether it is a note's core, and its loudness."""
    song_frames: list[float] = []
    speech_frames: list[float] = []
    core = np.zeros(frames, bool)
    loud = np.zeros(frames)
    step_s = _FRAME_MS / 1000
    for i, (syllable, row) in enumerate(zip(phrase, rows, strict=True)):
        begin = (syllable.start_s - start_s) / step_s
        length = syllable.duration_s / step_s
        joined = i + 1 < len(phrase) and phrase[i + 1].start_s - syllable.start_s - syllable.duration_s < 0.08
        if joined:
            length = (phrase[i + 1].start_s - syllable.start_s) / step_s
        onset = min(row[1] - row[0], 0.35 * length + 12)
        coda = min(row[3] - row[2], 0.3 * length)
        stop = begin + length - (coda if joined else 0.0)
        song_frames += [begin - onset, begin, max(stop, begin + 2)]
        speech_frames += [row[1] - onset, row[1] + 1, row[2]]
        if not joined:
            song_frames.append(max(stop, begin + 2) + coda)
            speech_frames.append(row[2] + coda)
        core[max(0, int(begin) + 2) : max(0, int(stop) - 1)] = True
        loud[max(0, int(begin - onset)) : max(0, int(begin + length + (0 if joined else coda + 6)))] = syllable.velocity
    order = np.maximum.accumulate(np.array(song_frames) + 1e-6 * np.arange(len(song_frames)))
    return np.interp(np.arange(frames), order, speech_frames), core, loud


def sing_spoken(
    phrase: list[Syllable],
    spoken: Spoken,
    first: int,
    singer: Singer,
    rng: np.random.Generator,
    talk: bool = False,
    colour: np.ndarray | None = None,
    shift: float = 1.0,
) -> tuple[float, np.ndarray]:
    """Sings a phrase with syllables of the recording, from syllable `first` on.

    Args:
        phrase: the notes.
        spoken: the recording.
        first: number of its syllable that the first note takes.
        singer: pitch gestures, breath.
        rng: chance.
        talk: as for `singer.contour`.
        colour: gain per bin of WORLD's envelope (amplitude), or none.
        shift: how much higher the resonances are moved.

    Returns:
        When it starts, in seconds, and the sound, float32 (time,) at 44.1 kHz.
    """
    pyworld = _pyworld()
    rows = spoken.syllables[(first + np.arange(len(phrase))) % len(spoken.syllables)]
    frame_hz = 1000 / _FRAME_MS
    start_s = max(0.0, phrase[0].start_s - 0.3)
    frames = int((phrase[-1].start_s + phrase[-1].duration_s + 0.4 - start_s) * frame_hz)
    place, core, loud = _timing(phrase, rows, start_s, frames)
    melody = contour(phrase, start_s, frames, frame_hz, singer, rng, talk)
    low = np.minimum(place.astype(int), len(spoken.f0) - 2)
    part = (place - low)[:, None]
    envelope = np.log(spoken.envelope[low] + 1e-12) * (1 - part) + np.log(spoken.envelope[low + 1] + 1e-12) * part
    aperiodic = spoken.aperiodic[low] * (1 - part) + spoken.aperiodic[low + 1] * part
    voiced = core | (spoken.f0[np.minimum(np.round(place).astype(int), len(spoken.f0) - 1)] > 0)
    envelope, aperiodic = _stretch(envelope, aperiodic, shift, np.where(core, 5.5, 3.5)[:, None])
    level = np.log(np.exp(envelope).mean(axis=1) + 1e-12)
    target = np.where(core, 0.75 * (np.median(level[core]) if core.any() else 0.0) + 0.25 * level, level)
    gain = np.clip(target - level, -3.0, 2.0) + 2 * np.log(np.maximum(loud * melody.swell, 1e-3))
    kernel = np.hanning(13)[1:-1]
    gain = np.convolve(np.pad(gain, 5, mode="edge"), kernel / kernel.sum(), mode="valid")
    envelope = np.exp(envelope + gain[:, None])
    hissing = np.convolve(np.pad(~voiced * 1.0, 5, mode="edge"), kernel / kernel.sum(), mode="valid")[:, None]
    if colour is not None:  # what is sung louder is brighter; what hisses is not, and mixes tame it
        envelope *= np.square(colour * (1 - hissing) + 0.7 * hissing)
    clear = (1.0 if talk else 2.2) * (1.0 - 0.5 * min(1.0, 6 * singer.breath))  # sung tones are purer than spoken ones
    aperiodic = aperiodic ** np.where(core, 1.0 + clear, 1.0)[:, None]
    aperiodic = np.clip(aperiodic * np.where(core, 0.9, 1.0)[:, None], 0.001, 0.999)
    f0 = np.where(voiced & (loud > 0), np.asarray(dsp.hz(melody.pitch)), 0.0)
    wave = pyworld.synthesize(f0, np.ascontiguousarray(envelope), np.ascontiguousarray(aperiodic), _VOICE_HZ, _FRAME_MS)
    return start_s, wave.astype(np.float32)


def _stretch(
    envelope: np.ndarray, aperiodic: np.ndarray, shift: float, fall: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From 22.05 kHz to 44.1 kHz, resonances moved up by `shift`; what the recording lacks fades by `fall`."""
    bins = _FFT + 1
    last = int(8600 / _SPEECH_HZ * _FFT)
    at = np.arange(bins) / shift
    inside = np.minimum(at, last)
    low = np.minimum(inside.astype(int), last - 1)
    part = inside - low
    beyond = np.log2(np.maximum(at / last, 1.0))
    wide = envelope[:, low] * (1 - part) + envelope[:, low + 1] * part - fall * beyond
    noise = aperiodic[:, low] * (1 - part) + aperiodic[:, low + 1] * part
    return wide, noise + (1 - noise) * np.minimum(beyond, 0.9)


def tract_shift(spoken: Spoken, phrases: list[list[Syllable]], rng: np.random.Generator) -> float:
    """How much to move the resonances: a voice that sings far above its speech is a smaller person's."""
    voiced = spoken.f0[spoken.f0 > 0]
    spoken_pitch = 69 + 12 * np.log2(np.median(voiced) / 440) if voiced.size else 50.0
    sung = float(np.median([syllable.pitch for phrase in phrases for syllable in phrase]))
    away = np.clip((sung - spoken_pitch - 5) / 12, -1, 1.5)
    return float(np.clip(1.0 + 0.1 * away + rng.normal(0, 0.05), 0.82, 1.3))


def render_spoken(
    phrases: list[list[Syllable]],
    spoken: Spoken,
    singer: Singer,
    seed: int,
    part: int,
    samples: int,
    rate_hz: int,
    talk: bool = False,
) -> np.ndarray:
    """A voice's phrases at their places, the same words for the same text: mono float32 (samples,)."""
    track = np.zeros(samples, np.float32)
    if not phrases:
        return track
    rng, person = stream(seed, 61, part), stream(seed, 62)
    shift = tract_shift(spoken, phrases, person)
    frequency = np.linspace(0, _VOICE_HZ / 2, _FFT + 1)
    tilt_db = float(person.uniform(-2, 4))  # sung louder, so brighter, than spoken
    bright = 10 ** (tilt_db * np.clip(np.log2(np.maximum(frequency, 1) / 700), 0, 3) / 20)
    colour = bright * (1 + singer.ring * dsp.band(2900 * shift, 0.6)(frequency)) * dsp.high_pass(70)(frequency)
    words: dict[tuple, int] = {}
    for phrase in phrases:
        text = tuple((syllable.consonant, syllable.vowel) for syllable in phrase[:4])
        first = words.setdefault(text, int(stream(seed, 63, len(words)).integers(len(spoken.syllables))))
        start_s, wave = sing_spoken(phrase, spoken, first, singer, rng, talk, colour, shift)
        wave = resample(wave, _VOICE_HZ, rate_hz)
        dsp.add_at(track, wave, int(start_s * rate_hz))
    level = float(np.sqrt(np.mean(np.square(track[np.abs(track) > 1e-4])))) if np.any(np.abs(track) > 1e-4) else 1.0
    return dsp.saturate(track * np.float32(0.2 / level), 0.7)
