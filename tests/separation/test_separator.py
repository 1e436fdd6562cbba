import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperstem import audio
from hyperstem.errors import AudioError, ConfigError, ModelError
from hyperstem.models import engines
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.separator import Cancelled, Separator, Stems, separate
from hyperstem.separation.stem_files import StemFiles
from separation_standin import GAINS, HERE, StandIn, clicks, encode, lag, loaded, noise, separator

STEMS = ("drums", "bass", "other", "vocals")


@pytest.mark.parametrize("quality", ("preview", "full"))
@pytest.mark.parametrize("model_channels", (1, 2))
@pytest.mark.parametrize("channels", (1, 2, 3, 6))
@pytest.mark.parametrize("rate_hz", (4000, 8000, 11025, 32000, 44100, 48000, 192000))
def test_rate_channels_and_length_are_those_of_the_input(rate_hz, channels, model_channels, quality):
    wave = noise(channels, round(rate_hz * 0.7) + 13)
    stems = separator(model_channels, segment_s=0.3, quality=quality).separate(wave, rate_hz)
    assert tuple(stems) == STEMS
    assert stems.rate_hz == rate_hz
    assert all(stem.shape == wave.shape and stem.dtype == np.float32 for stem in stems.values())
    assert np.isfinite(stems.waves).all()
    assert np.abs(stems.waves.sum(axis=0) - wave).max() < 1e-6


class Uneven(StandIn):
    """Its right channel is softer than its left, as if the network heard the sound on the left."""

    def separate(self, pyramid):
        stems = super().separate(pyramid)
        stems[:, :, 1:] *= 0.8
        return stems


@given(
    length=st.integers(1, 30_000),
    rate_hz=st.integers(4000, 192_000),
    level_db=st.floats(-80, 20),
    overlap=st.floats(0, 0.9),
)
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
def test_any_length_rate_level_and_overlap(length, rate_hz, level_db, overlap):
    wave = noise(1, length, 10 ** (level_db / 20), seed=length)
    stems = separator(segment_s=0.11, overlap=overlap).separate(wave, rate_hz)
    assert stems.waves.shape == (4, 1, length)
    assert np.isfinite(stems.waves).all()
    assert np.abs(stems.waves.sum(axis=0) - wave).max() <= 1e-6 * max(1, np.abs(wave).max())


@pytest.mark.parametrize("rate_hz", (8000, 22050, 32000, 44100, 48000, 96000))
def test_transients_stay_where_they_were(rate_hz):
    wave = clicks(1, rate_hz * 2, (rate_hz // 10, rate_hz, rate_hz * 19 // 10))
    for name, stem in separator(segment_s=0.5).separate(wave, rate_hz).items():
        assert lag(stem[0], wave[0]) == 0, name


def test_in_band_sound_goes_where_the_network_says():
    time_s = np.arange(44100 * 2) / 44100
    wave = np.sin(2 * np.pi * 1000 * time_s, dtype=np.float32)[None] * np.float32(0.3)
    stems = separator(segment_s=0.5).separate(wave, 44100)
    shares = np.array(GAINS) + (1 - sum(GAINS)) * np.array(GAINS) ** 2 / sum(gain**2 for gain in GAINS)
    for stem, part in zip(stems.values(), shares, strict=True):
        assert np.allclose(stem[:, 500:-500], wave[:, 500:-500] * part, atol=2e-4)


def test_sound_above_the_models_rate_is_shared_not_lost():
    time_s = np.arange(44100) / 44100
    wave = (np.sin(2 * np.pi * 500 * time_s) + 0.2 * np.sin(2 * np.pi * 19_000 * time_s))[None].astype(np.float32) * 0.3
    stems = separator(segment_s=0.5).separate(wave, 44100)
    high = [np.abs(np.fft.rfft(stem[0]))[19_000] for stem in stems.values()]
    assert sum(high) == pytest.approx(np.abs(np.fft.rfft(wave[0]))[19_000], rel=1e-3)
    assert high[0] > high[1] > high[2] > high[3]


def test_no_clicks_at_segment_borders():
    time_s = np.arange(32_000 * 3) / 32_000
    wave = np.sin(2 * np.pi * 200 * time_s, dtype=np.float32)[None]

    class Uneven(StandIn):
        def separate(self, pyramid):
            stems = super().separate(pyramid)
            stems[:, 0] *= 1 + 0.5 * (len(self.lengths) % 2)  # segments that do not agree
            return stems

    stems = Separator(loaded(Uneven(segment_s=0.5), workers=1)).separate(wave, 32_000)
    curvature = np.abs(np.diff(stems["drums"][0], 2))
    assert curvature.max() < 1.2 * (2 * np.pi * 200 / 32_000) ** 2


def test_silence_in_silence_out_without_the_network():
    engine = StandIn()
    stems = Separator(loaded(engine)).separate(np.zeros((2, 100_000), np.float32), 44100)
    assert not stems.waves.any()
    assert engine.levels == []


def test_near_silence_is_shared_out():
    wave = noise(1, 50_000, 1e-8)
    stems = separator().separate(wave, 44100)
    assert np.allclose(stems.waves, wave / 4, atol=1e-12)


def test_one_silent_channel_does_no_harm():
    wave = noise(2, 50_000)
    wave[1] = 0
    stems = separator().separate(wave, 44100)
    assert not stems.waves[:, 1].any()
    assert np.abs(stems.waves.sum(axis=0) - wave).max() < 1e-6


class Leaking(StandIn):
    """Channels and times leak into each other, as in a network whose channels come from one latent."""

    def separate(self, pyramid):
        stems = super().separate(pyramid)
        hum = np.sin(np.arange(stems.shape[-1]) * 0.1).astype(np.float32)
        return stems + 0.1 * stems[:, :, ::-1] + 0.05 * hum * np.array([1, -1, 1, -1], np.float32)[:, None, None]


def test_a_silent_channel_stays_silent_whatever_the_network_says():
    wave = noise(2, 100_000)
    wave[1] = 0
    stems = Separator(loaded(Leaking(channels=2))).separate(wave, 44100)
    assert np.abs(stems.waves[:, 1]).max() < 1e-6
    assert np.abs(stems.waves[:, 0]).max() > 0.01
    assert np.abs(stems.waves.sum(axis=0) - wave).max() < 1e-6


def test_a_rest_stays_silent_whatever_the_network_says():
    wave = noise(2, 200_000)
    wave[:, 60_000:120_000] = 0
    stems = Separator(loaded(Leaking(channels=2))).separate(wave, 44100)
    fade = round(44100 * 0.06)
    assert np.abs(stems.waves[..., 60_000 + fade : 120_000 - fade]).max() < 1e-6
    assert np.abs(stems.waves.sum(axis=0) - wave).max() < 1e-6
    whole = Separator(loaded(Leaking(channels=2))).separate(noise(2, 200_000), 44100)
    assert np.abs(np.diff(stems.waves, n=2)).max() < 1.5 * np.abs(np.diff(whole.waves, n=2)).max()  # no clicks


def test_any_rate_is_assembled_in_small_parts():
    wave = noise(2, 400_000)
    blocks = list(separator(2).stream_blocks(iter([wave]), 192_000))
    assert max(block.waves.shape[-1] for block in blocks) <= 1.1 * (1 << 16)


@pytest.mark.parametrize("blocks", ([], [0], [0, 0]))
def test_blocks_without_samples(blocks):
    with pytest.raises(AudioError, match="no samples"):
        list(separator().stream_blocks((noise(1, count) for count in blocks), 44100))


def test_the_network_sees_level_1_and_whole_segments():
    engine = StandIn(segment_s=1.0)
    Separator(loaded(engine)).separate(noise(1, 200_003, 0.003), 44100)
    assert set(engine.lengths) == {32_000}
    assert np.allclose(engine.levels, 1, atol=1e-3)


@pytest.mark.parametrize("level_db", (-80, -20, 20))
def test_any_level_gives_the_same_stems_scaled(level_db):
    class Level(StandIn):
        def separate(self, pyramid):
            return np.tanh(super().separate(pyramid))  # no scaling passes through this

    gain = np.float32(10 ** (level_db / 20))
    wave = noise(2, 60_000, 0.1)
    expected = Separator(loaded(Level())).separate(wave, 44100).waves
    result = Separator(loaded(Level())).separate(wave * gain, 44100).waves
    assert np.abs(result / gain - expected).max() < 1e-5


@pytest.mark.parametrize("length", (1, 2, 5, 50, 441))
def test_a_few_samples_are_separated_like_any_other(length):
    wave = noise(2, length)
    stems = separator().separate(wave, 44100)
    assert stems.waves.shape == (4, 2, length)
    assert np.abs(stems.waves.sum(axis=0) - wave).max() < 1e-6


def test_worker_counts_and_runs_give_the_same(tmp_path):
    path = tmp_path / "a.wav"
    audio.write(path, noise(2, 150_000), 44100)
    results = [separator(workers=workers, segment_s=0.5).separate_file(path).waves for workers in (1, 2, 5, 2)]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_array_and_file_give_the_same(tmp_path):
    path = tmp_path / "a.wav"
    wave = noise(2, 150_000)
    audio.write(path, wave, 44100, subtype="float")
    model = separator(segment_s=0.5)
    assert np.array_equal(model.separate(wave, 44100).waves, model.separate_file(path).waves)


def test_one_separator_on_many_threads():
    model = separator(segment_s=0.5)
    waves = [noise(2, 60_000, seed=i) for i in range(4)]
    expected = [model.separate(wave, 44100).waves for wave in waves]
    results = [None] * 4

    def run(i: int) -> None:
        results[i] = model.separate(waves[i], 44100).waves

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_the_first_block_comes_before_the_file_has_been_read():
    given_s = []

    def blocks():
        for i in range(1000):
            given_s.append(i)
            yield noise(1, 44_100, seed=i)

    stream = separator(segment_s=2.0).stream_blocks(blocks(), 44100)
    first = next(stream)
    assert first.start == 0
    assert len(given_s) < 40
    stream.close()


def test_blocks_follow_each_other(tmp_path):
    path = encode(tmp_path / "a.m4a", "aac", noise(2, 200_000), 44100)
    at = 0
    for block in separator().stream(path, start_s=1.0, duration_s=2.0):
        assert block.start == at
        assert block.rate_hz == 44100
        assert set(block.stems) == set(STEMS)
        assert np.array_equal(block["bass"], block.stems["bass"])
        at += block.mixture.shape[1]
    assert at == 88_200
    with pytest.raises(KeyError, match="no stem 'flute'; there are drums"):
        block["flute"]


def test_progress_and_cancel():
    told = []
    separator(segment_s=0.5).separate(noise(1, 100_000), 44100, progress=lambda *at: told.append(at))
    done = [at for at, _ in told]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(100_000 / 44100)
    assert {total for _, total in told} == {100_000 / 44100}
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        separator(segment_s=0.5, delay_s=0.1).separate(noise(1, 44_100 * 600), 44100, cancel=cancel)
    assert time.monotonic() - begun < 10
    assert threading.active_count() < 12


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros((2, 0)), "at least one sample"),
        (np.zeros((0, 5)), "at least one sample"),
        (np.zeros((1, 2, 3)), r"\(channel, time\)"),
        (np.zeros((4410, 2)), r"4410 channels.* \(channel, time\)"),
        (np.array([[0, np.nan]]), "NaN or infinite"),
        (np.array([[0, -np.inf]]), "NaN or infinite"),
    ],
)
def test_bad_waves(wave, message):
    with pytest.raises(AudioError, match=message):
        separator().separate(wave, 44100)


@pytest.mark.parametrize("rate_hz", (0, -1, 44100.5))
def test_bad_rates(rate_hz):
    with pytest.raises(AudioError, match="positive whole number"):
        separator().separate(np.zeros((1, 10)), rate_hz)


@pytest.mark.parametrize("channels", [2, 4])
def test_equal_channels_give_equal_channels(channels):
    wave = np.repeat(noise(1, 100_000), channels, axis=0)
    wave[:, 40_000:60_000] = 0
    stems = Separator(loaded(Uneven(channels=2)), segment_s=0.5).separate(wave, 44100)
    assert (stems.waves == stems.waves[:, :1]).all()
    wave[0, 50] += 1e-3
    assert not (Separator(loaded(Uneven(channels=2))).separate(wave, 44100).waves[:, 0] == stems.waves[:, 1]).all()


def test_one_dimension_is_one_channel():
    assert separator().separate(np.zeros(10), 44100)["bass"].shape == (1, 10)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"quality": "best"}, "preview, standard, full"),
        ({"overlap": 1.0}, r"0 to 0\.9"),
        ({"segment_s": float("nan")}, r"at least 0\.1"),
        ({"segment_s": 0.0}, r"at least 0\.1"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ConfigError, match=message):
        Separator(loaded(StandIn()), **setting)


def test_quality_runs_one_two_or_all_stages():
    for quality, stages, rate_hz in (("preview", 1, 8000), ("standard", 2, 16000), ("full", 3, 32000)):
        engine = StandIn()
        model = Separator(loaded(engine), quality)
        assert (model.stages, model.rate_hz) == (stages, rate_hz)
        model.separate(noise(1, 1000), 44100)
        assert engine.lengths == [rate_hz]


def test_a_network_that_gives_nan_is_an_error():
    class Broken(StandIn):
        def separate(self, pyramid):
            return super().separate(pyramid) * np.float32(np.nan)

    with pytest.raises(ModelError, match="not finite"):
        Separator(loaded(Broken())).separate(noise(1, 1000), 44100)


@pytest.mark.parametrize(("device", "threads", "message"), [("tpu", None, "auto, cpu, cuda"), ("cpu", 0, "at least 1")])
def test_devices_and_threads(device, threads, message):
    with pytest.raises(ConfigError, match=message):
        engines.load("default", device, threads)


def test_a_missing_model():
    with pytest.raises(ModelError, match=r"no model .nowhere\.onnx."):
        Separator.load("nowhere.onnx")


def test_a_missing_song_is_found_before_the_model_loads():
    with pytest.raises(FileNotFoundError):
        separate("no such song.mp3")


@pytest.mark.parametrize("level", (0.1, 2.0))
@pytest.mark.parametrize(
    ("name", "subtype", "steps"),
    [
        ("wav", "pcm16", 32768),
        ("wav", "pcm24", 1 << 23),
        ("flac", "pcm16", 32768),
        ("flac", "pcm24", 1 << 23),
    ],
)
def test_saved_stems_sum_to_the_input_within_one_step(tmp_path, name, subtype, steps, level):
    wave = noise(2, 300_001, level)
    wave[:, :100_000] *= 0.1  # the peaks come late: what was written must be scaled again
    stems = separator(segment_s=0.5).separate(wave, 44100)
    output = stems.save(tmp_path / "out", name, subtype)
    assert (output.gain < 1) == (level > 1)
    assert output.peak == pytest.approx(np.abs(stems.waves).max(), rel=1e-6)
    files = {path.stem: audio.read(path)[0].astype(np.float64) for path in output.paths.values()}
    assert set(files) == set(STEMS)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}.{name}" for stem in STEMS}
    assert max(np.abs(file).max() for file in files.values()) <= 1
    assert np.abs(sum(files.values()) - wave.astype(np.float64) * output.gain).max() * steps <= 1
    for stem, file in files.items():
        assert np.abs(file - stems[stem] * output.gain).max() * steps <= 4


def test_16_bit_input_is_met_exactly(tmp_path):
    steps = np.random.default_rng(0).integers(-32768, 32768, (2, 100_000))
    wave = (steps / 32768).astype(np.float32)
    stems = separator(segment_s=0.5).separate(wave, 44100)
    output = stems.save(tmp_path)
    total = sum(np.rint(audio.read(path)[0].astype(np.float64) * 32768) for path in output.paths.values())
    assert output.gain == 1
    assert np.array_equal(total, steps)


def test_full_scale_that_fits_is_not_scaled(tmp_path):
    wave = np.full((1, 20_000), -1.0, np.float32)
    waves = np.stack([wave, wave * 0, wave * 0, wave * 0])
    assert Stems(STEMS, waves, wave, 44100).save(tmp_path).gain == 1


@pytest.mark.parametrize("clip", ("clamp", "error"))
def test_other_ways_with_peaks(tmp_path, clip):
    wave = noise(1, 50_000, 2.0)
    waves = separator().separate(wave, 44100).waves
    paths = {stem: tmp_path / f"{stem}.wav" for stem in STEMS}
    with StemFiles(paths, OutputSettings(audio.named_format("wav"), clip=clip), STEMS, 44100, 1) as files:
        if clip == "error":
            with pytest.raises(AudioError, match=r"is above 1 near 0\.00 s"):
                files.write(wave, waves)
            return
        files.write(wave, waves)
        output = files.close()
    assert output.gain == 1
    assert np.allclose(audio.read(paths["drums"])[0], np.clip(waves[0], -1, 1), atol=2e-4)


def test_float_files_hold_any_peak(tmp_path):
    wave = noise(1, 50_000, 3.0)
    stems = separator().separate(wave, 44100)
    output = stems.save(tmp_path, "wav", "float")
    assert output.gain == 1
    assert np.array_equal(audio.read(output.paths["drums"])[0], stems["drums"])


@pytest.mark.parametrize("name", ("mp3", "ogg", "opus", "m4a"))
def test_lossy_files_are_as_long_as_they_should_be(tmp_path, name):
    wave = clicks(2, 100_001, (5000, 50_000))
    stems = separator().separate(wave, 48_000)
    for path in stems.save(tmp_path, name).paths.values():
        result, rate_hz = audio.read(path)
        assert rate_hz == 48_000
        assert result.shape == wave.shape
        assert lag(result[0], wave[0]) == 0


def test_stem_mp4_of_stems(tmp_path):
    wave = clicks(2, 100_001, (5000, 50_000))
    stems = separator().separate(wave, 44100)
    output = stems.save(tmp_path, "stem.mp4")
    assert [path.name for path in output.paths.values()] == ["stems.stem.mp4"]
    assert audio.sound_streams(output.paths["stems"]) == 5
    mixture, _ = audio.read(output.paths["stems"])
    assert mixture.shape == wave.shape
    assert lag(mixture[0], wave[0]) == 0


TORCH_FREE = """
import sys
sys.path.insert(0, sys.argv[1])
import hyperstem, hyperstem.cli.separate
assert "numpy" not in sys.modules, "import hyperstem must be instant"
import separation_standin
separation_standin.separator().separate(separation_standin.noise(1, 10), 8000)
from hyperstem.separation import batch
from hyperstem.models import onnx_engine
print("torch" in sys.modules)
"""


def test_torch_is_not_imported():
    command = [sys.executable, "-c", TORCH_FREE, str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("later_s", [0, 1])
def test_a_constant_offset_is_kept_out_of_the_stems(later_s):
    rate_hz = 44_100
    song = noise(2, 6 * rate_hz)
    plain = separator(segment_s=1.0).separate(song, rate_hz)
    begin = later_s * rate_hz
    moved = song.copy()
    moved[:, begin:] += np.float32(0.2)
    moved[:, :begin] = 0
    stems = separator(segment_s=1.0).separate(moved, rate_hz)
    assert np.abs(stems.waves.sum(axis=0) - moved).max() < 1e-6
    settled = slice(begin + 2 * rate_hz, -rate_hz // 10) if later_s else slice(None)
    for name in stems:
        share = stems[name][:, settled] - plain[name][:, settled]
        assert np.abs(share - 0.05).max() < (5e-3 if later_s else 1e-3)


def test_silence_with_an_offset_is_shared_alike():
    stems = separator().separate(np.full((2, 44_100), 0.2, np.float32), 44_100)
    np.testing.assert_allclose(stems.waves, 0.05, atol=1e-6)
