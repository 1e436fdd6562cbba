"""Batches for training and clips for validation, as tensors.

Batch k depends only on the seed and k, not on the number of workers or processes, or on earlier batches.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from hyperstem.config import DataConfig, NetworkConfig
from hyperstem.data.library import PreparedTrack, load_source
from hyperstem.data.mixing import Example
from hyperstem.data.sampling import ExampleSource, assemble
from hyperstem.errors import ConfigError, DataError

VALIDATION_ACTIVE_DB = -60.0


class Batch(NamedTuple):
    """Training examples at every stage's rate, each mixture normalised; mono has no channel axis."""

    mixture: tuple[torch.Tensor, ...]
    """For each stage (batch, [channel,] time_i) float32."""
    stems: tuple[torch.Tensor, ...]
    """For each stage (batch, stem, [channel,] time_i) float32, scaled like the mixture."""
    active: torch.Tensor
    """(batch, stem) float32: 1 for active stems."""
    merge: torch.Tensor | None
    """(batch, stem, stem) float32 if an example has stems known only as a sum; see `sampling.merge_matrix`."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            tuple(map(moved, self.mixture)),
            tuple(map(moved, self.stems)),
            moved(self.active),
            None if self.merge is None else moved(self.merge),
        )


class Clip(NamedTuple):
    """One whole validation recording."""

    name: str
    mixture: tuple[torch.Tensor, ...]
    """For each stage (1, [channel,] time_i), normalised to unit variance."""
    stems: tuple[torch.Tensor, ...]
    """For each stage (1, stem, [channel,] time_i), scaled like the mixture."""
    active: torch.Tensor
    """(1, stem)."""


class SegmentDataset(Dataset[Batch]):
    """Training batches by number; ``dataset[k]`` is this process's share of batch k.

    Args:
        config: settings with absolute folders; every source must be prepared at the model's top rate.
        model: the model, or its first stages if only those are trained.
        batch_size: number of examples in a batch of all processes.
        rank: number of this process.
        world: number of processes; `batch_size` must be a multiple.

    Raises:
        DataError: a source is not prepared.
        ConfigError: the batch cannot be split among the processes.
    """

    def __init__(
        self, config: DataConfig, model: NetworkConfig, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size < 1 or batch_size % world:
            raise ConfigError(f"batch size {batch_size} cannot be split among {world} processes; give a multiple")
        self.config, self.model = config, model
        self.items = range(rank * batch_size // world, (rank + 1) * batch_size // world)
        self.examples = ExampleSource(config, model)

    def __getitem__(self, index: int) -> Batch:
        """This process's share of batch `index`."""
        examples = [self.examples.example(index, item) for item in self.items]
        return _batch(examples, self.model, self.config.mixing.active_db)


def _batch(examples: list[Example], model: NetworkConfig, active_db: float) -> Batch:
    arrays = assemble(examples, model, active_db)
    return Batch(
        tuple(map(torch.from_numpy, arrays.mixture)),
        tuple(map(torch.from_numpy, arrays.stems)),
        torch.from_numpy(arrays.active),
        None if arrays.merge is None else torch.from_numpy(arrays.merge),
    )


class ValidationData:
    """Whole validation clips at the model's rates. The mixture is the sum of the stems; only its level is normalised.

    Args:
        config: settings with absolute folders and at least one validation set.
        model: the model.
        limit: maximum number of clips; None for all.

    Raises:
        DataError: there is no validation set, it is not prepared, or stems of a song are known only as a sum.
    """

    def __init__(self, config: DataConfig, model: NetworkConfig, limit: int | None = None) -> None:
        if not config.validation:
            raise DataError("no [[data.validation]] in the config")
        self.model = model
        tracks: list[PreparedTrack] = []
        for source in config.validation:
            tracks += load_source(config, source, model.stems, model.rates_hz[-1])
        for track in tracks:
            if track.sums:
                raise DataError(f"validation track {track.name!r} in {track.source!r} has stems known only as a sum")
        self.tracks = tuple(tracks[:limit])

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Clip:
        track = self.tracks[index]
        stems = np.stack([track.crop(stem, 0, track.frames) for stem in self.model.stems])  # (stem, channel, time)
        if self.model.audio_channels == 1:
            stems = stems.mean(axis=1, keepdims=True)
        elif stems.shape[1] == 1:
            stems = np.repeat(stems, 2, axis=1)
        batch = _batch([Example(stems, {})], self.model, VALIDATION_ACTIVE_DB)
        return Clip(track.name, batch.mixture, batch.stems, batch.active)

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))
