"""Runs an exported Meta-U-Net: onnxruntime computes masks, numpy the spectra; torch is not needed."""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from hyperstem.config import UNetConfig
from hyperstem.dsp.stft import istft, stft


class UNetRuntime:
    """An exported Meta-U-Net; may be called from several threads at once.

    Attributes:
        config: the exported network's config.
        stems: names of the stems it decodes, in order.
    """

    def __init__(self, session: onnxruntime.InferenceSession, config: UNetConfig, stems: tuple[str, ...]) -> None:
        self._session, self.config, self.stems = session, config, stems
        self._row_of_bin = np.repeat(np.arange(config.rows), config.row_widths)

    def separate(self, pyramid: Sequence[np.ndarray]) -> np.ndarray:
        """Separates a mixture.

        Args:
            pyramid: one (batch, 2, time) float32 array of about unit variance.

        Returns:
            (batch, stem, 2, time) float32.

        Raises:
            ConfigError: wrong number of rates or shape, or samples that are not finite.
        """
        waves = [np.asarray(wave) for wave in pyramid]
        finite = [bool(np.isfinite(wave).all()) for wave in waves]
        self.config.check_pyramid([wave.shape for wave in waves], [wave.dtype for wave in waves], finite)
        wave = waves[0].astype(np.float32, copy=False)
        spectra = stft(wave, self.config.n_fft)  # (batch, 2, frame, bin) complex64
        parts = np.ascontiguousarray(spectra).view(np.float32).reshape(*spectra.shape, 2)
        (masks,) = self._session.run(["masks"], {"mixture": parts})
        masks = np.asarray(masks)  # (4, batch, stem, frame, row)

        def masked(start: int, stop: int) -> np.ndarray:
            """Every stem's spectra (batch, stem, 2, frame, bin)."""
            shape = (*masks.shape[1:3], 2, stop - start, spectra.shape[-1])
            result = np.empty(shape, np.complex64)
            for part, mask in enumerate(masks[:, :, :, start:stop]):
                half = result.imag if part >= 2 else result.real
                half[:, :, part % 2] = np.take(mask, self._row_of_bin, axis=-1)
            result *= spectra[:, None, :, start:stop]
            return result

        return istft(masked, spectra.shape[2], self.config.n_fft, wave.shape[-1])
