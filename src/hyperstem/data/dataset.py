"""Batches for training and clips for validation.

Batch k is a function of the seed and k alone: not of the number of workers, of processes, or of what was drawn before.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hyperstem.config import DataConfig, ModelConfig
from hyperstem.data.library import Library, PreparedTrack, load_library, load_source
from hyperstem.data.mixing import Example, Mixer
from hyperstem.errors import ConfigError, DataError
from hyperstem.resample import normalise, pyramid

VALIDATION_ACTIVE_DB = -60.0


class Batch(NamedTuple):
    """Training examples at every stage's rate, each mixture normalised; the channel axis is there only for two channels."""

    mixture: tuple[torch.Tensor, ...]
    """One (batch, [channel,] time_i) float32 a stage."""
    stems: tuple[torch.Tensor, ...]
    """One (batch, stem, [channel,] time_i) float32 a stage, on the mixture's scale."""
    active: torch.Tensor
    """(batch, stem) float32: 1 where a stem sounds."""
    merge: torch.Tensor | None
    """(batch, stem, stem) float32 of 0 and 1, where some example has stems known only as a sum; see `merge_matrix`."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(tuple(map(moved, self.mixture)), tuple(map(moved, self.stems)), moved(self.active),
                     None if self.merge is None else moved(self.merge))


class Clip(NamedTuple):
    """One whole validation recording."""

    name: str
    mixture: tuple[torch.Tensor, ...]
    """One (1, [channel,] time_i) a stage, at level 1."""
    stems: tuple[torch.Tensor, ...]
    """One (1, stem, [channel,] time_i) a stage, on the mixture's scale."""
    active: torch.Tensor
    """(1, stem)."""


class SegmentDataset(Dataset):
    """Training batches by number; ``dataset[k]`` is this process's slice of global batch k.

    Args:
        config: settings with absolute folders; every source must be prepared at the model's top rate.
        model: sizes of the model that is trained; of its first stages, if only those are trained.
        batch_size: examples in a global batch.
        rank: this process.
        world: processes in all; batch_size must be a multiple.

    Raises:
        DataError: a source is not prepared.
        ConfigError: the batch cannot be split among the processes.
    """

    def __init__(self, config: DataConfig, model: ModelConfig, batch_size: int, rank: int = 0, world: int = 1) -> None:
        if batch_size < 1 or batch_size % world:
            raise ConfigError(f"batch size {batch_size} cannot be split among {world} processes; give a multiple")
        self.config, self.model = config, model
        self.items = range(rank * batch_size // world, (rank + 1) * batch_size // world)
        self.base_length = max(1, round((config.segment_s or model.segment_s) * model.base_rate_hz))
        self._library = load_library(config, model.stems, model.rates_hz[-1])

    @cached_property
    def _mixer(self) -> Mixer:
        top = self.model.rates_hz[-1]
        length = self.base_length * (top // self.model.base_rate_hz)
        return Mixer(self._library, self.config, self.model.stems, top, self.model.audio_channels, length)

    @property
    def library(self) -> Library:
        """The prepared tracks that examples are drawn from."""
        return self._library

    def __getitem__(self, index: int) -> Batch:
        """This process's slice of global batch `index`."""
        return make_batch([self.example(index, item) for item in self.items], self.model, self.config.mixing.active_db)

    def example(self, index: int, item: int) -> Example:
        """Example `item` of global batch `index`, at the top rate."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.config.seed, index, item))))
        share = self.config.mixing.remix  # spread evenly: every item's turn comes as the running sum passes a whole number
        remix = int((item + 1) * share + 1e-9) > int(item * share + 1e-9)
        return self._mixer.example(rng, remix)


def make_batch(examples: list[Example], model: ModelConfig, active_db: float) -> Batch:
    """Examples of one length, at every rate, each mixture at level 1.

    Args:
        examples: at the model's top rate.
        model: stems, rates and channels.
        active_db: a stem counts as active above this level beside its mixture.
    """
    stems = np.stack([example.stems for example in examples])  # (batch, stem, channel, time)
    waves = pyramid(stems, model.rates_hz[-1], model.rates_hz)
    mixture = normalise([wave.sum(axis=1) for wave in waves])  # (batch, channel, time_i)
    scaled = [wave / scale[:, None] for wave, scale in zip(waves, mixture.scales, strict=True)]
    merges = [merge_matrix(example.sums, model.stems) for example in examples]
    merge = np.stack(merges) if any(example.sums for example in examples) else None
    active = active_stems(stems, active_db)
    return Batch(tuple(_tensor(wave, model) for wave in mixture.waves), tuple(_tensor(wave, model) for wave in scaled),
                 torch.from_numpy(active), None if merge is None else torch.from_numpy(merge))


def _tensor(wave: np.ndarray, model: ModelConfig) -> torch.Tensor:
    """(..., channel, time) as a tensor, without the channel axis for one channel."""
    return torch.from_numpy(np.ascontiguousarray(wave if model.audio_channels == 2 else wave[..., 0, :]))


def active_stems(stems: np.ndarray, active_db: float) -> np.ndarray:
    """(batch, stem, channel, time) to (batch, stem) float32: 1 where a stem is louder than `active_db` beside the mixture."""
    powers = np.square(stems).mean(axis=(2, 3), dtype=np.float64)
    mixture = np.square(stems.sum(axis=1)).mean(axis=(1, 2), dtype=np.float64)[:, None]
    return ((powers > 10 ** (active_db / 10) * mixture) & (powers > 0)).astype(np.float32)


def merge_matrix(sums: Mapping[str, tuple[str, ...]], stems: Sequence[str]) -> np.ndarray:
    """(stem, stem) float32 that adds up the estimates of stems known only as a sum; the identity where there are none.

    The row of a sum's first member has ones at all its members; the other members' rows are zero.
    """
    matrix = np.eye(len(stems), dtype=np.float32)
    for first, members in sums.items():
        for member in members:
            matrix[list(stems).index(member)] = 0
        for member in members:
            matrix[list(stems).index(first), list(stems).index(member)] = 1
    return matrix


class _From(Sampler):
    """The whole numbers from `start` on."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def batches(dataset: SegmentDataset, start: int = 0, pin_memory: bool = False) -> Iterator[Batch]:
    """Batches `start`, start + 1, ... without end, made ahead by the settings' number of worker processes."""
    workers = dataset.config.workers
    return iter(DataLoader(dataset, batch_size=None, sampler=_From(start), num_workers=workers, pin_memory=pin_memory,
                           prefetch_factor=dataset.config.prefetch if workers else None))


class ValidationData:
    """Whole validation clips at the model's rates: the mixture is the sum of the stems; nothing is changed but the level.

    Args:
        config: settings with absolute folders and at least one validation set.
        model: sizes of the model.
        limit: the most clips that are used; None for all.

    Raises:
        DataError: there is no validation set, it is not prepared, or a song in it knows stems only as a sum.
    """

    def __init__(self, config: DataConfig, model: ModelConfig, limit: int | None = None) -> None:
        if not config.validation:
            raise DataError("no [[data.validation]] in the config")
        self.model = model
        found = [track for source in config.validation
                 for track in load_source(config, source, model.stems, model.rates_hz[-1])]
        for track in found:
            if track.sums:
                raise DataError(f"validation track {track.name!r} in {track.source!r} knows stems only as a sum")
        self.tracks: tuple[PreparedTrack, ...] = tuple(found[:limit])

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Clip:
        track = self.tracks[index]
        stems = np.stack([track.cut(stem, 0, track.frames) for stem in self.model.stems])  # (stem, channel, time)
        if self.model.audio_channels == 1:
            stems = stems.mean(axis=1, keepdims=True)
        elif stems.shape[1] == 1:
            stems = np.repeat(stems, 2, axis=1)
        batch = make_batch([Example(stems, {})], self.model, VALIDATION_ACTIVE_DB)
        return Clip(track.name, batch.mixture, batch.stems, batch.active)

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))
