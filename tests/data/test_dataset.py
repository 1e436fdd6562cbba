import os
from dataclasses import replace

import numpy as np
import pytest

from data_songs import EVERYTHING, MODEL, RATE_HZ, noise, prepared, songs, tone, with_mixing, write_song
from hyperstem.config import STEMS, ConfigError, ModelConfig, SourceConfig
from hyperstem.errors import DataError

torch = pytest.importorskip("torch")
dataset = pytest.importorskip("hyperstem.data.dataset")
feed = pytest.importorskip("hyperstem.training.feed")


@pytest.fixture
def data(tmp_path):
    return replace(with_mixing(prepared(tmp_path, songs(tmp_path)), remix=0.5, gain=(0.75, 1.25)), augment=EVERYTHING)


def same(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(
            (*first.mixture, *first.stems, first.active), (*second.mixture, *second.stems, second.active), strict=True
        )
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_the_starting_point_do_not_matter(data, workers):
    alone = dataset.SegmentDataset(data, MODEL, 4)
    ahead = feed.Feed(dataset.SegmentDataset(data, MODEL, 4), 5, 9, workers)
    for index in range(5, 9):
        assert same(ahead.next(), alone[index])
    assert not same(alone[5], alone[6])


def test_processes_share_the_global_batch(data):
    whole = dataset.SegmentDataset(data, MODEL, 4)[3]
    parts = [dataset.SegmentDataset(data, MODEL, 4, rank, 2)[3] for rank in range(2)]
    assert torch.equal(torch.cat([part.stems[0] for part in parts]), whole.stems[0])
    assert torch.equal(torch.cat([part.active for part in parts]), whole.active)
    with pytest.raises(ConfigError, match="batch size 4 cannot be split among 3"):
        dataset.SegmentDataset(data, MODEL, 4, 0, 3)


def test_batches_begin_at_any_step_without_drawing_what_was_before(data):
    first = feed.Feed(dataset.SegmentDataset(data, MODEL, 2), 1_000_000, 1_000_001)
    assert same(first.next(), dataset.SegmentDataset(data, MODEL, 2)[1_000_000])


@pytest.mark.parametrize("channels", [1, 2])
def test_shapes(data, channels):
    batch = dataset.SegmentDataset(data, replace(MODEL, audio_channels=channels), 3)[0]
    axis = (2,) if channels == 2 else ()
    assert batch.mixture[0].shape == (3, *axis, RATE_HZ) and batch.stems[0].shape == (3, 4, *axis, RATE_HZ)
    assert batch.active.shape == (3, 4) and batch.merge is None
    assert batch.to("cpu").mixture[0].dtype == torch.float32


def test_the_segment_length_of_the_data_goes_before_the_models(data):
    batch = dataset.SegmentDataset(replace(data, segment_s=0.5), MODEL, 2)[0]
    assert batch.mixture[0].shape[-1] == RATE_HZ // 2


def test_sums_come_with_their_matrix(tmp_path):
    write_song(tmp_path / "sums" / "a", {"accompaniment": noise(1), "vocals": noise(2)})
    source = SourceConfig("sums", "folders", "sums", sums={"accompaniment": ("drums", "bass", "other")})
    batch = dataset.SegmentDataset(prepared(tmp_path, source), MODEL, 2)[0]
    assert batch.merge[0].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert batch.active.tolist() == [[1, 0, 0, 1]] * 2
    merged = torch.einsum("brs,bsct->brct", batch.merge, batch.stems[0])
    assert torch.allclose(merged, batch.stems[0])  # what is known is left as it is


@pytest.mark.parametrize("channels", [1, 2])
def test_validation_gives_whole_clips_unchanged_but_for_the_level(tmp_path, channels):
    sides = np.array([[1.0], [0.0]], np.float32)
    waves = [
        np.stack([tone(300 * (i + 1), level=0.1 * (song + i + 1)) * (sides if i else 1) for i in range(4)])
        for song in range(2)
    ]
    for song, stems in enumerate(waves):
        write_song(tmp_path / "held" / f"song{song}", dict(zip(STEMS, stems, strict=True)))
    write_song(tmp_path / "s" / "a", {stem: noise(100 + i) for i, stem in enumerate(STEMS)})
    data = replace(
        prepared(
            tmp_path,
            SourceConfig("s", "folders", "s"),
            rate_hz=16000,
            validation=(SourceConfig("held", "folders", "held"),),
        ),
        augment=EVERYTHING,
    )
    model = ModelConfig(stages=2, audio_channels=channels)
    clips = list(dataset.ValidationData(data, model))
    assert [clip.name for clip in clips] == ["song0", "song1"]
    for expected, clip in zip(waves, clips, strict=True):
        expected = expected if channels == 2 else expected.mean(axis=1)  # both sides count
        stems = clip.stems[0][0].numpy()
        assert stems.shape == expected.shape and clip.stems[1].shape[-1] == 2 * stems.shape[-1]
        inside = slice(200, -200)
        assert np.allclose(stems[..., inside] / stems.std(), expected[..., inside] / expected.std(), atol=0.02)
        assert torch.allclose(clip.stems[0].sum(1), clip.mixture[0], atol=1e-4)
        assert clip.mixture[0].std() == pytest.approx(1, abs=1e-3) and clip.active.tolist() == [[1, 1, 1, 1]]
    assert len(dataset.ValidationData(data, model, limit=1)) == 1


def test_a_dataset_can_be_sent_to_another_process(data):
    import pickle

    used = dataset.SegmentDataset(data, MODEL, 2)
    first = used[0]
    sent = pickle.dumps(used)
    assert len(sent) < 100_000 and same(pickle.loads(sent)[0], first)  # noqa: S301


def test_no_validation_set(data):
    with pytest.raises(DataError, match=r"no \[\[data.validation\]\]"):
        dataset.ValidationData(data, MODEL)


@pytest.mark.skipif("HYPERSTEM_DATA" not in os.environ, reason="HYPERSTEM_DATA names no folder of recordings")
@pytest.mark.slow
def test_the_real_recordings_give_batches(tmp_path):
    from pathlib import Path

    from hyperstem.config import DataConfig, from_mapping, load_toml
    from hyperstem.data.prepare import prepare

    table = load_toml(Path(__file__).parents[2] / "configs" / "real.toml")["data"]
    data = replace(from_mapping(DataConfig, table, "real.toml").resolved(tmp_path), prepared=str(tmp_path), workers=0)
    data = replace(data, sources=(data.sources[0], data.sources[2]))
    assert not prepare(data, STEMS, RATE_HZ, jobs=2).problems
    rows = feed.Feed(dataset.SegmentDataset(data, MODEL, 4), 0, 5)
    assert all(torch.isfinite(rows.next().stems[0]).all() for _ in range(5))
    assert len(dataset.ValidationData(data, MODEL)) == 14
