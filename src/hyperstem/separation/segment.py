"""Runs the network on one segment of a song."""

import math
import threading

import numpy as np

from hyperstem.config import NetworkConfig
from hyperstem.dsp.offset import constant_offset
from hyperstem.dsp.resample import normalise, pyramid
from hyperstem.dsp.residual import mute, share_by_frequency
from hyperstem.errors import ModelError
from hyperstem.models.engines import Loaded
from hyperstem.separation.flow import Piece, Separated

QUIET = 1e-6
"""A segment whose samples all lie below this (-120 dBFS) bypasses the network; all stems get equal shares of it."""


class SegmentSeparator:
    """Separates segments, normalised as in training. Used from several threads.

    Args:
        loaded: the model; at most `loaded.workers` segments are in the network at once.
        config: the model's config, with only the stages that run.
    """

    def __init__(self, loaded: Loaded, config: NetworkConfig) -> None:
        self._engine, self._name, self._config = loaded.engine, loaded.name, config
        self._stems, self._rate_hz = len(config.stems), config.rates_hz[-1]
        self._slots = threading.BoundedSemaphore(loaded.workers)  # shared by all songs that are separated at once

    def __call__(self, piece: Piece) -> Separated:
        """The stems of one segment.

        Raises:
            ModelError: the network gave samples that are not finite.
        """
        segment = piece.segment
        if piece.empty:
            return Separated(piece, np.zeros((self._stems, *segment.wave.shape), np.float32))
        items = _as_items(segment.wave, self._config.audio_channels)  # (batch, model channel, time)
        offset = constant_offset(items)  # one that begins in the middle of the song
        items = items - offset if offset.any() else items
        loud = np.maximum(items.max(axis=(1, 2)), -items.min(axis=(1, 2))) >= QUIET
        result = np.zeros((len(items), self._stems, *items.shape[1:]), np.float32)  # no memory until written to
        if loud.any():
            stages = normalise(pyramid(items[loud], self._rate_hz, self._config.rates_hz))
            with self._slots:
                stems = self._engine.separate(stages.waves)  # (batch, stem, channel, time)
            stems = stems[..., : items.shape[-1]]
            if not math.isfinite(stems.max() - stems.min()):
                raise ModelError(f"model {self._name} gave samples that are not finite")
            mixture = stages.waves[-1][..., : items.shape[-1]]
            if not self._config.sums_to_mixture:
                stems = share_by_frequency(mixture, stems, self._rate_hz)
            mute(mixture, stems, self._rate_hz)
            stems *= stages.scales[-1][:, None]
            _keep_equal(items[loud], stems)
            if loud.all():
                result = stems
            else:
                result[loud] = stems
        if offset.any():
            result += offset[:, None] / self._stems
        waves = _as_channels(result, len(segment.wave))  # (stem, channel, time)
        return Separated(piece, waves[..., : segment.sound])


def _keep_equal(items: np.ndarray, stems: np.ndarray) -> None:
    """Makes the channels of the stems (batch, stem, channel, time) equal, in place, where those of the items are."""
    same = (items == items[:, :1]).all((1, 2))
    stems[same] = stems[same].mean(axis=2, keepdims=True)


def _as_items(wave: np.ndarray, model_channels: int) -> np.ndarray:
    """(channel, time) to (batch, model channel, time): single channels, or pairs with an odd last channel doubled."""
    if model_channels == 2 and len(wave) % 2:
        wave = np.concatenate([wave, wave[-1:]])
    return wave.reshape(-1, model_channels, wave.shape[-1])


def _as_channels(result: np.ndarray, channels: int) -> np.ndarray:
    """(batch, stem, model channel, time) to (stem, channel, time), the inverse of `_as_items`."""
    waves = np.moveaxis(result, 0, 1)  # (stem, batch, model channel, time)
    waves = waves.reshape(waves.shape[0], -1, waves.shape[-1])
    if waves.shape[1] > channels:
        waves[:, channels - 1] = (waves[:, channels - 1] + waves[:, channels]) / 2
    return waves[:, :channels]
