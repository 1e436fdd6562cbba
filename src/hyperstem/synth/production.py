"""One song from everything at hand: who plays each stem is drawn by chance, and written down."""

from typing import Any, NamedTuple

import numpy as np

from hyperstem.config import STEMS
from hyperstem.errors import DataError
from hyperstem.synth import band, dsp, sources
from hyperstem.synth.compose import accompany
from hyperstem.synth.compose.grooves import play_drums
from hyperstem.synth.compose.lines import Part, play_bass, play_others
from hyperstem.synth.compose.midi import Track
from hyperstem.synth.compose.score import Hit, Note, Song, compose, stream
from hyperstem.synth.play import samples, soundfont, speech
from hyperstem.synth.play.singer import Singer


class Production(NamedTuple):
    """A finished song."""

    stems: dict[str, np.ndarray]  # float32 (channel=2, time) each
    manifest: dict[str, Any]  # plain values: how it was made, of what, under which licences


class _Score(NamedTuple):
    """Notes for the three accompanying stems, and where they come from."""

    groove: str
    drums: list[Hit]
    bass: tuple[Note, ...]
    other: list[Track]


def produce(
    seed: int, seconds: float, rate_hz: int, found: sources.Sources, absent: tuple[str, ...] = ()
) -> Production:
    """Plays a song on what was found.

    Args:
        seed: decides everything.
        seconds: length.
        rate_hz: sampling rate, 8000 to 96000.
        found: sound libraries.
        absent: stems that stay silent.
    """
    rng = stream(seed, 70)
    used: dict[str, dict[str, str]] = {}
    beats = 4 if rng.random() < 0.92 else 3
    families = [family for family in found.families if family.beats == beats]
    family = families[int(rng.integers(len(families)))] if families and rng.random() < 0.75 else None
    song = compose(seed, seconds, beats=beats if found.families else None)
    count = max(1, round(seconds * rate_hz))
    score = _score(song, family, rng)
    players = {
        "drums": lambda: _drums(song, score, found, count, rate_hz, stream(seed, 71), used),
        "bass": lambda: _bass(song, score, found, count, rate_hz, stream(seed, 72), used),
        "other": lambda: _other(song, score, found, count, rate_hz, stream(seed, 73), used),
        "vocals": lambda: _vocals(song, found, count, rate_hz, stream(seed, 74), used),
    }
    stems = {stem: np.zeros((2, count), np.float32) if stem in absent else players[stem]() for stem in STEMS}
    manifest = {
        "seed": seed,
        "seconds": seconds,
        "rate_hz": rate_hz,
        "style": song.style.name,
        "bpm": round(song.bpm, 3),
        "key": song.key,
        "mode": song.mode,
        "groove": score.groove if score else "built-in",
        "sections": [section.kind for section in song.sections],
        "absent": list(absent),
        "stems": used,
    }
    return Production(band.balance(stems, seed, rate_hz), manifest)


def _score(song: Song, family: accompany.Family | None, rng: np.random.Generator) -> _Score | None:
    """MMA's notes, or none: without it, or where a groove cannot be played, the built-in players play."""
    if family is None:
        return None
    try:
        parts = accompany.play(song, family, rng)
    except DataError:
        return None
    bass = tuple(sorted(note for track in parts["bass"] for note in track.notes))
    return _Score(f"mma {family.file.stem}", soundfont.hits_of(parts["drums"]), bass, parts["other"])


def _note(used: dict[str, dict[str, str]], stem: str, source: str, licence: str) -> None:
    used.setdefault(stem, {})[source] = licence


def _noted(used: dict[str, dict[str, str]], stem: str, score: _Score) -> _Score:
    """The score, after its groove was written down as a source of the stem."""
    _note(used, stem, score.groove, sources.licence_of("mma"))
    return score


def _drums(
    song: Song,
    score: _Score | None,
    found: sources.Sources,
    count: int,
    rate_hz: int,
    rng: np.random.Generator,
    used: dict[str, dict[str, str]],
) -> np.ndarray:
    hits = play_drums(song)
    if score and len(score.drums) > 8 and rng.random() < 0.6:
        hits = _noted(used, "drums", score).drums
    sound = _pick(rng, {"kit": 0.45 * bool(found.kits), "soundfont": 0.25 * bool(found.soundfonts), "built-in": 0.3})
    if sound == "kit":
        kit = found.kits[int(rng.integers(len(found.kits)))]
        _note(used, "drums", f"kit {kit.name}", sources.kit_licence(kit))
        wave = _in_room(samples.render_kit(hits, kit, count, rate_hz, rng), rate_hz, rng, 0.2)
    elif sound == "soundfont":
        font = found.soundfonts[int(rng.integers(len(found.soundfonts)))]
        _note(used, "drums", font.name, sources.licence_of(font.name))
        track = soundfont.drum_track(hits, int(rng.choice(soundfont.DRUM_PROGRAMS)), rng)
        wave = _in_room(soundfont.render_tracks([track], font, count, rate_hz), rate_hz, rng, 0.25)
    else:
        _note(used, "drums", "built-in", sources.licence_of("built-in"))
        kind = str(rng.choice(song.style.kits))
        wave = band.render_drums(hits, song.seed, kind, count, rate_hz)
    if not np.any(wave):
        used["drums"] = {"built-in": sources.licence_of("built-in")}
        return band.own_drums(song, count, rate_hz)
    return band.finish_drums(song, wave, rate_hz)


def _bass(
    song: Song,
    score: _Score | None,
    found: sources.Sources,
    count: int,
    rate_hz: int,
    rng: np.random.Generator,
    used: dict[str, dict[str, str]],
) -> np.ndarray:
    notes = play_bass(song)[1]
    if score and len(score.bass) > 4 and rng.random() < 0.5:
        notes = _noted(used, "bass", score).bass
    if not found.soundfonts or rng.random() < 0.4:
        _note(used, "bass", "built-in", sources.licence_of("built-in"))
        return band.own_bass(song, count, rate_hz, notes)
    font = found.soundfonts[int(rng.integers(len(found.soundfonts)))]
    _note(used, "bass", font.name, sources.licence_of(font.name))
    track = Track("Bass", int(rng.choice(soundfont.BASSES)), 0, notes)
    wave = soundfont.render_tracks([track], font, count, rate_hz).mean(axis=0)
    wave /= np.float32(np.std(wave) * 3 + 1e-6)
    speaker = dsp.product(dsp.random_equaliser(rng, 3.0), dsp.low_pass(float(2.0 ** rng.uniform(10.3, 13)), 2.0))
    if rng.random() < 0.5:
        wave = dsp.saturate(wave, float(2.0 ** rng.uniform(0, 3)))
    return band.finish_bass(song, dsp.convolve(wave, dsp.impulse_of(speaker, rate_hz)), rate_hz)


def _other(
    song: Song,
    score: _Score | None,
    found: sources.Sources,
    count: int,
    rate_hz: int,
    rng: np.random.Generator,
    used: dict[str, dict[str, str]],
) -> np.ndarray:
    written = score is not None and len(score.other) > 0 and rng.random() < 0.65
    if not found.soundfonts or (not written and rng.random() < 0.5):
        _note(used, "other", "built-in", sources.licence_of("built-in"))
        return band.own_other(song, count, rate_hz)
    if written and score is not None:
        tracks = [_recast(track, rng) for track in _noted(used, "other", score).other[:8]]
    else:
        tracks = [
            Track(part.instrument, int(rng.choice(soundfont.INSTRUMENTS[part.instrument])), 0, part.notes)
            for part in play_others(song)
        ]
    mix = np.zeros((2, count), np.float32)
    groups = [tracks[0::2], tracks[1::2]] if len(tracks) > 2 else [tracks]
    for group in groups:
        font = found.soundfonts[int(rng.integers(len(found.soundfonts)))]
        _note(used, "other", font.name, sources.licence_of(font.name))
        wave = soundfont.render_tracks(group, font, count, rate_hz, room=rng.random() < 0.3)
        if (level := float(np.std(wave))) > 1e-6:
            width = np.float32(rng.uniform(-0.6, 0.6))
            placed = wave * np.stack([1 - width, 1 + width])[:, None] / np.float32(level)
            mix += _in_room(placed, rate_hz, rng, 0.25) * np.float32(2.0 ** rng.normal(0, 0.4))
    if rng.random() < 0.45:  # one built-in player sits in
        parts: list[Part] = play_others(song)[:1]
        own = band.own_other(song, count, rate_hz, parts)
        _note(used, "other", "built-in", sources.licence_of("built-in"))
        mix += own * np.float32(0.7 / (np.std(own) + 1e-6))
    if not np.any(mix):
        used["other"] = {"built-in": sources.licence_of("built-in")}
        return band.own_other(song, count, rate_hz)
    mix = dsp.convolve(mix, dsp.impulse_of(dsp.product(dsp.random_equaliser(rng, 2.0), dsp.high_pass(70.0)), rate_hz))
    return dsp.saturate(mix / np.float32(np.std(mix) * 4 + 1e-6), float(rng.uniform(0.3, 1.0)))


def _recast(track: Track, rng: np.random.Generator) -> Track:
    """Sometimes a kindred instrument plays the part."""
    if rng.random() < 0.5:
        track = track._replace(program=int(rng.choice(soundfont.RELATED[track.program // 8])))
    return track._replace(channel=0)


def _vocals(
    song: Song,
    found: sources.Sources,
    count: int,
    rate_hz: int,
    rng: np.random.Generator,
    used: dict[str, dict[str, str]],
) -> np.ndarray:
    sound = _pick(rng, {"speech": 0.6 * bool(found.speakers), "espeak": 0.1 * found.espeak, "built-in": 0.3})
    spoken = None
    if sound != "built-in":
        try:
            if sound == "speech":
                weights = np.sqrt([len(speaker.files) for speaker in found.speakers])
                speaker = found.speakers[int(rng.choice(len(weights), p=weights / weights.sum()))]
                name, licence = f"speech {speaker.name}", sources.speech_licence(speaker)
                wave = speech.gather(speaker, 40.0, rng)
            else:
                voice, wave = speech.speak(30.0, rng)
                name, licence = f"espeak-ng {voice}", sources.licence_of("espeak-ng")
            spoken = speech.take_apart(wave)
            _note(used, "vocals", name, licence)
        except DataError:
            spoken = None
    if spoken is None:
        _note(used, "vocals", "built-in", sources.licence_of("built-in"))
        return band.sing_vocals(song, count, rate_hz)

    def sing(phrases: list, singer: Singer, part: int, talk: bool) -> np.ndarray:
        return speech.render_spoken(phrases, spoken, singer, song.seed, part, count, rate_hz, talk)

    return band.sing_vocals(song, count, rate_hz, sing)


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """A key by its weight."""
    total = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=total / total.sum()))


def _in_room(wave: np.ndarray, rate_hz: int, rng: np.random.Generator, wet: float) -> np.ndarray:
    """A stereo sound with a random room behind it."""
    tail = dsp.room(float(rng.uniform(0.2, 1.6)), rate_hz, rng, float(rng.uniform(0.3, 0.8)), 0.005)
    return wave + np.float32(wet * rng.uniform(0.1, 1.5)) * dsp.convolve(wave, tail)
