"""Runs an exported Meta-U-Net: onnxruntime computes masks, numpy the spectra; torch is not needed."""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from hyperstem.config import ConfigError, UNetConfig
from hyperstem.dsp.stft import istft, stft


class UNetRuntime:
    """An exported Meta-U-Net; may be called from several threads at once.

    Attributes:
        config: the exported network's config.
        stems: names of the stems it decodes, in order.
    """

    def __init__(self, session: onnxruntime.InferenceSession, config: UNetConfig, stems: tuple[str, ...]) -> None:
        self._session, self.config, self.stems = session, config, stems
        widths = np.repeat(config.band_widths, config.band_rows)
        self._row_of_bin = np.repeat(np.arange(config.rows), widths)

    def separate(self, pyramid: Sequence[np.ndarray]) -> np.ndarray:
        """Separates a mixture.

        Args:
            pyramid: one (batch, 2, time) float32 array of about unit variance.

        Returns:
            (batch, stem, 2, time) float32.

        Raises:
            ConfigError: wrong number of rates or shape, or samples that are not finite.
        """
        wave = self._checked(pyramid)
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

    def _checked(self, pyramid: Sequence[np.ndarray]) -> np.ndarray:
        shapes = ", ".join(str(np.shape(wave)) for wave in pyramid) or "(none)"
        if len(pyramid) != 1 or np.ndim(pyramid[0]) != 3 or pyramid[0].shape[1] != 2 or not pyramid[0].size:
            raise ConfigError(f"waves of shapes {shapes}; expected one (batch, 2, time)")
        wave = np.asarray(pyramid[0])
        if not np.issubdtype(wave.dtype, np.floating):
            raise ConfigError(f"the wave is {wave.dtype}; expected floating-point samples")
        if not np.isfinite(wave).all():
            raise ConfigError("the wave has samples that are not finite (NaN or infinity)")
        return wave.astype(np.float32, copy=False)
