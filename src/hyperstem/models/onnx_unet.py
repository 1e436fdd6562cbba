"""Runs an exported Meta-U-Net: onnxruntime computes the draft and the masks, numpy the spectra; torch is not needed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime

from hyperstem.config import UNetConfig
from hyperstem.dsp.stft import istft, stft

FLOOR = np.float32(1e-9)
FULL_WIDTH = 1 / 16
"""Both as in `hyperstem.network.bands`, which needs torch."""


class Draft(NamedTuple):
    """The draft's spectra, at the mixture's level."""

    spectra: np.ndarray
    """(batch, stem, 2, frame, draft bin) complex64."""
    power: np.ndarray
    """Of mid and side (batch, stem * 2, draft bin, frame) float32."""


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
            pyramid: a (batch, 2, time_i) float32 array of about unit variance for each rate; the draft's alone gives
                the draft.

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
        if config is not self.config:
            return self._draft_stems(waves[0])
        spectra = stft(waves[-1], self.config.n_fft)  # (batch, 2, frame, bin) complex64
        draft = None if self.config.draft is None else self._draft(waves[0], spectra)
        return self._refined(spectra, draft, waves[-1].shape[-1])

    def _draft_stems(self, wave: np.ndarray) -> np.ndarray:
        """Every stem at the draft's rate (batch, stem, 2, time)."""
        return self._run(["waves0"], 1, {"wave0": wave, "pick0": np.arange(len(self.config.stems))})[0]

    def _run(self, fetches: list[str], stage: int, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Runs the branch of one stage; what only the other needs is left empty."""
        if self.config.draft is not None:
            stems, bins = len(self.config.stems), self.config.n_fft // 2
            empty = {
                "stages": np.array([stage]),
                "wave0": np.zeros((1, 2, 1), np.float32),
                "pick0": np.zeros(0, np.int64),
                "mixture": np.zeros((1, 2, 1, bins, 2), np.float32),
                "draft": np.zeros((1, 2 * stems, self.config.draft_bins, 1), np.float32),
            }
            feeds = empty | feeds
        return [np.asarray(each) for each in self._session.run(fetches, feeds)]

    def _draft(self, wave: np.ndarray, mixture: np.ndarray) -> Draft:
        """See `hyperstem.network.MetaUNet.draft_spectra`."""
        bins, frames = self.config.draft_bins, mixture.shape[2]
        waves = np.concatenate([wave[:, None], self._draft_stems(wave)], axis=1)
        spectra = stft(waves, 2 * bins)[..., :frames, :]  # (batch, 1 + stem, 2, frame, bin)
        spectra = np.pad(spectra, [(0, 0)] * 3 + [(0, frames - spectra.shape[3]), (0, 0)])
        low, reference = mixture[..., :bins], spectra[:, 0]
        product = (low * reference.conj()).real.sum((1, 2, 3))
        gain = product / (np.square(np.abs(reference)).sum((1, 2, 3)) + 1e-12)
        left, right = np.moveaxis(spectra[:, 1:] * gain[:, None, None, None, None].astype(np.float32), 2, 0)
        mid, side = (left + right) / 2, (left - right) / 2 * self._width(low)[:, None]
        drafts = np.stack([mid + side, mid - side], axis=2)
        shares = _power(drafts) + FLOOR
        shares /= shares.sum(axis=1, keepdims=True)
        drafts += shares * (low - drafts.sum(axis=1))[:, None]
        power = np.stack([_power(drafts[:, :, 0] + sign * drafts[:, :, 1]) for sign in (1, -1)], axis=2) / 4
        power = power.swapaxes(-1, -2).reshape(len(wave), -1, bins, frames)  # (batch, stem * 2, bin, frame)
        return Draft(drafts, np.ascontiguousarray(power))

    def _width(self, mixture: np.ndarray) -> np.ndarray:
        """The stereo width of every bin (batch, frame, draft bin), of the mixture's lowest bins."""
        rows, starts = self.config.draft_rows, np.cumsum([0, *self.config.row_widths])[: self.config.draft_rows]
        parts = [mixture[:, 0] + sign * mixture[:, 1] for sign in (1, -1)]
        mid, side = (np.add.reduceat(_power(part), starts, axis=-1) for part in parts)
        width = np.minimum(side / FULL_WIDTH / (mid + side + 1e-12), 1)  # (batch, frame, row)
        return np.take(width, self._row_of_bin[self._row_of_bin < rows], axis=-1)

    def _refined(self, mixture: np.ndarray, draft: Draft | None, length: int) -> np.ndarray:
        """Every stem's waveform (batch, stem, 2, time); see `hyperstem.network.bands.refine`."""
        parts = np.ascontiguousarray(mixture).view(np.float32).reshape(*mixture.shape, 2)
        feeds = {"mixture": parts}
        if draft is None:
            (masks,) = self._run(["masks"], 1, feeds)
            kept = np.zeros((len(mixture), len(self.stems), 2, mixture.shape[2], 0), np.complex64)
        else:
            masks, shares = self._run(["masks", "shares"], 2, feeds | {"draft": draft.power})
            bins = self._row_of_bin[: self.config.draft_bins]
            kept = draft.spectra * np.take(shares, bins, axis=-1)[:, :, None]  # (batch, stem, 2, frame, bin)
            mixture = mixture.copy()
            mixture[..., : kept.shape[-1]] -= kept.sum(axis=1)
            kept = kept[:, self._chosen]
        masks = masks.reshape(4, len(mixture), -1, *masks.shape[2:])  # (4, batch, stem, frame, row)

        def spectra(start: int, stop: int) -> np.ndarray:
            """Every stem's spectra (batch, stem, 2, frame, bin)."""
            shape = (*masks.shape[1:3], 2, stop - start, mixture.shape[-1])
            result = np.empty(shape, np.complex64)
            for part, mask in enumerate(masks[:, :, :, start:stop]):
                half = result.imag if part >= 2 else result.real
                half[:, :, part % 2] = np.take(mask, self._row_of_bin, axis=-1)
            result *= mixture[:, None, :, start:stop]
            result[..., : kept.shape[-1]] += kept[:, :, :, start:stop]
            return result

        return istft(spectra, mixture.shape[2], self.config.n_fft, length)


def _power(spectra: np.ndarray) -> np.ndarray:
    return np.square(spectra.real) + np.square(spectra.imag)
