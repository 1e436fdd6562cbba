"""Input to segments and back: nothing is lost, moved or held back."""

from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.dsp.overlap import Cut
from hyperstem.errors import AudioError
from hyperstem.separation.flow import Piece, Separated, assemble, split

STEMS = ("a", "b", "c")
SHARES = np.array([0.5, 0.25, 0.15], np.float32)
RATES = st.sampled_from([(8000, 8000), (44100, 8000), (8000, 16000), (11025, 16000)])


def blocks(wave: np.ndarray, lengths: list[int]) -> Iterator[np.ndarray]:
    """(channel, time) in blocks of these lengths, and the rest."""
    bounds = np.minimum(np.cumsum([0, *lengths]), wave.shape[1])
    yield from (wave[:, start:stop] for start, stop in zip(bounds, [*bounds[1:], wave.shape[1]], strict=True))


def shares(pieces: Iterator[Piece], seen: list[Piece] | None = None) -> Generator[Separated, None, None]:
    """A network whose stems are shares of its input."""
    for piece in pieces:
        if seen is not None:
            seen.append(piece)
        heard = piece.segment.wave[:, : piece.segment.sound]
        yield Separated(piece, SHARES[:, None, None] * heard)


def separated(wave: np.ndarray, lengths: list[int], rates: tuple[int, int], cut: Cut):
    return assemble(shares(split(blocks(wave, lengths), *rates, cut)), STEMS, *rates, cut)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 30_000),
    st.lists(st.integers(0, 9000), max_size=6),
    RATES,
    st.integers(100, 4000).flatmap(lambda length: st.builds(Cut, st.just(length), st.integers(length // 2, length))),
)
def test_blocks_follow_each_other_and_their_stems_add_up_to_the_input(channels, time, lengths, rates, cut):
    wave = np.random.default_rng(time).standard_normal((channels, time)).astype(np.float32)
    found = list(separated(wave, lengths, rates, cut))
    starts = np.cumsum([0, *(block.mixture.shape[1] for block in found)])
    assert [block.start for block in found] == starts[:-1].tolist()
    assert all(block.waves.shape == (len(STEMS), *block.mixture.shape) for block in found)
    assert all(block.names == STEMS and block.rate_hz == rates[0] for block in found)
    np.testing.assert_array_equal(np.concatenate([block.mixture for block in found], axis=1), wave)
    total = np.concatenate([block.waves for block in found], axis=2).sum(axis=0)
    np.testing.assert_allclose(total, wave, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=6), RATES)
def test_how_the_input_is_cut_into_blocks_changes_nothing(lengths, rates):
    wave = np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    one, other = (
        np.concatenate([block.waves for block in separated(wave, each, rates, Cut(3000, 2700))], axis=2)
        for each in ([], lengths)
    )
    np.testing.assert_array_equal(one, other)


def test_stems_lie_where_their_sound_is():
    """A tone of the first second stays there, in every stem its share."""
    time = np.arange(44_100 * 2) / 44_100
    wave = (np.sin(2 * np.pi * 500 * time) * (time < 1))[None].astype(np.float32)
    found = list(separated(wave, [5000] * 20, (44_100, 8000), Cut(4000, 3600)))
    waves = np.concatenate([block.waves for block in found], axis=2)[:, 0]
    sounding, silent = waves[:, 1000:40_000], waves[:, 48_000:]
    np.testing.assert_allclose(sounding.std(axis=1) / wave[0, 1000:40_000].std(), SHARES / SHARES.sum(), atol=0.02)
    assert np.abs(silent).max() < 1e-3


def test_what_is_ready_comes_before_the_input_ends():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield np.ones((1, 1000), np.float32)

    cut = Cut(4000, 4000)
    found = assemble(shares(split(endless(), 8000, 8000, cut)), STEMS, 8000, 8000, cut)
    first = next(found)
    assert first.start == 0
    assert taken < 20
    found.close()


@pytest.mark.parametrize("given_blocks", [[], [np.zeros((2, 0), np.float32)] * 3])
def test_no_samples_are_an_error(given_blocks):
    with pytest.raises(AudioError, match="no samples"):
        list(split(iter(given_blocks), 44_100, 8000, Cut(100, 100)))


def test_input_that_the_last_segment_covered_travels_without_one():
    seen: list[Piece] = []
    wave = np.ones((1, 4000), np.float32)
    pieces = split(blocks(wave, [2000, 1990]), 8000, 8000, Cut(2000, 2000))
    list(assemble(shares(pieces, seen), STEMS, 8000, 8000, Cut(2000, 2000)))
    assert sum(piece.mixture.shape[1] for piece in seen) == 4000
    assert [piece.segment.start for piece in seen if not piece.empty] == [0, 2000]


@pytest.mark.parametrize("how", ["closed", "error"])
def test_the_network_is_let_go_when_the_caller_stops(how):
    ended = []

    def results():
        try:
            for number, result in enumerate(shares(split(iter([np.ones((1, 9000), np.float32)]), 8000, 8000, cut))):
                if how == "error" and number == 2:
                    raise AudioError("broken")
                yield result
        finally:
            ended.append(True)

    cut = Cut(1000, 1000)
    found = assemble(results(), STEMS, 8000, 8000, cut)
    if how == "closed":
        next(found)
        found.close()
    else:
        with pytest.raises(AudioError, match="broken"):
            list(found)
    assert ended == [True]
