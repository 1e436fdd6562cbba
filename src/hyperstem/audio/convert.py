"""Converts sound whose rate or channels change midway to those it began with."""

from collections.abc import Iterator, Sequence

import numpy as np
import soxr

HALF_POWER = 2**-0.5
_SPEAKERS = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Default loudspeakers for each number of channels, in WAV order, for files that do not say."""
_LEFT = {"FL": 1.0, "BL": HALF_POWER, "SL": HALF_POWER, "WL": HALF_POWER, "TFL": HALF_POWER, "TBL": HALF_POWER}
_LEFT |= {"FLC": 1.0, "DL": 1.0, "TSL": HALF_POWER, "SDL": HALF_POWER, "BFL": HALF_POWER}
_BOTH = {"FC": HALF_POWER, "BC": 0.5, "TFC": 0.5, "TBC": 0.5, "TC": 0.5, "BFC": 0.5}
_SILENT = ("LFE", "LFE2")


def speakers(channels: int) -> tuple[str, ...]:
    """Default loudspeaker names for a number of channels; empty if there is no convention."""
    return _SPEAKERS.get(channels, ())


def stereo_weights(channels: int, names: Sequence[str] = ()) -> np.ndarray:
    """Gains (2, channel) float32 of a downmix to left and right.

    Front channels keep their level, the centre and the surround channels are lowered by 3 dB, and low-frequency effects
    are left out. A mono channel goes to both sides. Channels without a known loudspeaker go left and right in turn.

    Args:
        channels: of the sound.
        names: of their loudspeakers, as in FFmpeg; empty for the defaults.

    Source: ITU-R BS.775-4, annex 4, table 2.
    """
    if channels == 1:
        return np.ones((2, 1), np.float32)
    names = names if len(names) == channels else speakers(channels)
    gains = np.zeros((2, channels), np.float32)
    for channel in range(channels):
        gains[:, channel] = _gains(names[channel]) if names else ((1, 0) if channel % 2 == 0 else (0, 1))
    return gains


def _gains(name: str) -> tuple[float, float]:
    mirrored = name.replace("R", "L")
    if name in _SILENT:
        return 0.0, 0.0
    if name in _LEFT:
        return _LEFT[name], 0.0
    if mirrored in _LEFT:
        return 0.0, _LEFT[mirrored]
    both = _BOTH.get(name, 0.5)
    return both, both


def with_channels(wave: np.ndarray, channels: int, names: Sequence[str] = ()) -> np.ndarray:
    """(channel, time) with `channels` channels: a downmix to one or two, mono repeated, or padded with silence."""
    if len(wave) == channels:
        return wave
    if len(wave) == 1:
        return np.repeat(wave, channels, axis=0)
    if channels <= 2:
        stereo = np.asarray(stereo_weights(len(wave), names) @ wave, np.float32) if len(wave) > 2 else wave
        return stereo if channels == 2 else stereo.mean(axis=0, keepdims=True)
    kept = wave[:channels]
    return np.pad(kept, [(0, channels - len(kept)), (0, 0)])


class Converter:
    """Converts waves of any rate and channels to one rate and number of channels."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self.rate_hz, self.channels = rate_hz, channels
        self._from_hz = rate_hz
        self._resampler: soxr.ResampleStream | None = None

    def push(self, wave: np.ndarray, rate_hz: int, names: Sequence[str] = ()) -> Iterator[np.ndarray]:
        """Adds (channel, time) float32 at any rate; yields what is ready."""
        if rate_hz != self._from_hz:
            yield from self.finish()
            self._from_hz = rate_hz
            if rate_hz != self.rate_hz:
                self._resampler = soxr.ResampleStream(rate_hz, self.rate_hz, self.channels, dtype="float32")
        wave = with_channels(wave, self.channels, names)
        yield wave if self._resampler is None else self._resampled(wave, last=False)

    def finish(self) -> Iterator[np.ndarray]:
        """Yields the remaining samples; the next wave starts afresh."""
        if self._resampler is not None:
            yield self._resampled(np.zeros((self.channels, 0), np.float32), last=True)
        self._resampler, self._from_hz = None, self.rate_hz

    def _resampled(self, wave: np.ndarray, last: bool) -> np.ndarray:
        assert self._resampler is not None
        return np.ascontiguousarray(self._resampler.resample_chunk(np.ascontiguousarray(wave.T), last).T)
