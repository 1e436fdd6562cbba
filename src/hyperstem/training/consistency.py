"""Stems that sum to their mixture, for training: `hyperstem.dsp.residual.share_by_frequency` with gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.dsp.residual import FAINT_BIN, sine_window

MIN_ENERGY = 1e-3
"""Energy of all stems in a bin below which the gradient is bounded; waveforms have unit variance."""


def consistent(stems: Tensor, mixture: Tensor, rate_hz: int) -> Tensor:
    """The stems as separation delivers them: with the residual distributed by their energy in each bin.

    Args:
        stems: (batch, stem, [channel,] time), about as loud as a mixture of unit variance.
        mixture: (batch, [channel,] time); it gets no gradient.
        rate_hz: sample rate.

    Returns:
        (batch, stem, [channel,] time) float32 (float64 if `stems` are), which sum to the mixture.

    Source:
        Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement", ICASSP 2019,
        section 2.2; there each signal gets the same share in all bins.
    """
    with torch.autocast(stems.device.type, enabled=False):
        exact = torch.promote_types(stems.dtype, torch.float32)
        window = torch.from_numpy(sine_window(rate_hz)).to(stems.device, exact)
        return _Consistent.apply(stems.to(exact), mixture.to(exact), window)


class _Consistent(torch.autograd.Function):
    """A hand-written gradient: automatic differentiation of the transforms takes several times as long.

    Let E_s be the spectra of the stems and R that of the residual, p_s = |E_s|^2 + FAINT_BIN, and w_s = p_s / sum p the
    shares. The spectrum w_s R is added to stem s. The inverse transform is the adjoint of the transform, so with the
    spectra Q_s of the gradients and d_s = Re(conj(R) Q_s), the gradient of stem s is increased by the spectrum

        2 (d_s - sum w d) / (sum p) E_s - sum w Q.

    Where all stems are nearly silent, a tiny change moves the mixture to another stem; there the gradient is bounded.
    """

    @staticmethod
    def forward(ctx: Any, stems: Tensor, mixture: Tensor, window: Tensor) -> Tensor:
        residual = _spectra(mixture - stems.sum(1), window).unsqueeze(1)  # (batch, 1, [channel,] frame, bin)
        spectra = _spectra(stems, window)  # (batch, stem, [channel,] frame, bin)
        shares = _dot(spectra, spectra).add_(FAINT_BIN)
        total = shares.sum(1, keepdim=True)
        shares /= total
        ctx.save_for_backward(residual, spectra, shares, total, window)
        return stems + _waveforms(shares * residual, window, stems.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        residual, spectra, shares, total, window = ctx.saved_tensors
        gradients = _spectra(grads[0], window)
        slope = _dot(gradients, residual)
        slope -= (slope * shares).sum(1, keepdim=True)
        slope *= 2 / total.clamp(min=MIN_ENERGY)
        change = spectra * slope
        change -= (gradients * shares).sum(1, keepdim=True)
        return grads[0] + _waveforms(change, window, grads[0].shape[-1]), None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Re(conj(a) b), the dot product of complex numbers as vectors."""
    return (a.real * b.real).addcmul_(a.imag, b.imag)


def _spectra(waveforms: Tensor, window: Tensor) -> Tensor:
    """(..., time) to (..., frame, bin) with a hop of half a window, padded with silence at both ends."""
    size = len(window)
    half = size // 2
    padded = F.pad(waveforms, (half, half + -waveforms.shape[-1] % half))
    return torch.fft.rfft(padded.unfold(-1, size, half) * window)


def _waveforms(spectra: Tensor, window: Tensor, time: int) -> Tensor:
    """(..., frame, bin) to (..., time)."""
    size = len(window)
    half = size // 2
    frames = torch.fft.irfft(spectra, size).mul_(window)
    waveform = frames[..., 1:, :half] + frames[..., :-1, half:]  # (..., half window, sample)
    return waveform.flatten(-2)[..., :time]
