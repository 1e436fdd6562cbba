"""A song on its way through the network: input cut into segments, and segments put together to blocks of every stem."""

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
"""Samples, at the higher of the model's and the song's rate, that are resampled, shared out and written at once."""
_NOWHERE = -1
"""The start of a segment without samples."""


class Piece(NamedTuple):
    """What travels to the network: a segment and the input that came with it."""

    mixture: np.ndarray
    """(channel, time) input since the piece before."""
    segment: Segment

    @property
    def empty(self) -> bool:
        """Whether there is nothing to separate, only input that earlier segments covered."""
        return self.segment.start == _NOWHERE


class Separated(NamedTuple):
    """What comes back from the network."""

    piece: Piece
    waves: np.ndarray
    """(stem, channel, time) at the model's rate."""


class Offset:
    """The constant offset of a song's channels: taken off before the network, added back in equal shares behind it."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None
        """(channel, 1) float32; None until it is known, or where there is none."""

    def removed(self, waves: Iterator[np.ndarray], first: int) -> Iterator[np.ndarray]:
        """The blocks without their offset, which is looked for in the first samples.

        Args:
            waves: (channel, time) float32 each.
            first: how many samples tell.
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

    def returned(self, block: Block) -> Block:
        """The block with the offset in its mixture, and a share of it in every stem."""
        if self.value is None:
            return block
        return replace(block, mixture=block.mixture + self.value, waves=block.waves + self.value / len(block.names))


def cut_up(waves: Iterator[np.ndarray], rate_hz: int, model_hz: int, cut: Cut) -> Iterator[Piece]:
    """Input blocks to segments at the model's rate.

    Args:
        waves: (channel, time) float32 each, of any length.
        rate_hz: their sample rate.
        model_hz: the model's.
        cut: how to cut, in samples at the model's rate.

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


def put_together(
    results: Generator[Separated, None, None], stems: tuple[str, ...], rate_hz: int, model_hz: int, cut: Cut
) -> Generator[Block, None, None]:
    """Segments at the model's rate to blocks at the input's, whose stems sum to the input.

    Args:
        results: of the pieces that `cut_up` gave, in order; closed at the end, whatever happens.
        stems: their names.
        rate_hz: the input's sample rate.
        model_hz: the model's.
        cut: as it was cut.
    """
    join = OverlapAdd(cut)
    most = max(1, _PART * model_hz // max(model_hz, rate_hz))
    inputs: deque[np.ndarray] = deque()
    back = sharing = None
    start = channels = 0

    def finished(ready: np.ndarray, last: bool = False) -> Iterator[Block]:
        """(stem * channel, time) at the input's rate to the block that is done with it, if any."""
        nonlocal start
        assert sharing is not None
        unshared = ready.reshape(len(stems), channels, ready.shape[1])
        shared = sharing.push(_taken(inputs, ready.shape[1]), unshared, last)
        if shared.mixture.shape[1]:
            yield Block(start, rate_hz, stems, *shared)
            start += shared.mixture.shape[1]

    with contextlib.closing(results):
        for piece, waves in results:
            if back is None:
                channels = len(piece.mixture)
                back = Resampler(len(stems) * channels, model_hz, rate_hz)
                sharing = ResidualSharing(len(stems), channels)
            inputs.append(piece.mixture)
            if not piece.empty:
                for part in _parts(_flat(join.push(piece.segment.start, waves)), most):
                    yield from finished(back.push(part))
        assert back is not None
        *parts, final = _parts(_flat(join.finish()), most)
        for part in parts:
            yield from finished(back.push(part))
        rest = sum(block.shape[1] for block in inputs)
        yield from finished(fit(back.push(final, last=True), rest), last=True)


def _flat(waves: np.ndarray) -> np.ndarray:
    """(stem, channel, time) to (stem * channel, time)."""
    return waves.reshape(waves.shape[0] * waves.shape[1], waves.shape[2])


def _parts(wave: np.ndarray, most: int) -> list[np.ndarray]:
    """(row, time) in pieces of at most so many samples, of which there is at least one."""
    return [wave[:, at : at + most] for at in range(0, max(1, wave.shape[1]), most)]


def _joined(blocks: list[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _taken(blocks: deque[np.ndarray], count: int) -> np.ndarray:
    """The first `count` samples of the blocks, which lose them."""
    taken: list[np.ndarray] = [blocks[0][:, :0]]
    while count:
        block = blocks.popleft()
        taken.append(block[:, :count])
        if block.shape[1] > count:
            blocks.appendleft(block[:, count:])
        count -= taken[-1].shape[1]
    return np.concatenate(taken, axis=1)
