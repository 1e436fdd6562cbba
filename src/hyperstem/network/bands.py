"""Spectra, their rows, the features that the network sees, and masks.

A spectrum is real, (..., bin, frame, 2): real and imaginary part last, ``n_fft // 2`` bins (the Nyquist bin is left
out), scaled so that white noise of power 1 has power 1 in every bin. A *row* is one bin, or several neighbouring bins
that share a mask.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.config import UNetConfig

FLOOR = 1e-9
"""Power added before logarithm and compression; waveforms have power 1."""
COMPRESSION = 0.3
"""Exponent by which magnitudes are compressed."""
FEATURES = 6
"""Features of each bin and frame: log power and compressed spectrum (two numbers) of mid and of side."""
DRAFT_FEATURES = 2
"""Features of each bin and frame of each stem's draft: log power of mid and of side."""
MASK_COEFFICIENTS = 5
"""What a stem's masks of left and right are computed from; see `masks`."""
KEPT = 2.0
"""Logit of the share of a draft that a network with random weights keeps."""
FULL_WIDTH = 1 / 16
"""Share of the side in a row's power from which left and right have fully independent masks."""


@lru_cache(maxsize=8)
def _window(n_fft: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for training too
        window = torch.hann_window(n_fft, device=device)
        return window / window.square().sum().sqrt()


def spectrum(wave: Tensor, n_fft: int) -> Tensor:
    """The STFT of a waveform, with a hop of a quarter window.

    Args:
        wave: (..., time).
        n_fft: window length in samples.

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


def features(spectra: Tensor, mean: Tensor, std: Tensor, level: Tensor) -> Tensor:
    """Log power and compressed spectrum of mid and side, the input of the network.

    Args:
        spectra: of left and right (batch, 2, bin, frame, 2).
        mean: of each bin's log power (bin,).
        std: standard deviation of each bin's log power (bin,).
        level: root mean square of each bin's compressed magnitude (bin,).

    Returns:
        (batch, FEATURES, bin, frame).
    """
    mid_side = to_mid_side(spectra)
    power = mid_side.square().sum(-1) + FLOOR  # (batch, 2, bin, frame)
    log = (power.log10() - mean[:, None]) / std[:, None]
    gain = power.pow((COMPRESSION - 1) / 2) / level[:, None]
    return torch.cat([log, mid_side[..., 0] * gain, mid_side[..., 1] * gain], 1)


def draft_features(draft: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log power of mid and side of every stem's draft.

    Args:
        draft: spectra (batch, stem, 2, bin, frame, 2).
        mean: of each bin's log power in mixtures (bin,).
        std: standard deviation of the same.

    Returns:
        (batch, stem * DRAFT_FEATURES, bin, frame).
    """
    power = to_mid_side(draft.flatten(0, 1)).square().sum(-1) + FLOOR  # (batch * stem, 2, bin, frame)
    log = (power.log10() - mean[:, None]) / std[:, None]
    return log.unflatten(0, draft.shape[:2]).flatten(1, 2)


def to_mid_side(spectra: Tensor) -> Tensor:
    """Left and right (batch, 2, ...) to mid and side, half their sum and half their difference."""
    return torch.stack([spectra[:, 0] + spectra[:, 1], spectra[:, 0] - spectra[:, 1]], 1) / 2


def row_sums(values: Tensor, config: UNetConfig, axis: int) -> Tensor:
    """Sums over the bins of each row: the bins of `axis` become rows."""
    bands = zip(values.split(list(config.band_bins), axis), config.band_widths, strict=True)
    return torch.cat([band.unflatten(axis, (-1, width)).sum(axis + 1) for band, width in bands], axis)


def stereo_width(mixture: Tensor, config: UNetConfig) -> Tensor:
    """How much the masks of left and right may differ in each row.

    Args:
        mixture: spectrum (batch, 2, bin, frame, 2).
        config: sizes of the rows.

    Returns:
        (batch, 1, row, frame): 0 where left and right are equal, 1 from `FULL_WIDTH` of the power in the side.
    """
    powers = [(mixture[:, 0] + sign * mixture[:, 1]).square().sum(-1) for sign in (1, -1)]
    mid, side = (row_sums(power, config, 1) for power in powers)
    return (side / FULL_WIDTH / (mid + side + 1e-12)).clamp(max=1.0).unsqueeze(1)


def masks(coefficients: Tensor, width: Tensor) -> Tensor:
    """Complex masks for left and right whose sum over the stems is one.

    With ``w`` the softmax of the first coefficient over the stems and ``c`` a complex correction made of two others, a
    stem's mask is ``w_i (1 + c_i - sum_j w_j c_j)``: for any corrections the masks sum to 1, and a stem with ``w = 0``
    is silent. Half the difference between left and right, made of the last two, is corrected likewise: it sums to 0
    over the stems, and is 0 where both channels are equal.

    Args:
        coefficients: the network's output (batch, stem, MASK_COEFFICIENTS, row, frame).
        width: see `stereo_width`.

    Returns:
        (batch, stem, 2 channels, row, frame, 2).
    """
    weight = coefficients[:, :, 0].softmax(1)  # (batch, stem, row, frame)
    corrections = coefficients[:, :, 1:]
    common = (weight.unsqueeze(2) * corrections).sum(1, keepdim=True)
    corrections = weight.unsqueeze(2) * (corrections - common)  # (batch, stem, 4, row, frame)
    real, imaginary = weight + corrections[:, :, 0], corrections[:, :, 1]
    difference_real, difference_imaginary = corrections[:, :, 2] * width, corrections[:, :, 3] * width
    left = torch.stack([real + difference_real, imaginary + difference_imaginary], -1)
    right = torch.stack([real - difference_real, imaginary - difference_imaginary], -1)
    return torch.stack([left, right], 2)


def narrowed(draft: Tensor, width: Tensor) -> Tensor:
    """Drafts whose sides are as wide as masks may be, so that equal channels stay equal.

    Args:
        draft: spectra (batch, stem, 2, bin, frame, 2).
        width: see `stereo_width`, of bins in place of rows.
    """
    left, right = draft.unbind(2)
    mid, side = (left + right) / 2, (left - right) / 2 * width.unsqueeze(-1)
    return torch.stack([mid + side, mid - side], 2)


def completed(draft: Tensor, mixture: Tensor) -> Tensor:
    """Drafts that sum to the mixture: in every bin each gets a part of what is missing in proportion to its power.

    Args:
        draft: spectra (batch, stem, 2, bin, frame, 2).
        mixture: (batch, 2, bin, frame, 2).
    """
    power = draft.square().sum(-1, keepdim=True) + FLOOR
    return draft + power / power.sum(1, keepdim=True) * (mixture - draft.sum(1)).unsqueeze(1)


def refine(masks: Tensor, kept: Tensor, mixture: Tensor) -> Tensor:
    """What is kept of the drafts, and of the rest of the mixture what masks select; both sum to the mixture.

    Args:
        masks: of every bin (batch, stem, 2, bin, frame, 2), whose sum over the stems is one.
        kept: the stems' drafts times the share of them that is kept (batch, stem, 2, bin, frame, 2).
        mixture: (batch, 2, bin, frame, 2).

    Returns:
        (batch, stem, 2, bin, frame, 2).
    """
    return kept + complex_product(masks, (mixture - kept.sum(1)).unsqueeze(1))


def complex_product(a: Tensor, b: Tensor) -> Tensor:
    """The product of complex numbers (..., 2)."""
    (re, im), (x, y) = a.unbind(-1), b.unbind(-1)
    return torch.stack([re * x - im * y, re * y + im * x], -1)
