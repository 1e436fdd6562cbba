import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.dsp.overlap import Cut, OverlapAdd, Segmenter, mirrored
from hyperstem.errors import ConfigError


def cut_up(wave: np.ndarray, cut: Cut, block: int) -> list:
    segmenter = Segmenter(len(wave), cut)
    segments = []
    for at in range(0, wave.shape[1], block):
        segments.extend(segmenter.push(wave[:, at : at + block]))
    return [*segments, *segmenter.finish()]


def join(segments: list, cut: Cut) -> np.ndarray:
    total = OverlapAdd(cut)
    parts = [total.push(segment.start, segment.wave[:, : segment.sound].copy()) for segment in segments]
    return np.concatenate([*parts, total.finish()], axis=1)


@given(length=st.integers(1, 400), segment=st.integers(1, 100), share=st.floats(0.1, 1), block=st.integers(1, 150))
@settings(deadline=None, max_examples=200)
def test_cutting_and_joining_gives_the_stream_back(length, segment, share, block):
    cut = Cut(segment, max(1, round(segment * share)))
    wave = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    segments = cut_up(wave, cut, block)
    assert np.allclose(join(segments, cut), wave, atol=1e-5)
    assert all(item.wave.shape == (2, segment) for item in segments)
    assert [item.start for item in segments] == sorted({item.start for item in segments})
    if length >= segment:
        assert all(np.array_equal(item.wave, wave[:, item.start : item.start + segment]) for item in segments)
    assert [item.start for item in segments] == [item.start for item in cut_up(wave, cut, 17)]


def test_no_segment_more_than_needed():
    assert len(cut_up(np.zeros((1, 100), np.float32), Cut(100, 90), 100)) == 1
    assert len(cut_up(np.zeros((1, 190), np.float32), Cut(100, 90), 100)) == 2
    assert [item.start for item in cut_up(np.zeros((1, 191), np.float32), Cut(100, 90), 100)] == [0, 90, 91]


def test_ramps_add_up_to_1():
    cut = Cut(100, 80)
    window = cut.window()
    assert (window > 0).all()
    assert np.allclose(window[:20] + window[80:], 1)
    assert (window[20:80] == 1).all()


def test_a_step_between_segments_is_faded_not_cut():
    cut = Cut(1000, 900)
    total = OverlapAdd(cut)
    parts = [total.push(i * 900, np.full((1, 1000), float(i % 2), np.float32)) for i in range(4)]
    wave = np.concatenate([*parts, total.finish()], axis=1)[0]
    assert np.abs(np.diff(wave)).max() < 0.02
    assert wave.min() == 0
    assert wave.max() == pytest.approx(1)


def test_a_short_stream_is_continued_by_its_mirror_image():
    assert mirrored(np.array([[1, 2, 3]]), 8).tolist() == [[1, 2, 3, 3, 2, 1, 1, 2]]
    assert mirrored(np.array([[7]]), 4).tolist() == [[7, 7, 7, 7]]


def test_a_hop_beyond_the_segment_is_refused():
    with pytest.raises(ConfigError, match="1 to the segment's 10"):
        Cut(10, 11)
