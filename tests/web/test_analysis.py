"""Tempo, beats, key and chords of songs that are known."""

import itertools
import json

import numpy as np
import pytest
import soundfile

from hyperstem.web.sound import harmony, rhythm
from hyperstem.web.sound.analysis import analyse
from hyperstem.web.sound.takes import Sound
from web_music import RATE_HZ, chords, drums

SONG = ["C", "Am", "F", "G"]


def lane(path, wave) -> Sound:
    """A lane on disk: float (time,) or (time, channel)."""
    samples = np.rint(np.clip(np.atleast_2d(wave.T).T, -1, 1) * 32767).astype("<i2")
    path.write_bytes(samples.tobytes())
    return Sound(path, 0, samples.shape[1], len(samples))


def song(folder, bpm=100.0, names=SONG * 4, beats=4, start_s=0.0, stems=True, rate_hz=RATE_HZ):
    treble, bass = chords(names, beats * 60 / bpm, rate_hz)
    silence = np.zeros(round(start_s * rate_hz), np.float32)
    waves = {"other": np.concatenate([silence, treble]), "bass": np.concatenate([silence, bass])}
    waves["drums"] = drums(bpm, len(waves["bass"]) / rate_hz, start_s, rate_hz)[: len(waves["bass"])]
    count = min(map(len, waves.values()))
    waves = {name: wave[:count] for name, wave in waves.items()}
    lanes = {"original": sum(waves.values()), **(waves if stems else {})}
    return {name: lane(folder / name, wave) for name, wave in lanes.items()}


@pytest.mark.parametrize("bpm", [88.0, 104.5, 120.0, 151.0])
@pytest.mark.parametrize("stems", [True, False], ids=["stems", "mixture alone"])
def test_tempo_and_beats(tmp_path, bpm, stems):
    known = analyse(song(tmp_path, bpm, start_s=0.37, stems=stems), RATE_HZ)
    assert known.tempo_bpm == pytest.approx(bpm, rel=0.01)
    truth = 0.37 + np.arange(64) * 60 / bpm
    nearest = np.abs(np.array(known.beats)[:, None] - truth).min(axis=1)
    assert len(known.beats) >= 60 and np.median(nearest) < 0.03 and (nearest < 0.07).mean() > 0.95


@pytest.mark.parametrize("beats", [3, 4])
def test_bars(tmp_path, beats):
    known = analyse(song(tmp_path, 110.0, SONG * 6, beats, start_s=0.5), RATE_HZ)
    assert known.beats_per_bar == beats
    opening = np.array(known.beats)[known.first_downbeat :: beats]
    bar_s = beats * 60 / 110
    assert np.median(np.abs((opening - 0.5 + bar_s / 2) % bar_s - bar_s / 2)) < 0.08


def test_chords_and_key(tmp_path):
    known = analyse(song(tmp_path, 100.0), RATE_HZ)
    assert known.key == "C major"
    heard = [
        next((one.name for one in known.chords if one.start_s <= at < one.end_s), None)
        for at in np.arange(16) * 2.4 + 1.2
    ]
    assert heard == SONG * 4
    pairs = list(itertools.pairwise(known.chords))
    assert all(a.end_s <= b.start_s and (a.name != b.name or a.end_s < b.start_s) for a, b in pairs)


def test_minor_key_and_other_names(tmp_path):
    assert analyse(song(tmp_path, 100.0, ["Am", "Dm", "Em", "Am"] * 4), RATE_HZ).key == "A minor"


def test_a_song_off_concert_pitch_keeps_its_chords(tmp_path):
    rate_hz = round(RATE_HZ * 2 ** (0.33 / 12))  # all sounds a third of a semitone lower when played at RATE_HZ
    known = analyse(song(tmp_path, 100.0, rate_hz=rate_hz), RATE_HZ)
    assert [one.name for one in known.chords][:4] == SONG


def test_silence_noise_and_short_sounds_have_no_tempo(tmp_path):
    rng = np.random.default_rng(0)
    for name, wave in {
        "silence": np.zeros(RATE_HZ * 10),
        "noise": rng.standard_normal(RATE_HZ * 20) * 0.1,
        "short": rng.standard_normal(300) * 0.1,
        "one": np.zeros(1),
        "none": np.zeros(0),
    }.items():
        known = analyse({"original": lane(tmp_path / name, wave)}, RATE_HZ)
        assert known.tempo_bpm is None and known.beats == [], name
        if name in ("silence", "none", "one"):
            assert known.key is None and known.chords == [], name
        json.dumps(known.__dict__ | {"chords": []}, allow_nan=False)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
def test_any_rate_and_channels(tmp_path, rate_hz, channels):
    wave = drums(120.0, 12.0, rate_hz=rate_hz)
    known = analyse({"original": lane(tmp_path / "original", np.stack([wave] * channels, axis=1))}, rate_hz)
    assert known.tempo_bpm == pytest.approx(120.0, rel=0.01)


def test_blocks_of_any_length_give_the_same():
    wave = np.concatenate(chords(SONG, 1.0)).astype(np.float32)
    for make in (rhythm.SpectralFlux, harmony.NoteLevels):
        whole, parts = make(), make()
        whole.add(wave)
        for part in np.array_split(wave, 37):
            parts.add(part)
        np.testing.assert_allclose(whole.finish(), parts.finish(), atol=1e-4)


def test_the_api_serves_what_the_worker_found(tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from web_studio import Studio

    lanes = song(tmp_path, 100.0)
    soundfile.write(tmp_path / "song.wav", lanes["original"].read(0, 1 << 30), RATE_HZ)
    with Studio(tmp_path / "studio") as studio:
        job = studio.separate(tmp_path / "song.wav")
        assert job["analysed"] and job["tempo_bpm"] == pytest.approx(100, rel=0.01) and job["key"] == "C major"
        known = studio.client.get(f"/api/v1/jobs/{job['id']}/analysis").json()
        assert known["tempo_bpm"] == job["tempo_bpm"] and known["key"] == job["key"]
        assert len(known["beats"]) > 50 and {"start_s", "end_s", "name"} == set(known["chords"][0])
        kept = tmp_path / "studio" / "jobs" / job["id"] / "analysis.json"
        kept.write_text("{")
        assert studio.client.get(f"/api/v1/jobs/{job['id']}/analysis").status_code == 404
        again = studio.client.post(f"/api/v1/jobs/{job['id']}/restart", params={"quality": "preview"}).json()
        assert again["analysed"] is False and again["tempo_bpm"] is None
        studio.wait(job["id"])
        assert studio.client.get(f"/api/v1/jobs/{job['id']}/analysis").json()["key"] == "C major"
