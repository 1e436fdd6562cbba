from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.config import STEMS
from hyperstem.errors import ConfigError
from hyperstem.synth import render_song
from hyperstem.synth.band import drum_stem
from hyperstem.synth.compose import grooves, lines
from hyperstem.synth.compose.grooves import play_drums
from hyperstem.synth.compose.lines import play_bass, play_others
from hyperstem.synth.compose.score import Note, Syllable, compose, stream
from hyperstem.synth.compose.styles import STYLES
from hyperstem.synth.play.singer import draw_singer
from hyperstem.synth.play.singing import play_vocals
from hyperstem.synth.play.tones import TIMBRES, render_notes
from hyperstem.synth.play.voice import render_voice, sing_phrase

RATE_HZ = 16000
SEEDS = st.integers(0, 2**63 - 1)
STEADY = draw_singer(np.random.default_rng(3))._replace(
    low=45, high=64, vibrato_cents=0.0, unsteady=0.0, scoop_cents=0.0, growl=0.0, tract=1.0, ring=0.0, breath=0.01
)


def level_db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12)


def peak_hz(wave, rate_hz, low=20.0, high=None):
    size = 1 << (len(wave) - 1).bit_length() + 2
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size))
    frequency = np.fft.rfftfreq(size, 1 / rate_hz)
    spectrum[(frequency < low) | (frequency > (high or rate_hz))] = 0
    return frequency[np.argmax(spectrum)]


def share_db(wave, rate_hz, low, high):
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / rate_hz)
    return 10 * np.log10(power[(frequency >= low) & (frequency < high)].sum() / power.sum() + 1e-12)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100])
def test_a_song_is_four_stereo_stems_of_the_length_asked_for(rate_hz):
    stems = render_song(5, 3.21, rate_hz)
    assert tuple(stems) == STEMS
    for wave in stems.values():
        assert wave.shape == (2, round(3.21 * rate_hz))
        assert wave.dtype == np.float32


def test_the_seed_decides_every_sample():
    first, again, other = (render_song(seed, 4.0, 8000) for seed in (7, 7, 8))
    for stem in STEMS:
        np.testing.assert_array_equal(first[stem], again[stem])
        assert not np.array_equal(first[stem], other[stem])


def test_the_global_source_of_chance_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    render_song(1, 1.0, 8000)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.floats(0.01, 5.0))
def test_no_song_clips_or_breaks(seed, seconds):
    stems = render_song(seed, seconds, 8000)
    for wave in (*stems.values(), sum(stems.values())):
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() <= 1.0


@pytest.mark.parametrize("style", [style.name for style in STYLES])
def test_in_every_style_all_four_play_at_levels_of_a_mix(style):
    stems = render_song(11, 12.0, 8000, style=style)
    levels = {stem: level_db(wave) for stem, wave in stems.items()}
    assert max(levels.values()) - min(levels.values()) < 14, levels
    assert all(-40 < level < -8 for level in levels.values()), levels


def test_absent_stems_are_silent_and_the_others_go_on():
    stems = render_song(3, 4.0, 8000, absent=("vocals", "bass"))
    assert not stems["vocals"].any()
    assert not stems["bass"].any()
    assert stems["drums"].any()
    assert stems["other"].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seconds": 0.0}, "length"),
        ({"seconds": float("nan")}, "length"),
        ({"rate_hz": 4000}, "8000"),
        ({"style": "opera"}, "no style 'opera'"),
        ({"absent": ("guitar",)}, "no stem 'guitar'"),
    ],
)
def test_what_the_band_cannot_play_is_said(given, words):
    with pytest.raises(ConfigError, match=words):
        render_song(**{"seed": 0, "seconds": 1.0, "rate_hz": 8000} | given)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(1, 300))
def test_the_form_has_no_gaps_and_covers_the_song(seed, seconds):
    song = compose(seed, seconds)
    beat, bar = 0.0, 0
    for section in song.sections:
        assert section.start_bar == bar
        bar += section.bars
        for chord in section.chords:
            assert chord.start_beat == pytest.approx(beat)
            assert {chord.root, *chord.tones} <= set(range(12))
            beat += chord.beats
        assert beat == pytest.approx(bar * song.style.beats)
    assert song.seconds(beat) >= seconds - 1e-6
    times = [song.seconds(step / 8) for step in range(200)]
    assert all(a < b for a, b in pairwise(times))
    assert song.seconds(16) == pytest.approx(16 * 60 / song.bpm)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_players_keep_to_their_ranges(seed):
    song = compose(seed, 40)
    hits = play_drums(song)
    assert hits == sorted(hits)
    assert all(0 < hit.velocity <= 1 and hit.start_s >= 0 for hit in hits)
    assert all(24 <= note.pitch <= 60 and note.duration_s > 0 for note in play_bass(song)[1])
    assert all(36 <= note.pitch <= 108 for part in play_others(song) for note in part.notes)
    _, phrases = play_vocals(song, 50, 66)
    chords = {tone for section in song.sections for chord in section.chords for tone in chord.tones}
    for phrase in phrases:
        assert all(50 <= syllable.pitch <= 66 for syllable in phrase)
        assert all(int(syllable.pitch) % 12 in chords | set(song.scale) for syllable in phrase)
        assert all(a.start_s < b.start_s for a, b in pairwise(phrase))


@pytest.mark.parametrize("sound", sorted(TIMBRES))
def test_every_instrument_plays_the_note_it_is_given(sound):
    timbre = TIMBRES[sound]._replace(vibrato=0.0, detune=0.0, knock=0.0)
    wave = render_notes([Note(0.1, 1.5, 57.0, 0.8)], timbre, 0, 0, 2 * RATE_HZ, RATE_HZ)
    assert np.abs(wave[: int(0.09 * RATE_HZ)]).max() < 1e-4
    harmonic = peak_hz(wave[int(0.15 * RATE_HZ) : int(0.7 * RATE_HZ)], RATE_HZ) / 220.0
    assert harmonic == pytest.approx(round(harmonic), rel=0.01)
    assert round(harmonic) >= 1


def test_a_glide_starts_at_the_note_before():
    notes = [Note(0.0, 0.5, 45.0, 0.9), Note(0.5, 0.5, 57.0, 0.9)]
    sliding = render_notes(notes, TIMBRES["sub"], 0, 0, RATE_HZ, RATE_HZ, glide=True)
    onset = sliding[int(0.502 * RATE_HZ) : int(0.54 * RATE_HZ)]
    assert peak_hz(onset, RATE_HZ, 60) < 200
    assert peak_hz(sliding[int(0.75 * RATE_HZ) : int(0.98 * RATE_HZ)], RATE_HZ, 60) == pytest.approx(220, rel=0.02)


@pytest.mark.parametrize("vowel", ["a", "i", "u"])
def test_the_singer_holds_the_pitch(vowel):
    phrase = [Syllable(0.7, 1.2, 57.0, 0.8, "", vowel, False)]
    start_s, wave = sing_phrase(phrase, STEADY, RATE_HZ, np.random.default_rng(0))
    inside = wave[int((1.0 - start_s) * RATE_HZ) : int((1.7 - start_s) * RATE_HZ)]
    ratio = np.correlate(inside, inside, "full")[len(inside) - 1 :]
    period = np.argmax(ratio[40:200]) + 40
    assert RATE_HZ / period == pytest.approx(220, rel=0.02)


def test_vowels_differ_where_ears_look():
    sung = {}
    for vowel in ("a", "i", "u"):
        phrase = [Syllable(0.7, 1.2, 45.0, 0.8, "", vowel, False)]
        sung[vowel] = sing_phrase(phrase, STEADY, RATE_HZ, np.random.default_rng(0))[1]
    assert share_db(sung["a"], RATE_HZ, 600, 1400) > share_db(sung["i"], RATE_HZ, 600, 1400) + 6
    assert share_db(sung["i"], RATE_HZ, 1800, 3000) > share_db(sung["u"], RATE_HZ, 1800, 3000) + 6


def test_an_s_hisses_before_the_beat_and_an_m_hums():
    spoken = {}
    for consonant in ("s", "m", ""):
        phrase = [Syllable(0.7, 0.8, 50.0, 0.8, consonant, "a", False)]
        start_s, wave = sing_phrase(phrase, STEADY, RATE_HZ, np.random.default_rng(0))
        spoken[consonant] = wave[int((0.63 - start_s) * RATE_HZ) : int((0.69 - start_s) * RATE_HZ)]
    assert share_db(spoken["s"], RATE_HZ, 4000, 8000) > -3
    assert share_db(spoken["m"], RATE_HZ, 80, 700) > -3
    assert level_db(spoken["s"]) > level_db(spoken[""]) + 10


def test_a_voice_is_silent_between_phrases():
    phrases = [[Syllable(0.6, 0.5, 52.0, 0.8, "", "a", False)], [Syllable(2.5, 0.5, 52.0, 0.8, "", "o", False)]]
    wave = render_voice(phrases, STEADY, 0, 0, 4 * RATE_HZ, RATE_HZ)
    assert level_db(wave[int(1.6 * RATE_HZ) : int(1.9 * RATE_HZ)]) < level_db(wave[int(0.7 * RATE_HZ) : RATE_HZ]) - 60


def test_the_beat_of_house_is_heard_in_the_drums():
    song = compose(4, 16.0, "house")
    low = drum_stem(song, 16 * RATE_HZ, RATE_HZ).mean(axis=0)
    spectrum = np.fft.rfft(low)
    spectrum[150 * 16 :] = 0
    strength = np.abs(np.fft.irfft(spectrum)).reshape(-1, RATE_HZ // 100).mean(axis=1)  # 100 a second
    strength = np.maximum(np.diff(strength), 0)
    pulse = np.correlate(strength, strength, "full")[len(strength) - 1 :]
    beat = 6000 / song.bpm
    lag = np.argmax(pulse[int(0.7 * beat) : int(1.3 * beat)]) + int(0.7 * beat)
    assert lag == pytest.approx(beat, abs=1.5)


def test_stems_lie_where_ears_expect_them():
    shares = {stem: [] for stem in STEMS}
    for seed in range(4):
        for stem, wave in render_song(seed, 8.0, RATE_HZ, style="pop").items():
            shares[stem].append(share_db(wave.mean(axis=0), RATE_HZ, 20, 250))
    assert np.median(shares["bass"]) > -3
    assert np.median(shares["vocals"]) < -6
    assert np.median(shares["other"]) < np.median(shares["bass"])


def test_players_have_chance_of_their_own(monkeypatch):
    song = compose(21, 20)
    bass, drums = play_bass(song), play_drums(song)
    monkeypatch.setattr(grooves, "stream", lambda seed, *parts: stream(seed + 1, *parts))
    assert play_drums(song) != drums and play_bass(song) == bass
    monkeypatch.setattr(lines, "stream", lambda seed, *parts: stream(seed + 1, *parts))
    assert play_bass(song) != bass


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40))
def test_sung_lines_of_any_seed_are_finite(seed):
    phrases = [[Syllable(0.3, 0.1, 40.0 + seed % 40, 1.0, "t", "i", True)]]
    singer = draw_singer(np.random.default_rng(seed))
    assert np.isfinite(render_voice(phrases, singer, seed, 0, 8000, 8000)).all()
