"""Spectra, their rows, and what the network hears of them.

A spectrum is real, (..., bin, frame, 2): real and imaginary part last, ``n_fft // 2`` bins (the one at half the rate,
which carries nothing audible, is left out), scaled so that white noise of power 1 has power 1 in every bin. A *row* is
one bin or several neighbouring ones that share a mask.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 1e-9
"""Power added before logarithm and compression; the waves have power 1."""
COMPRESSION = 0.3
"""Exponent by which magnitudes are compressed."""
FEATURES = 6
"""Numbers that the network hears of each bin and frame."""
NARROW = 16.0
"""How quickly left and right get masks of their own as the sides grow louder beside the middle."""


@lru_cache(maxsize=8)
def _window(n_fft: int, device: torch.device) -> Tensor:
    window = torch.hann_window(n_fft, device=device)
    return window / window.square().sum().sqrt()


def spectrum(wave: Tensor, n_fft: int) -> Tensor:
    """The STFT of a wave, windows a quarter of their length apart.

    Args:
        wave: (..., time).
        n_fft: samples of a window.

    Returns:
        (..., n_fft // 2, frame, 2) with ``time // hop + 1`` frames.
    """
    window = _window(n_fft, wave.device)
    flat = wave.flatten(0, -2)
    result = torch.stft(flat, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True)
    return torch.view_as_real(result[:, :-1]).unflatten(0, wave.shape[:-1])


def waveform(spectra: Tensor, n_fft: int, length: int) -> Tensor:
    """The inverse of `spectrum`: (..., bin, frame, 2) to (..., length)."""
    full = F.pad(spectra, (0, 0, 0, 0, 0, 1)).flatten(0, -4)
    window = _window(n_fft, spectra.device)
    wave = torch.istft(torch.view_as_complex(full.contiguous()), n_fft, n_fft // 4, window=window, length=length)
    return wave.unflatten(0, spectra.shape[:-3])


def features(spectra: Tensor, mean: Tensor, spread: Tensor, level: Tensor) -> Tensor:
    """What the network hears: log power and compressed spectrum of the middle and of the sides.

    Args:
        spectra: of left and right (batch, 2, bin, frame, 2).
        mean: of the log power of each bin (bin,).
        spread: its standard deviation (bin,).
        level: root mean square of the compressed magnitude of each bin (bin,).

    Returns:
        (batch, FEATURES, bin, frame).
    """
    middle_side = torch.stack([spectra[:, 0] + spectra[:, 1], spectra[:, 0] - spectra[:, 1]], 1) / 2
    power = middle_side.square().sum(-1) + FLOOR  # (batch, 2, bin, frame)
    log = (power.log10() - mean[:, None]) / spread[:, None]
    gain = power.pow((COMPRESSION - 1) / 2) / level[:, None]
    return torch.cat([log, middle_side[..., 0] * gain, middle_side[..., 1] * gain], 1)


def row_sums(values: Tensor, band_bins: Sequence[int], band_widths: Sequence[int], axis: int) -> Tensor:
    """Sums of the bins of each row: `axis` has bins, then rows."""
    parts = zip(values.split(list(band_bins), axis), band_widths, strict=True)
    return torch.cat([part.unflatten(axis, (-1, width)).sum(axis + 1) for part, width in parts], axis)


def row_widths(band_bins: Sequence[int], band_widths: Sequence[int]) -> Tensor:
    """Bins of every row (row,) int64."""
    return torch.cat([torch.full((bins // width,), width) for bins, width in zip(band_bins, band_widths, strict=True)])


def sideness(middle: Tensor, side: Tensor) -> Tensor:
    """How far left and right may have masks of their own: 0 where they are equal, 1 from a sixteenth of the power on.

    Args:
        middle: power of the middle in every row (batch, row, frame).
        side: the same of the sides.

    Returns:
        (batch, 1, row, frame) between 0 and 1.
    """
    return (NARROW * side / (middle + side + 1e-12)).clamp(max=1.0).unsqueeze(1)


def masks(raw: Tensor, sides: Tensor) -> Tensor:
    """Complex masks that add up to one over the stems, for left and right.

    With ``w`` the softmax over stems of the first number and ``c`` a complex correction made of two others, a stem's
    mask is ``w_i (1 + c_i - sum_j w_j c_j)``: whatever the corrections are, the masks add up to 1, and a stem of which
    ``w`` is zero is silent. The difference between left and right is built likewise and adds up to 0; it vanishes
    where both channels are equal.

    Args:
        raw: the network's output (batch, stem, 5, row, frame).
        sides: see `sideness`.

    Returns:
        (batch, stem, 2 channels, row, frame, 2).
    """
    weight = raw[:, :, 0].softmax(1)  # (batch, stem, row, frame)
    corrections = raw[:, :, 1:]
    common = (weight.unsqueeze(2) * corrections).sum(1, keepdim=True)
    corrections = weight.unsqueeze(2) * (corrections - common)  # (batch, stem, 4, row, frame)
    real, imaginary = weight + corrections[:, :, 0], corrections[:, :, 1]
    difference_real, difference_imaginary = corrections[:, :, 2] * sides, corrections[:, :, 3] * sides
    left = torch.stack([real + difference_real, imaginary + difference_imaginary], -1)
    right = torch.stack([real - difference_real, imaginary - difference_imaginary], -1)
    return torch.stack([left, right], 2)


def apply_masks(mask: Tensor, mixture: Tensor, widths: Tensor) -> Tensor:
    """Masks (batch, stem, 2, row, frame, 2) on a mixture's spectrum (batch, 2, bin, frame, 2), as complex products.

    Returns:
        (batch, stem, 2, bin, frame, 2).
    """
    real, imaginary = mask.repeat_interleave(widths, 3).unbind(-1)
    x, y = mixture.unsqueeze(1).unbind(-1)
    return torch.stack([real * x - imaginary * y, real * y + imaginary * x], -1)
