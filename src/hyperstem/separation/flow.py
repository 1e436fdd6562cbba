"""What surrounds the network: a song is split into segments, and separated segments are assembled into blocks."""

import contextlib
import itertools
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyperstem.dsp.offset import constant_offset
from hyperstem.dsp.overlap import Cut, OverlapAdd, Segment, Segmenter
from hyperstem.dsp.resample import Resampler, fit
from hyperstem.dsp.residual import ResidualSharing
from hyperstem.errors import AudioError
from hyperstem.separation.stems import Block

_PART = 1 << 16
"""Samples, at the higher of the model's and the song's rate, that are resampled, completed and written at once."""
_NOWHERE = -1
"""The start of a segment without samples."""


class Piece(NamedTuple):
    """What the network gets: a segment, and the input read for it."""

    mixture: np.ndarray
    """(channel, time) input read since the previous piece."""
    segment: Segment

    @property
    def empty(self) -> bool:
        """Whether there is nothing to separate, because earlier segments cover all of the input."""
        return self.segment.start == _NOWHERE


class Separated(NamedTuple):
    """What the network returns."""

    piece: Piece
    waves: np.ndarray
    """(stem, channel, time) at the model's rate."""


class DcOffset:
    """The DC offset of a song's channels: removed before the network, and restored, in equal shares, after it."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None
        """(channel, 1) float32; None until it is known, or where there is none."""

    def removed(self, waves: Iterator[np.ndarray], first: int) -> Iterator[np.ndarray]:
        """The blocks without their offset, which is measured over the first samples.

        Args:
            waves: (channel, time) float32 each.
            first: how many samples to measure it over.
        """
        held: list[np.ndarray] = []
        for wave in waves:
            held.extend([wave] if wave.shape[1] else [])
            if sum(block.shape[1] for block in held) >= first:
                break
        if not held:
            return
        found = constant_offset(np.concatenate(held, axis=1)[:, :first])
        self.value = found if found.any() else None
        for wave in itertools.chain(held, waves):
            yield wave if self.value is None else wave - self.value

    def restored(self, block: Block) -> Block:
        """The block with the offset back in its mixture, and an equal share of it in every stem."""
        if self.value is None:
            return block
        return replace(block, mixture=block.mixture + self.value, waves=block.waves + self.value / len(block.names))


def split(waves: Iterator[np.ndarray], rate_hz: int, model_hz: int, cut: Cut) -> Iterator[Piece]:
    """Splits input blocks into segments at the model's rate.

    Args:
        waves: (channel, time) float32 each, of any length.
        rate_hz: their sample rate.
        model_hz: the model's.
        cut: length and hop of the segments, in samples at the model's rate.

    Raises:
        AudioError: there are no samples.
    """
    resampler = segmenter = None
    held: list[np.ndarray] = []
    for wave in waves:
        if wave.shape[1] == 0:
            continue
        if resampler is None or segmenter is None:
            resampler = Resampler(len(wave), rate_hz, model_hz)
            segmenter = Segmenter(len(wave), cut)
        held.append(wave)
        for segment in segmenter.push(resampler.push(wave)):
            yield Piece(_joined(held), segment)
            held = [wave[:, :0]]
    if resampler is None or segmenter is None:
        raise AudioError("no samples")
    nothing = held[-1][:, :0]
    for segment in [*segmenter.push(resampler.push(nothing, last=True)), *segmenter.finish()]:
        yield Piece(_joined(held), segment)
        held = [nothing]
    if held[0].shape[1] or len(held) > 1:  # input that the last segment already covered
        yield Piece(_joined(held), Segment(_NOWHERE, nothing, 0))


def assemble(
    results: Generator[Separated, None, None], stems: tuple[str, ...], rate_hz: int, model_hz: int, cut: Cut
) -> Generator[Block, None, None]:
    """Assembles segments at the model's rate into blocks at the input's rate, whose stems sum to the input.

    Args:
        results: for the pieces that `split` gave, in order; closed at the end, whatever happens.
        stems: their names.
        rate_hz: the input's sample rate.
        model_hz: the model's.
        cut: the one that `split` was given.
    """
    overlap_add = OverlapAdd(cut)
    most = max(1, _PART * model_hz // max(model_hz, rate_hz))
    inputs: deque[np.ndarray] = deque()
    resampler = sharing = None
    start = channels = 0

    def finished(ready: np.ndarray, last: bool = False) -> Iterator[Block]:
        """Takes (stem * channel, time) at the input's rate; yields the block that is finished by it, if any."""
        nonlocal start
        assert sharing is not None
        waves = ready.reshape(len(stems), channels, ready.shape[1])
        shared = sharing.push(_pop_samples(inputs, ready.shape[1]), waves, last)
        if shared.mixture.shape[1]:
            yield Block(start, rate_hz, stems, *shared)
            start += shared.mixture.shape[1]

    with contextlib.closing(results):
        for piece, waves in results:
            if resampler is None:
                channels = len(piece.mixture)
                resampler = Resampler(len(stems) * channels, model_hz, rate_hz)
                sharing = ResidualSharing(len(stems), channels)
            inputs.append(piece.mixture)
            if not piece.empty:
                for part in _parts(_flat(overlap_add.push(piece.segment.start, waves)), most):
                    yield from finished(resampler.push(part))
        assert resampler is not None
        *parts, final = _parts(_flat(overlap_add.finish()), most)
        for part in parts:
            yield from finished(resampler.push(part))
        rest = sum(block.shape[1] for block in inputs)
        yield from finished(fit(resampler.push(final, last=True), rest), last=True)


def _flat(waves: np.ndarray) -> np.ndarray:
    """(stem, channel, time) to (stem * channel, time)."""
    return waves.reshape(waves.shape[0] * waves.shape[1], waves.shape[2])


def _parts(wave: np.ndarray, most: int) -> list[np.ndarray]:
    """(row, time) in parts of at most `most` samples; always at least one part."""
    return [wave[:, at : at + most] for at in range(0, max(1, wave.shape[1]), most)]


def _joined(blocks: list[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _pop_samples(blocks: deque[np.ndarray], count: int) -> np.ndarray:
    """Removes the first `count` samples from the blocks and returns them."""
    taken: list[np.ndarray] = [blocks[0][:, :0]]
    while count:
        block = blocks.popleft()
        taken.append(block[:, :count])
        if block.shape[1] > count:
            blocks.appendleft(block[:, count:])
        count -= taken[-1].shape[1]
    return np.concatenate(taken, axis=1)
