"""Measures of what an ear notices: bands add up, onsets are where sound begins, rests are where it does not."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate_signals import noise, stems_and_estimates
from hyperstem.dsp.measures import track_sdr
from hyperstem.evaluate import listening, report, scores
from hyperstem.evaluate.runner import score_song
from hyperstem.evaluate.songs import Song

RATE_HZ = 44100


def tone(hz, seconds=1.0, rate_hz=RATE_HZ):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)[None].astype(np.float32)


@pytest.mark.parametrize(("hz", "band"), [(60, 0), (240, 0), (260, 1), (2000, 2), (5000, 3), (19000, 4)])
def test_a_tone_lies_in_its_band(hz, band):
    energies = listening.band_energies(tone(hz), RATE_HZ)
    assert energies[band] > 0.95 * energies.sum()
    np.testing.assert_allclose(energies.sum(), np.square(tone(hz)).sum(), rtol=1e-3)


@settings(deadline=None, max_examples=20)
@given(samples=st.integers(1, 9000), channels=st.integers(1, 2))
def test_energies_of_the_bands_add_up_to_the_waves(samples, channels):
    wave = noise("sum", channels, samples)
    energies = listening.band_energies(wave, 16000)
    assert np.isnan(energies[-1])  # above the sample rate's half
    np.testing.assert_allclose(np.nansum(energies), np.square(wave.astype(np.float64)).sum(), rtol=1e-5)


def test_a_leak_lowers_the_sdr_of_its_band_alone():
    true = sum(tone(hz) for hz in (100, 500, 2000, 6000, 15000))
    found = listening.listening_scores(true[None], [(true + 0.1 * tone(2500))[None]], true, RATE_HZ)[0]
    bands = [found[measure][0] for measure in listening.BAND_MEASURES]
    assert bands[2] == pytest.approx(20, abs=0.2)
    assert all(np.isnan(bands[i]) or bands[i] > 60 for i in (0, 1, 3, 4))


def test_a_band_in_which_a_stem_is_not_heard_has_no_score():
    bass, mixture = tone(100), tone(100) + tone(6000)
    found = listening.listening_scores(np.stack([bass]), [np.stack([0.9 * mixture])], mixture, RATE_HZ)[0]
    assert found["SDR 0-250 Hz"][0] == pytest.approx(20, abs=0.1)
    assert np.isnan(found["SDR 4-10 kHz"][0])


def hits(at_s, seconds, rate_hz, decay_s=0.06):
    wave = np.zeros((2, int(seconds * rate_hz)), np.float32)
    for i, start in enumerate(at_s):
        first = round(start * rate_hz)
        length = wave.shape[1] - first
        envelope = np.exp(-np.arange(length) / (decay_s * rate_hz)) * (0.3 + 0.7 * (i % 3 == 0))
        wave[:, first:] += noise(f"hit {i}", 2, length) * envelope.astype(np.float32)
    return wave


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_onsets_of_hits_are_found_to_a_few_milliseconds(rate_hz):
    at_s = 0.2 + 0.31 * np.arange(12)
    found = listening.onsets(hits(at_s, 4.2, rate_hz), rate_hz) / rate_hz
    assert len(found) == len(at_s)
    assert np.abs(found - at_s).max() < 0.008


@pytest.mark.parametrize("gain", [1e-3, 1.0])
def test_onsets_of_low_notes_are_found_at_any_level(gain):
    at_s = 0.1 + 0.5 * np.arange(8)
    wave = np.zeros((1, 5 * RATE_HZ), np.float32)
    for start, hz in zip(at_s, (55, 73, 82, 110) * 2, strict=True):
        time = np.arange(int(0.45 * RATE_HZ)) / RATE_HZ
        envelope = np.minimum(1, time / 0.01) * np.minimum(1, (0.45 - time) / 0.1)
        first = round(start * RATE_HZ)
        wave[0, first : first + len(time)] += envelope * np.sin(2 * np.pi * hz * time) * gain
    found = listening.onsets(wave, RATE_HZ) / RATE_HZ
    assert len(found) == len(at_s) and np.abs(found - at_s).max() < 0.012


def test_silence_and_a_held_tone_have_no_onsets():
    assert listening.onsets(np.zeros((2, RATE_HZ), np.float32), RATE_HZ).size == 0
    held = tone(440, 3.0) * np.minimum(1, np.minimum(np.arange(3 * RATE_HZ), np.arange(3 * RATE_HZ)[::-1]) / RATE_HZ)
    assert listening.onsets(held.astype(np.float32), RATE_HZ).size == 0


def test_channels_in_opposite_phase_have_onsets_too():
    wave = hits([0.2, 0.6], 1.0, RATE_HZ)
    wave[1] = -wave[0]
    assert listening.onsets(wave, RATE_HZ).size == 2


def test_smeared_attacks_score_lower_than_the_whole():
    at_s = 0.3 + 0.4 * np.arange(6)
    true = hits(at_s, 3.0, RATE_HZ, decay_s=0.12)
    smeared = true.copy()
    for start in at_s:
        first = round(start * RATE_HZ)
        smeared[:, first : first + RATE_HZ // 50] *= 0.3
    whole = track_sdr(true[None], smeared[None])[0]
    attack = listening.attack_sdr(true, smeared, listening.onsets(true, RATE_HZ), RATE_HZ)
    assert attack < whole - 1
    assert np.isnan(listening.attack_sdr(true, smeared, np.zeros(0, int), RATE_HZ))


def test_the_level_of_a_stem_that_rests():
    rate_hz = 8000
    mixture = noise("mixture", 2, 4 * rate_hz)
    reference = noise("stem", 2, 4 * rate_hz)
    reference[:, rate_hz : 3 * rate_hz] *= np.float32(1e-4)  # four windows
    estimate = reference.copy()
    estimate[:, rate_hz : 2 * rate_hz] = 0.01 * mixture[:, rate_hz : 2 * rate_hz]
    estimate[:, 2 * rate_hz : 3 * rate_hz] = 0
    estimate[:, int(2.5 * rate_hz) : 3 * rate_hz] = 0.1 * mixture[:, int(2.5 * rate_hz) : 3 * rate_hz]
    levels = listening.rest_levels(reference, estimate, mixture, rate_hz)
    np.testing.assert_allclose(levels, [-40, -40, -120, -20], atol=1e-3)
    mixture[:, rate_hz : 2 * rate_hz] *= np.float32(1e-4)  # where all is silent nobody hears a leak's share
    np.testing.assert_allclose(listening.rest_levels(reference, estimate, mixture, rate_hz), [-120, -20], atol=1e-3)


def test_the_worst_rest_of_all_songs_is_the_worst_of_any():
    songs = [
        scores.SongScores(str(i), {}, {"drums": {"rest level": level - 9, "worst rest level": level}})
        for i, level in enumerate((-40.0, -3.0, -50.0))
    ]
    assert scores.over_songs(songs, "drums", "worst rest level") == scores.Cell(-3.0, 3)
    assert scores.over_songs(songs, "drums", "rest level") == scores.Cell(-49.0, 3)
    assert np.isnan(scores.over_songs(songs, "vocals", "worst rest level").value)


def test_listening_measures_are_saved_and_shown(tmp_path):
    references, estimates = stems_and_estimates()
    song = Song("song", ("drums", "vocals"), references, references[:0], references.sum(axis=0), 8000, ())
    result = score_song(song, [estimates])[0]
    scores.save(tmp_path / "song.json", result, "fast")
    again = scores.load(tmp_path / "song.json")
    assert again.complete and again.median("vocals", "worst rest level") == result.median("vocals", "worst rest level")
    assert -40 < again.median("vocals", "rest level") < 0
    row = report.row("mine", [again], song.stems)
    table = report.listening_table([row], song.stems)
    line = next(line for line in table.splitlines() if line.startswith("vocals"))
    assert line.split()[1:] == [
        "-" if np.isnan(value) else f"{value:.2f}"
        for value in (again.median("vocals", measure) for measure in listening.LISTENING_MEASURES)
    ]
    assert f"| mine | vocals | {' | '.join(line.split()[1:])} |" in report.markdown([row], song.stems, 1, "here")


def test_scores_without_listening_measures_are_not_complete(tmp_path):
    frame = {"time": 0.0, "duration": 1.0, "metrics": dict.fromkeys(scores.FRAME_MEASURES, 1.0)}
    target = {"name": "drums", "frames": [frame], "track": {"SI-SDR": 1.0, "track SDR": 1.0}}
    (tmp_path / "old.json").write_text(json.dumps({"targets": [target]}))
    assert not scores.load(tmp_path / "old.json").complete
