from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_songs import (
    EVERYTHING,
    MODEL,
    QUIET,
    RATE_HZ,
    noise,
    prepared,
    songs,
    tone,
    with_augment,
    with_mixing,
    write,
    write_song,
)
from hyperstem.config import STEMS, ConfigError, MixingConfig, ModelConfig, SourceConfig
from hyperstem.data.sampling import ExampleSource, active_stems, assemble, merge_matrix


def pitched(root, count=4, name="songs", base_hz=200.0, **options):
    """Songs whose stem i of song s is a tone of base + 100 s + 1000 i Hz at 0.1, so that each cut tells its origin."""
    for song in range(count):
        waves = {stem: tone(base_hz + 100 * song + 900 * i) for i, stem in enumerate(STEMS)}
        write_song(root / name / f"song{song}", waves)
    return SourceConfig(name, "folders", name, **options)


def origins(example, base_hz=200.0):
    """Which song each stem comes from."""
    spectra = np.abs(np.fft.rfft(example.stems[:, 0], axis=-1))
    peaks_hz = spectra.argmax(axis=-1) * RATE_HZ / example.stems.shape[-1]
    return [round((hz - base_hz - 900 * i) / 100) for i, hz in enumerate(peaks_hz)]


def examples(data, count=40, model=MODEL, batch=0):
    source = ExampleSource(data, model)
    return [source.example(batch, i) for i in range(count)]


def test_a_song_is_cut_at_one_place(tmp_path):
    write_song(tmp_path / "s" / "a", {stem: noise(1) * (i + 1) for i, stem in enumerate(STEMS)})
    for example in examples(prepared(tmp_path, SourceConfig("s", "folders", "s")), 5):
        assert all(np.allclose(example.stems[i], (i + 1) * example.stems[0], atol=1e-3) for i in range(4))


def test_half_of_a_batch_is_remixed(tmp_path):
    data = with_mixing(prepared(tmp_path, pitched(tmp_path)), remix=0.5)
    source = ExampleSource(data, MODEL)
    assert [source.is_remix(0, i) for i in range(6)] == [False, True] * 3
    assert all(len(set(origins(source.example(0, i)))) == 1 for i in range(0, 20, 2))
    mixed = [origins(source.example(0, i)) for i in range(1, 41, 2)]
    assert sum(len(set(each)) > 1 for each in mixed) >= 15
    assert {song for each in mixed for song in each} == {0, 1, 2, 3}


@given(st.floats(0, 1), st.integers(1, 40))
def test_the_remix_share_holds_for_every_batch_size(share, size):
    source = ExampleSource.__new__(ExampleSource)
    source.config = type("Config", (), {"mixing": MixingConfig(remix=share)})()
    counts = [sum(source.is_remix(index, item) for item in range(size)) for index in range(300)]
    assert max(abs(count - share * size) for count in counts) < 1 + 1e-6
    assert abs(np.mean(counts) - share * size) < 0.02


def test_gains_are_those_of_the_paper(tmp_path):
    data = with_mixing(prepared(tmp_path, pitched(tmp_path)), gain=(0.75, 1.25))
    levels = np.array([np.sqrt(2 * np.square(example.stems).mean(axis=(1, 2))) / 0.1 for example in examples(data, 60)])
    assert 0.745 <= levels.min() < 0.8 and 1.2 < levels.max() <= 1.255
    assert np.abs(np.corrcoef(levels.T) - np.eye(4)).max() < 0.5  # each stem has its own


def test_one_channel_is_left_or_right_at_random(tmp_path):
    wave = np.stack([tone(300)[0], tone(1000)[0]])
    write_song(tmp_path / "s" / "a", dict.fromkeys(STEMS, wave))
    mono = replace(MODEL, audio_channels=1)
    found = Counter()
    for example in examples(prepared(tmp_path, SourceConfig("s", "folders", "s")), 40, mono):
        assert example.stems.shape == (4, 1, RATE_HZ)
        peaks = np.abs(np.fft.rfft(example.stems[:, 0], axis=-1)).argmax(axis=-1)
        assert len(set(peaks)) == 1
        found[int(peaks[0])] += 1
    assert set(found) == {300, 1000} and min(found.values()) >= 10


def test_two_channels_are_swapped_as_often_as_asked(tmp_path):
    write_song(tmp_path / "s" / "a", dict.fromkeys(STEMS, np.stack([tone(300)[0], 0 * tone(300)[0]])))
    data = with_augment(prepared(tmp_path, SourceConfig("s", "folders", "s")), swap_share=0.5)
    swapped = [not example.stems[0, 0].any() for example in examples(data, 40)]
    assert 10 <= sum(swapped) <= 30


def test_mono_recordings_fill_both_channels(tmp_path):
    write_song(tmp_path / "s" / "a", dict.fromkeys(STEMS, noise(1, channels=1)))
    example = examples(prepared(tmp_path, SourceConfig("s", "folders", "s")), 1)[0]
    assert example.stems.shape == (4, 2, RATE_HZ) and np.array_equal(example.stems[:, 0], example.stems[:, 1])


def test_sources_are_drawn_by_weight(tmp_path):
    few, many = pitched(tmp_path, 1, "few", weight=3.0), pitched(tmp_path, 4, "many", 230.0, weight=1.0)
    data = prepared(tmp_path, few, many)

    def is_few(example):
        return np.abs(np.fft.rfft(example.stems[0, 0])).argmax() == 200

    share = np.mean([is_few(example) for example in examples(data, 300)])
    assert 0.66 < share < 0.84


@pytest.mark.parametrize("draw, expected", [("uniform", 0.5), ("sqrt", 2 / 3), ("length", 0.8)])
def test_longer_songs_are_drawn_as_often_as_asked(tmp_path, draw, expected):
    write_song(tmp_path / "s" / "short", dict.fromkeys(STEMS, tone(300, 4)))
    write_song(tmp_path / "s" / "long", dict.fromkeys(STEMS, tone(1000, 16)))
    data = with_mixing(prepared(tmp_path, SourceConfig("s", "folders", "s")), draw=draw)
    share = np.mean([np.abs(np.fft.rfft(example.stems[0, 0])).argmax() == 1000 for example in examples(data, 300)])
    assert abs(share - expected) < 0.08


def test_cuts_are_drawn_where_the_stem_sounds(tmp_path):
    sparse = noise(1, 60)
    sparse[:, : 50 * RATE_HZ] = 0
    waves = {stem: noise(i, 60) for i, stem in enumerate(STEMS)} | {"vocals": sparse}
    write_song(tmp_path / "s" / "a", waves)
    data = with_mixing(prepared(tmp_path, SourceConfig("s", "folders", "s")), remix=1.0)
    anywhere = np.mean([example.stems[3].any() for example in examples(data, 100)])
    sought = np.mean([example.stems[3].any() for example in examples(with_mixing(data, anywhere=0.1), 100)])
    assert anywhere < 0.35 and sought > 0.85


def test_short_songs_are_padded_with_silence_alike(tmp_path):
    write_song(tmp_path / "s" / "a", dict.fromkeys(STEMS, noise(1, 0.5)))
    for example in examples(prepared(tmp_path, SourceConfig("s", "folders", "s")), 5):
        assert np.abs(example.stems).max() > 0.1 and 0.45 < (example.stems[0, 0] == 0).mean() < 0.55
        assert np.array_equal(example.stems[0], example.stems[3])


def test_dropping_never_leaves_nothing(tmp_path):
    data = with_mixing(prepared(tmp_path, pitched(tmp_path)), drop=0.7)
    sounding = np.array([example.stems.any(axis=(1, 2)) for example in examples(data, 60)])
    assert sounding.any(axis=1).all() and 0.2 < sounding.mean() < 0.7


def test_alone_keeps_one_or_two_stems(tmp_path):
    data = with_mixing(prepared(tmp_path, pitched(tmp_path)), alone=0.5)
    counts = np.array([example.stems.any(axis=(1, 2)).sum() for example in examples(data, 200)])
    assert set(counts) == {1, 2, 4}
    assert 0.35 < (counts < 4).mean() < 0.65
    assert 0.3 < (counts[counts < 4] == 1).mean() < 0.7
    always = with_mixing(data, alone=1.0, drop=0.5)
    assert {example.stems.any(axis=(1, 2)).sum() for example in examples(always, 60)} == {1, 2}


def test_solo_voices_enter_remixes_at_the_level_of_vocals(tmp_path):
    write(tmp_path / "v" / "voice.wav", tone(3700, channels=1, level=0.9))
    data = with_mixing(
        prepared(tmp_path, pitched(tmp_path), SourceConfig("v", "solo", "v", stem="vocals")),
        remix=0.5,
        solo=0.4,
        loudness_jitter_db=0.0,
    )
    source = ExampleSource(data, MODEL)
    share = 0
    for i in range(200):
        vocals = source.example(0, i).stems[3]
        if np.abs(np.fft.rfft(vocals[0])).argmax() == 3700:
            share += 1
            assert source.is_remix(0, i)
            assert np.sqrt(2 * np.square(vocals).mean()) == pytest.approx(0.1, rel=0.05)
    assert 25 <= share <= 55  # two fifths of a hundred remixes


def test_solo_voices_are_made_deeper_and_closer_as_the_source_says(tmp_path):
    write(tmp_path / "v" / "voice.wav", tone(200, 16) + tone(1200, 16))
    voice = SourceConfig("v", "solo", "v", stem="vocals", deeper_semitones=6.0, closer_db=12.0)
    data = with_mixing(prepared(tmp_path, pitched(tmp_path), voice), remix=1.0, solo=1.0, loudness_match=1.0)
    partials = []
    for example in examples(data, 60):
        power = np.square(np.abs(np.fft.rfft(example.stems[3, 0])))
        partials.append((100 + power[100:300].argmax(), 10 * np.log10(power[100:300].sum() / power[700:1300].sum())))
    lows, raised_db = np.array(partials).T
    assert 141 <= lows.min() < 155 and 190 < lows.max() <= 200
    assert -0.5 < raised_db.min() < 2 and 6 < raised_db.max() < 13
    assert {song for example in examples(data, 40) for song in origins(example)[:3]} == {0, 1, 2, 3}


def test_what_is_alone_in_a_remix_is_mostly_solo(tmp_path):
    write(tmp_path / "v" / "voice.wav", tone(3700, channels=1))
    data = with_mixing(
        prepared(tmp_path, pitched(tmp_path), SourceConfig("v", "solo", "v", stem="vocals")),
        remix=1.0,
        solo=0.0,
        alone=1.0,
    )
    vocals = [example.stems[3, 0] for example in examples(data, 120) if example.stems[3].any()]
    assert 0.6 < np.mean([np.abs(np.fft.rfft(wave)).argmax() == 3700 for wave in vocals]) < 0.9


def test_loudness_matched_remix(tmp_path):
    quiet = {stem: tone(200 + 900 * i, level=0.01) for i, stem in enumerate(STEMS)}
    write_song(tmp_path / "songs" / "quiet", quiet)
    data = with_mixing(prepared(tmp_path, pitched(tmp_path, 1)), remix=1.0, loudness_jitter_db=0.0)

    def spread_db(data):
        levels_db = [10 * np.log10(np.square(example.stems).mean(axis=(1, 2))) for example in examples(data, 30)]
        return max(np.ptp(each) for each in levels_db)

    assert spread_db(data) > 15 and spread_db(with_mixing(data, loudness_match=1.0)) < 0.5


def test_double_mixes_two_songs_of_one_stem(tmp_path):
    data = with_mixing(prepared(tmp_path, pitched(tmp_path)), remix=1.0, double=1.0)
    counts = []
    for example in examples(data, 20):
        spectra = np.abs(np.fft.rfft(example.stems[:, 0], axis=-1))
        counts += [(each > 0.2 * each.max()).sum() for each in spectra]
    assert max(counts) == 2 and np.mean(np.array(counts) == 2) > 0.5


def test_sums_stay_sums_and_stay_out_of_remixes(tmp_path):
    write_song(tmp_path / "sums" / "a", {"accompaniment": tone(3900), "vocals": tone(2950)})
    summed = SourceConfig("sums", "folders", "sums", sums={"accompaniment": ("drums", "bass", "other")}, weight=3.0)
    data = with_mixing(prepared(tmp_path, pitched(tmp_path), summed), remix=0.5)
    source = ExampleSource(data, MODEL)
    seen = 0
    for i in range(60):
        example = source.example(0, i)
        if example.sums:
            seen += 1
            assert not source.is_remix(0, i) and example.sums == {"drums": ("drums", "bass", "other")}
            assert example.stems.any(axis=(1, 2)).tolist() == [True, False, False, True]
        elif source.is_remix(0, i):
            assert np.abs(np.fft.rfft(example.stems[0, 0])).argmax() < 600
    assert seen > 10
    arrays = assemble([source.example(0, i) for i in range(60)], MODEL, -60)
    assert arrays.merge is not None and arrays.merge.shape == (60, 4, 4)


def test_merge_matrix():
    assert np.array_equal(merge_matrix({}, STEMS), np.eye(4))
    matrix = merge_matrix({"drums": ("drums", "other")}, STEMS)
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_active_is_relative_to_the_mixture():
    stems = np.stack([noise(1), 0 * noise(1), 1e-2 * noise(2), 1e-4 * noise(3)])[None]
    assert active_stems(stems, stems.sum(axis=1), -60).tolist() == [[1, 0, 1, 0]]
    assert not active_stems(0 * stems, 0 * stems.sum(axis=1), -60).any()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_batch_is_normalised_at_every_rate_and_the_stems_add_up(tmp_path, channels):
    model = ModelConfig(stages=3, segment_s=1.0, audio_channels=channels)
    source = songs(tmp_path)
    data = replace(prepared(tmp_path, source, rate_hz=32000), augment=EVERYTHING)
    batch = assemble(examples(with_mixing(data, remix=0.5), 3, model), model, -60)
    axes = (3, 2) if channels == 2 else (3,)
    for i, (mixture, stems) in enumerate(zip(batch.mixture, batch.stems, strict=True)):
        assert mixture.shape == (*axes, 8000 << i) and stems.shape == (3, 4, *axes[1:], 8000 << i)
        assert mixture.dtype == stems.dtype == np.float32 and mixture.flags.c_contiguous
        assert np.allclose(mixture.reshape(3, -1).std(axis=1), 1, atol=1e-3)
        assert np.allclose(stems.sum(axis=1), mixture, atol=1e-4)
    assert batch.active.tolist() == [[1, 1, 1, 1]] * 3 and batch.merge is None


def test_a_silent_song_gives_silence_not_nan(tmp_path):
    write_song(tmp_path / "s" / "a", dict.fromkeys(STEMS, np.zeros((2, 4 * RATE_HZ), np.float32)))
    data = replace(prepared(tmp_path, SourceConfig("s", "folders", "s")), augment=EVERYTHING)
    batch = assemble(examples(with_mixing(data, remix=0.5, loudness_match=1.0, double=1.0), 6), MODEL, -60)
    assert not batch.mixture[0].any() and not batch.active.any()


def test_the_seed_decides(tmp_path):
    data = replace(prepared(tmp_path, songs(tmp_path)), augment=EVERYTHING)

    def wave(data, index, item):
        return ExampleSource(data, MODEL).example(index, item).stems

    assert np.array_equal(wave(data, 3, 1), wave(data, 3, 1))
    for other in (wave(replace(data, seed=1), 3, 1), wave(data, 4, 1), wave(data, 3, 2)):
        assert not np.array_equal(wave(data, 3, 1), other)


def test_settings_out_of_range():
    for change in ({"remix": 1.5}, {"gain": (1.0,)}, {"gain": (2.0, 1.0)}, {"drop": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            MixingConfig(**change)
    assert QUIET.speed_share == 0
