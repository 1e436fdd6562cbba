"""Runs an exported Meta-U-Net: onnxruntime computes the draft and the masks, numpy the spectra; torch is not needed."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import onnxruntime

from hyperstem.config import UNetConfig
from hyperstem.dsp.stft import istft, stft
from hyperstem.dsp.upsample import lower_band

FLOOR = np.float32(1e-9)
FULL_WIDTH = 1 / 16
"""Both as in `hyperstem.network.bands`, which needs torch."""
FRAMES = 32
"""Frames that are processed at once."""


class Draft(NamedTuple):
    """The draft, completed so that its stems sum to the mixture."""

    spectra: np.ndarray
    """(batch, stem, 2, frame, bin) complex64."""
    power: np.ndarray
    """Of mid and side (batch, stem * 2, bin, frame) float32."""


class UNetRuntime:
    """An exported Meta-U-Net; may be called from several threads at once.

    Attributes:
        config: the exported network's config.
        stems: names of the stems it decodes, in order.
    """

    def __init__(self, session: onnxruntime.InferenceSession, config: UNetConfig, stems: tuple[str, ...]) -> None:
        self._session, self.config, self.stems = session, config, stems
        self._row_of_bin = np.repeat(np.arange(config.rows), config.row_widths)
        self._chosen = [config.stems.index(stem) for stem in stems]

    def separate(self, pyramid: Sequence[np.ndarray]) -> np.ndarray:
        """Separates a mixture.

        Args:
            pyramid: a (batch, 2, time_i) float32 array of about unit variance for each rate; fewer rates give the
                draft.

        Returns:
            (batch, stem, 2, time) float32 at the last rate given.

        Raises:
            ConfigError: wrong number of rates, shapes or lengths, or samples that are not finite.
        """
        waves = [np.asarray(wave) for wave in pyramid]
        config = self.config.first_stages(min(len(waves), self.config.stages) or 1)
        finite = [bool(np.isfinite(wave).all()) for wave in waves]
        config.check_pyramid([wave.shape for wave in waves], [wave.dtype for wave in waves], finite)
        waves = [wave.astype(np.float32, copy=False) for wave in waves]
        drafts = [] if self.config.draft is None else self._drafts(waves)
        if config is not self.config:
            return self._picked(drafts[-1])
        spectra = stft(waves[0], self.config.n_fft)  # (batch, 2, frame, bin) complex64
        stems = self._refined(spectra, self._completed(drafts[0], spectra) if drafts else None, waves[0].shape[-1])
        if len(waves) == 1:
            return stems
        stems -= self._picked(drafts[0])  # what the U-Net changes, raised to the last rate
        for lower, higher in pairwise(waves):
            stems = lower_band(stems, lower, higher)
        stems += self._picked(drafts[-1])
        return stems

    def _picked(self, stems: np.ndarray) -> np.ndarray:
        """The stems (batch, stem, ...) that the network decodes, not a copy if those are all."""
        return stems if self.stems == self.config.stems else stems[:, self._chosen]

    def _drafts(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The draft's stems (batch, stem, 2, time_i) of the first stage and of the last."""
        feeds: dict[str, np.ndarray] = {"stages": np.array([len(waves)])}
        for i, wave in enumerate(waves):
            feeds |= {f"wave{i}": np.ascontiguousarray(wave), f"pick{i}": np.arange(len(self.config.stems))}
        return self._run(["waves0", f"waves{len(waves) - 1}"], feeds)

    def _run(self, fetches: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Runs a part of the graph; what only the other parts need is left empty."""
        if self.config.draft is not None:
            bins = self.config.n_fft // 2
            empty = {
                "stages": np.array([0]),
                "mixture": np.zeros((1, 2, 1, bins, 2), np.float32),
                "draft": np.zeros((1, 2 * len(self.config.stems), bins, 1), np.float32),
            }
            for i in range(self.config.stages):
                empty |= {f"wave{i}": np.zeros((1, 2, 1), np.float32), f"pick{i}": np.zeros(0, np.int64)}
            feeds = empty | feeds
        return [np.asarray(each) for each in self._session.run(fetches, feeds)]

    def _completed(self, stems: np.ndarray, mixture: np.ndarray) -> Draft:
        """See `hyperstem.network.MetaUNet.draft_spectra`; a few frames at a time, which takes less memory."""
        spectra = stft(stems, self.config.n_fft)  # (batch, stem, 2, frame, bin)
        power = np.empty((*spectra.shape[:3], spectra.shape[4], spectra.shape[3]), np.float32)
        for some in _few(spectra.shape[3]):
            part, mixed = spectra[..., some, :], mixture[..., some, :]
            mid, side = (part[:, :, 0] + part[:, :, 1]) / 2, (part[:, :, 0] - part[:, :, 1]) / 2
            side *= self._width(mixed)[:, None]
            part[:, :, 0], part[:, :, 1] = mid + side, mid - side
            shares = _power(part) + FLOOR
            shares /= shares.sum(axis=1, keepdims=True)
            part += shares * (mixed - part.sum(axis=1))[:, None]
            for side_of, sign in enumerate((1, -1)):
                level = _power(part[:, :, 0] + sign * part[:, :, 1]) / 4
                power[:, :, side_of, :, some] = level.swapaxes(-1, -2)
        return Draft(spectra, power.reshape(len(stems), -1, *power.shape[-2:]))

    def _width(self, mixture: np.ndarray) -> np.ndarray:
        """The stereo width of every bin (batch, frame, bin) of a mixture (batch, 2, frame, bin)."""
        starts = np.cumsum([0, *self.config.row_widths[:-1]])
        parts = [mixture[:, 0] + sign * mixture[:, 1] for sign in (1, -1)]
        mid, side = (np.add.reduceat(_power(part), starts, axis=-1) for part in parts)
        width = np.minimum(side / FULL_WIDTH / (mid + side + 1e-12), 1)  # (batch, frame, row)
        return np.take(width, self._row_of_bin, axis=-1)

    def _refined(self, mixture: np.ndarray, draft: Draft | None, length: int) -> np.ndarray:
        """Every stem's waveform (batch, stem, 2, time); see `hyperstem.network.bands.refine`."""
        parts = np.ascontiguousarray(mixture).view(np.float32).reshape(*mixture.shape, 2)
        feeds = {"mixture": parts}
        kept: np.ndarray | None = None
        if draft is None:
            (masks,) = self._run(["masks"], feeds)
        else:
            masks, shares = self._run(["masks", "shares"], feeds | {"draft": draft.power})
            kept = draft.spectra  # (batch, stem, 2, frame, bin)
            for some in _few(kept.shape[3]):
                kept[..., some, :] *= np.take(shares[:, :, some], self._row_of_bin, axis=-1)[:, :, None]
            mixture = mixture - kept.sum(axis=1)
            kept = self._picked(kept)
        masks = masks.reshape(4, len(mixture), -1, *masks.shape[2:])  # (4, batch, stem, frame, row)

        def spectra(start: int, stop: int) -> np.ndarray:
            """Every stem's spectra (batch, stem, 2, frame, bin)."""
            shape = (*masks.shape[1:3], 2, stop - start, mixture.shape[-1])
            result = np.empty(shape, np.complex64)
            for part, mask in enumerate(masks[:, :, :, start:stop]):
                half = result.imag if part >= 2 else result.real
                half[:, :, part % 2] = np.take(mask, self._row_of_bin, axis=-1)
            result *= mixture[:, None, :, start:stop]
            if kept is not None:
                result += kept[:, :, :, start:stop]
            return result

        return istft(spectra, mixture.shape[2], self.config.n_fft, length)


def _few(frames: int) -> Iterator[slice]:
    """All frames, a few at a time."""
    return (slice(start, start + FRAMES) for start in range(0, frames, FRAMES))


def _power(spectra: np.ndarray) -> np.ndarray:
    return np.square(spectra.real) + np.square(spectra.imag)
