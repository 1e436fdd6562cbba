"""Training examples by number, and batches of them as arrays at every stage's rate; no torch."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hyperstem.config import DataConfig, NetworkConfig
from hyperstem.data.library import Library, load_library
from hyperstem.data.mixing import Example, Mixer
from hyperstem.dsp.resample import normalise, pyramid

GOLDEN_RATIO = (5**0.5 - 1) / 2
"""Fractional parts of its multiples fill the interval from 0 to 1 evenly (a low-discrepancy sequence)."""


class Arrays(NamedTuple):
    """A batch at every stage's rate, each mixture normalised; only stereo has a channel axis."""

    mixture: tuple[np.ndarray, ...]
    """For each stage (batch, [channel,] time_i) float32."""
    stems: tuple[np.ndarray, ...]
    """For each stage (batch, stem, [channel,] time_i) float32, scaled like the mixture."""
    active: np.ndarray
    """(batch, stem) float32: 1 for active stems."""
    merge: np.ndarray | None
    """(batch, stem, stem) float32 if an example has stems known only as a sum; see `merge_matrix`."""


class ExampleSource:
    """Training examples by batch and item; each depends only on the seed and these two numbers.

    Args:
        config: settings with absolute folders; every source must be prepared at the model's top rate.
        model: stems, rates and channels.

    Raises:
        DataError: a source is not prepared.
    """

    def __init__(self, config: DataConfig, model: NetworkConfig) -> None:
        self.config, self.model = config, model
        self.base_length = max(1, round((config.segment_s or model.segment_s) * model.base_rate_hz))
        self.library: Library = load_library(config, model.stems, model.rates_hz[-1])

    @cached_property
    def _mixer(self) -> Mixer:
        top = self.model.rates_hz[-1]
        length = self.base_length * (top // self.model.base_rate_hz)
        return Mixer(self.library, self.config, self.model.stems, top, self.model.audio_channels, length)

    def example(self, index: int, item: int) -> Example:
        """Example `item` of batch `index`, at the top rate."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.config.seed, index, item))))
        return self._mixer.example(rng, self.is_remix(index, item))

    def is_remix(self, index: int, item: int) -> bool:
        """Whether example `item` of batch `index` mixes stems of different songs.

        Remixes are distributed evenly over a batch; their number varies if their share of it is not a whole number.
        """
        share = self.config.mixing.remix
        before = index * GOLDEN_RATIO % 1 + item * share
        return int(before + share + 1e-9) > int(before + 1e-9)


def assemble(examples: Sequence[Example], model: NetworkConfig, active_db: float) -> Arrays:
    """A batch of examples of one length at every rate, each mixture normalised to unit variance.

    Args:
        examples: at the model's top rate.
        model: stems, rates and channels.
        active_db: a stem is active if it is above this level relative to its mixture.
    """
    stems = np.stack([example.stems for example in examples])  # (batch, stem, channel, time)
    waves = pyramid(stems, model.rates_hz[-1], model.rates_hz)
    mixture = normalise([wave.sum(axis=1) for wave in waves])  # (batch, channel, time_i)
    for wave, scale in zip(waves, mixture.scales, strict=True):
        wave /= scale[:, None]
    merges = [merge_matrix(example.sums, model.stems) for example in examples]
    return Arrays(
        tuple(_shaped(wave, model) for wave in mixture.waves),
        tuple(_shaped(wave, model) for wave in waves),
        active_stems(waves[0], mixture.waves[0], active_db),
        np.stack(merges) if any(example.sums for example in examples) else None,
    )


def _shaped(wave: np.ndarray, model: NetworkConfig) -> np.ndarray:
    """(..., channel, time), for mono without the channel axis."""
    return np.ascontiguousarray(wave if model.audio_channels == 2 else wave[..., 0, :])


def active_stems(stems: np.ndarray, mixture: np.ndarray, active_db: float) -> np.ndarray:
    """Which stems are louder than `active_db` relative to their mixture.

    Args:
        stems: (batch, stem, channel, time).
        mixture: (batch, channel, time).
        active_db: in dB of power.

    Returns:
        (batch, stem) float32 of 0 and 1.
    """
    powers = np.einsum("bsct,bsct->bs", stems, stems)
    total = np.einsum("bct,bct->b", mixture, mixture)[:, None]
    return ((powers > 10 ** (active_db / 10) * total) & (powers > 0)).astype(np.float32)


def merge_matrix(sums: Mapping[str, tuple[str, ...]], stems: Sequence[str]) -> np.ndarray:
    """The matrix (stem, stem) float32 that sums the estimates of stems known only as a sum; without any, the identity.

    The row of a sum's first member has ones at all its members; the other members' rows are zero.
    """
    matrix = np.eye(len(stems), dtype=np.float32)
    row = {stem: i for i, stem in enumerate(stems)}
    for first, members in sums.items():
        columns = [row[member] for member in members]
        matrix[columns] = 0
        matrix[row[first], columns] = 1
    return matrix
