"""Stems that sum to their mixture, for training: `hyperstem.dsp.residual.share_by_frequency` with gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.dsp.residual import FAINT_BIN, sine_window

STEEP = 1e-3
"""Energy of all stems in a bin, of waves at level 1, below which the gradient grows no further."""


def consistent(stems: Tensor, mixture: Tensor, rate_hz: int) -> Tensor:
    """The stems as separation delivers them: with what they lack of the mixture shared by energy, bin by bin.

    Args:
        stems: (batch, stem, [channel,] time), at a level near 1.
        mixture: (batch, [channel,] time); it gets no gradient.
        rate_hz: their sample rate.

    Returns:
        (batch, stem, [channel,] time) float32, or float64 for such stems, that sums to the mixture.

    Source:
        Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement", ICASSP 2019,
        section 2.2, there with one share per sample or bin for all signals alike.
    """
    with torch.autocast(stems.device.type, enabled=False):
        exact = torch.promote_types(stems.dtype, torch.float32)
        window = torch.from_numpy(sine_window(rate_hz)).to(stems.device, exact)
        return _Consistent.apply(stems.to(exact), mixture.to(exact), window)


class _Consistent(torch.autograd.Function):
    """Written out because automatic differentiation of the transforms takes several times as long.

    With the spectra E_s of the stems and M of what they lack, let p_s = |E_s|^2 + FAINT_BIN and w_s = p_s / sum p, the
    shares. What is added to stem s has the spectrum w_s M. The transform back is the adjoint of the transform, so with
    the spectra Q_s of the gradients and d_s = Re(conj(M) Q_s), what is added to the gradient of stem s has the spectrum

        2 (d_s - sum w d) / (sum p) E_s - sum w Q.

    Where all stems are all but silent the least change gives the mixture to another of them; there it is bounded.
    """

    @staticmethod
    def forward(ctx: Any, stems: Tensor, mixture: Tensor, window: Tensor) -> Tensor:
        lack = _spectra(mixture - stems.sum(1), window).unsqueeze(1)  # (batch, 1, [channel,] frame, bin)
        spectra = _spectra(stems, window)  # (batch, stem, [channel,] frame, bin)
        shares = _dot(spectra, spectra).add_(FAINT_BIN)
        total = shares.sum(1, keepdim=True)
        shares /= total
        ctx.save_for_backward(lack, spectra, shares, total, window)
        return stems + _waves(shares * lack, window, stems.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        lack, spectra, shares, total, window = ctx.saved_tensors
        given = _spectra(grads[0], window)
        slope = _dot(given, lack)
        slope -= (slope * shares).sum(1, keepdim=True)
        slope *= 2 / total.clamp(min=STEEP)
        change = spectra * slope
        change -= (given * shares).sum(1, keepdim=True)
        return grads[0] + _waves(change, window, grads[0].shape[-1]), None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Re(conj(a) b), as the product of two vectors."""
    return (a.real * b.real).addcmul_(a.imag, b.imag)


def _spectra(waves: Tensor, window: Tensor) -> Tensor:
    """(..., time) to (..., frame, bin) of frames half a window apart, silence before the first and after the last."""
    size = len(window)
    half = size // 2
    padded = F.pad(waves, (half, half + -waves.shape[-1] % half))
    return torch.fft.rfft(padded.unfold(-1, size, half) * window)


def _waves(spectra: Tensor, window: Tensor, time: int) -> Tensor:
    """(..., frame, bin) to (..., time)."""
    size = len(window)
    half = size // 2
    frames = torch.fft.irfft(spectra, size).mul_(window)
    wave = frames[..., 1:, :half] + frames[..., :-1, half:]  # (..., half window, sample)
    return wave.flatten(-2)[..., :time]
