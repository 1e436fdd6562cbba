import io
import zipfile

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.errors import AudioError
from hyperstem.web.sound.archive import stream_zip
from hyperstem.web.sound.mix import Lane, blocks, pan_matrix, render, wav_bytes
from hyperstem.web.sound.peaks import STEP, PeakBuilder, coarser, compute_peaks
from hyperstem.web.sound.spectrogram import FLOOR_DB, spectrogram_levels
from hyperstem.web.sound.takes import Sound, TakeWriter, find_sound, load_peaks, raw_sound, to_int16, wav_sound


def noise(frames, channels=2, seed=0, level=8000):
    return (
        (np.random.default_rng(seed).standard_normal((frames, channels)) * level).clip(-32768, 32767).astype(np.int16)
    )


def lane_of(path, samples, volume=1.0, pan=0.0):
    samples.astype("<i2").tofile(path)
    return Lane(Sound(path, 0, samples.shape[1], len(samples)), volume, pan)


# Outlines


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 3))
def test_outline_in_blocks_is_that_of_the_whole(lengths, channels):
    whole = noise(sum(lengths), channels)
    builder = PeakBuilder()
    parts = [builder.add(block) for block in np.split(whole, np.cumsum(lengths)[:-1])]
    assert np.array_equal(np.concatenate([*parts, builder.finish()]), compute_peaks(whole))


def test_outline_holds_every_sample_and_a_coarser_one_too():
    samples = noise(STEP * 50 + 7)
    fine = compute_peaks(samples)
    assert len(fine) == 51
    for factor in (1, 2, 16, 64):
        points = coarser(fine, factor)
        for i, (low, high) in enumerate(points):
            part = samples[i * factor * STEP : (i + 1) * factor * STEP].astype(float) * 127 / 32768
            assert low - 1e-6 <= part.min() and part.max() <= high + 1e-6
            assert low >= part.min() - 1 and high <= part.max() + 1


def test_quiet_sound_is_seen_and_silence_is_flat():
    assert compute_peaks(np.full((STEP, 1), 3, np.int16)).tolist() == [[1, 1]]
    assert compute_peaks(np.zeros((STEP, 2), np.int16)).tolist() == [[0, 0]]


# Spectrogram


@pytest.mark.parametrize("hz", [100.0, 1000.0, 8000.0])
def test_a_tone_stands_at_its_frequency(hz):
    rate, rows = 44100, 96
    tone = np.rint(np.sin(2 * np.pi * hz * np.arange(rate) / rate) * 32767).astype(np.int16)[:, None]
    levels = spectrogram_levels(tone, rate, columns=20, rows=rows)
    assert levels.shape == (rows, 20)
    column = levels[:, 10]
    row = rows - 1 - column.argmax()  # the highest frequency comes first
    edges = 30 * (20000 / 30) ** (np.arange(rows + 1) / rows)
    bin_hz = rate / 2048
    assert edges[max(0, row - 1)] - bin_hz <= hz <= edges[min(rows, row + 2)] + bin_hz
    assert column.max() >= 255 * (1 - 3 / -FLOOR_DB)  # full scale, less what falls between bins
    assert np.median(column) < 90


def test_silence_is_black_and_a_single_sample_is_no_problem():
    assert not spectrogram_levels(np.zeros((5000, 2), np.int16), 44100, 30, 40).any()
    assert spectrogram_levels(np.ones((1, 1), np.int16), 8000, 3, 4).shape == (4, 3)


# Mix


def test_pan_is_that_of_the_stereo_panner():
    assert np.allclose(pan_matrix(0), np.eye(2))
    assert np.allclose(pan_matrix(-1), [[1, 1], [0, 0]])
    assert np.allclose(pan_matrix(1), [[0, 0], [1, 1]])
    assert np.allclose(pan_matrix(0.5), [[np.cos(np.pi / 4), 0], [np.sin(np.pi / 4), 1]])


def test_untouched_mix_is_the_sum_to_the_step(tmp_path):
    parts = [noise(200_000, seed=i, level=3000) for i in range(4)]
    lanes = [lane_of(tmp_path / str(i), part) for i, part in enumerate(parts)]
    data = b"".join(render(lanes, 2, 200_000, 44100))
    assert len(data) == wav_bytes(lanes, 2, 200_000)
    written, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == 44100
    assert np.array_equal(written, sum(part.astype(int) for part in parts))


def test_a_mix_that_would_clip_is_turned_down_as_a_whole(tmp_path):
    loud = noise(3000, level=12000)
    lanes = [lane_of(tmp_path / "a", loud), lane_of(tmp_path / "b", loud)]
    written, _ = soundfile.read(io.BytesIO(b"".join(render(lanes, 2, 3000, 8000))), dtype="int16")
    assert np.abs(written.astype(int)).max() == 32767
    scale = 32767 / np.abs(loud.astype(int) * 2).max()
    assert np.abs(written - loud * 2.0 * scale).max() <= 1


def test_mono_stays_mono_until_panned(tmp_path):
    samples = noise(1000, channels=1)
    middle = np.concatenate(list(blocks([lane_of(tmp_path / "a", samples)], 1, 1000)))
    right = np.concatenate(list(blocks([lane_of(tmp_path / "b", samples, pan=1.0)], 1, 1000)))
    assert middle.shape == (1000, 1) and right.shape == (1000, 2)
    assert not right[:, 0].any() or np.abs(right[:, 0]).max() < 1e-6
    surround = np.concatenate(list(blocks([lane_of(tmp_path / "c", noise(50, 6), volume=0.5, pan=-1)], 6, 50)))
    assert np.allclose(surround, noise(50, 6) / 65536)


# Takes


def test_growing_take_can_be_read_while_it_grows(tmp_path):
    wave = noise(STEP * 3 + 10).T / 32768
    writer = TakeWriter(tmp_path, "preview")
    assert writer.add({"bass": wave, "drums": wave * 0.5}) == STEP * 3 + 10
    sound = find_sound(tmp_path, "preview", "bass", 2, None)
    assert sound.frames == STEP * 3 + 10
    assert np.array_equal(sound.read(5, 20), to_int16(wave)[5:25])
    assert np.array_equal(sound.read(STEP * 3, 500), to_int16(wave)[STEP * 3 :])
    assert sound.read(10**9, 5).shape == (0, 2)
    assert len(load_peaks(tmp_path, "preview", "bass", STEP, 0)) == 3
    writer.add({"bass": wave, "drums": wave})
    writer.close()
    assert raw_sound(tmp_path, "preview", "drums", 2).frames == 2 * wave.shape[1]
    whole = compute_peaks(np.concatenate([to_int16(wave)] * 2))
    assert np.array_equal(load_peaks(tmp_path, "preview", "bass", STEP, 0), whole)
    assert np.array_equal(load_peaks(tmp_path, "preview", "bass", STEP * 2, 1), coarser(whole[2:], 2))
    assert find_sound(tmp_path, "preview", "vocals", 2, None) is None


@pytest.mark.parametrize("subtype, fine", [("PCM_16", True), ("PCM_24", False)])
def test_wav_samples_are_found_behind_other_chunks(tmp_path, subtype, fine):
    path = tmp_path / "a.wav"
    samples = noise(100)
    with soundfile.SoundFile(path, "w", 8000, 2, subtype) as file:
        file.title = "before the samples, or after"
        file.write(samples)
    if fine:
        assert np.array_equal(wav_sound(path).mapped(), samples)
    else:
        with pytest.raises(AudioError, match="16-bit"):
            wav_sound(path)


def test_foreign_files_are_no_wav(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"fLaC" + bytes(50))
    with pytest.raises(AudioError, match="no wav"):
        wav_sound(path)


def test_zip_is_whole_and_streamed(tmp_path):
    contents = {f"Söng/{name}.wav": bytes([i]) * 700_000 for i, name in enumerate(("drums", "bass"))}
    files = {}
    for name, content in contents.items():
        files[name] = tmp_path / name.replace("/", "_")
        files[name].write_bytes(content)
    pieces = list(stream_zip(files))
    assert max(map(len, pieces)) < 400_000
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
