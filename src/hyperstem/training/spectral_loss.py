"""The objective of networks over time and frequency: SNR of every stem, and leakage while it is silent.

It is computed on spectra, without an inverse transform. Where the stems are the mixture times masks, all bins of a row
share a mask, so the energy of the error is a quadratic function of the mask. Its coefficients are sums over the row's
bins, which need no gradient: ``sum |m z - s|^2 = |m|^2 sum |z|^2 - 2 Re(m sum z s*) + sum |s|^2``.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.config import SpectralLossConfig, UNetConfig
from hyperstem.network import bands
from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.meta_unet import MetaUNet
from hyperstem.training.draft_eq import draft_through_eq
from hyperstem.training.losses import INAUDIBLE, LossReport, divisor

EDGES_HZ = (250.0, 1000.0, 4000.0, 10000.0)
"""Borders of the five frequency bands."""
BAND_THRESHOLD_DB = 20.0
"""Soft threshold of the SNR of a band."""
FAINT_BAND = 1e-6
"""Bands with less than this fraction of the mixture's energy are not scored."""
REST_S = 0.5
"""Length of the windows in which rests are found."""
REST = 1e-4
"""Fraction of the mixture's energy, -40 dB, below which a stem rests."""
TINY = 1e-9


class Moments(NamedTuple):
    """Sums over the bins of each row, of mixtures z and true stems s."""

    mixture: Tensor
    """|z|^2 (batch, 2, row, frame)."""
    real: Tensor
    """Re(z* s) (batch, stem, 2, row, frame)."""
    imaginary: Tensor
    """Im(z* s) (batch, stem, 2, row, frame)."""
    stems: Tensor
    """|s|^2 of both channels (batch, stem, row, frame)."""


class Energies(NamedTuple):
    """Energies of each band and frame."""

    error: Tensor
    """Of the error of each stem (batch, stem, band, frame)."""
    stems: Tensor
    """Of the true stems (batch, stem, band, frame)."""
    mixture: Tensor
    """(batch, band, frame)."""


class SpectralObjective(nn.Module):
    """The loss of a Meta-U-Net's training step.

    Args:
        config: threshold and weights.
    """

    def __init__(self, config: SpectralLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or SpectralLossConfig()
        self._moments, self._energies = compute_moments, compute_energies

    def compile(self, *_: Any, **__: Any) -> None:
        """Compiles the expensive parts, but not the Fourier transforms."""
        self._moments = torch.compile(compute_moments, dynamic=False)
        self._energies = torch.compile(compute_energies, dynamic=False)

    def forward(
        self,
        network: MetaUNet,
        pyramid: Sequence[Tensor],
        stems_pyramid: Sequence[Tensor],
        active: Sequence[Tensor] | Tensor,
        merge: Tensor | None = None,
    ) -> LossReport:
        """Runs the network and scores its stems; see `losses.Objective`.

        Args:
            network: the network.
            pyramid: mixtures (batch, 2, time) at the network's lowest rate; higher rates are not used.
            stems_pyramid: their true stems (batch, stem, 2, time).
            active: (batch, stem) float, or a list with that first: 1 for active stems.
            merge: matrix of sums (batch, stem, stem), or None.

        Returns:
            The weighted total and its unweighted parts.
        """
        config, active = network.config, active if isinstance(active, Tensor) else active[0]
        with torch.no_grad():
            spectra = network.spectrum(stems_pyramid[0])  # (batch, stem, 2, bin, frame, 2)
            mixture, moments = self._moments(spectra, config)
            draft = None if network.draft is None else self._draft(network, network.draft, pyramid[0], mixture)
        energies = self._energies(network, mixture, draft, spectra, moments, merge)
        return self.score(energies, active, rest_frames(config), merge)

    def _draft(self, network: MetaUNet, tasnet: MetaTasNet, wave: Tensor, mixture: Tensor) -> Tensor:
        """`MetaUNet.draft_spectra`, through an EQ and with some examples left out (zero)."""
        stems = draft_through_eq(tasnet, wave, self.config.draft_eq_db).stems
        there = torch.rand(len(stems), device=stems.device) >= self.config.draft_dropout
        return network.draft_spectra(stems, mixture) * there.view(-1, 1, 1, 1, 1, 1)

    def score(self, energies: Energies, active: Tensor, window: int, merge: Tensor | None) -> LossReport:
        """The loss; `window` is the number of frames in `REST_S`."""
        error, stem = energies.error.sum((2, 3)), energies.stems.sum((2, 3))  # (batch, stem)
        mixture = energies.mixture.sum((1, 2))[:, None]  # (batch, 1)
        snr = _snr_db(error, stem, mixture, self.config.snr_threshold_db)  # (batch, stem)
        scores = (snr * active).sum(0) / divisor(active, 0)
        silent = (1 - active) if merge is None else (1 - active) * (merge.sum(-1) > 0)
        parts = {f"stage0/snr/{i}": score.detach() for i, score in enumerate(scores)}
        terms = {
            "bands": -_band_snr_db(energies, active),
            "silence": _mean(_leakage_db(error, mixture), silent),
            "rests": _rest_leakage_db(energies, window, silent + active),
        }
        total = -scores.sum()
        for name, term in terms.items():
            total = total + getattr(self.config, name) * term
            parts[f"stage0/{name}"] = term.detach()
        return LossReport(total, parts)


def rest_frames(config: UNetConfig) -> int:
    """Number of frames in `REST_S`."""
    return max(1, round(REST_S * config.rate_hz / config.hop))


def compute_moments(spectra: Tensor, config: UNetConfig) -> tuple[Tensor, Moments]:
    """From the stems' spectra (batch, stem, 2, bin, frame, 2) the mixture's (batch, 2, bin, frame, 2) and moments."""

    def rows(values: Tensor, axis: int) -> Tensor:
        return bands.row_sums(values, config, axis)

    mixture = spectra.sum(1)
    x, y = mixture.unsqueeze(1).unbind(-1)
    s, t = spectra.unbind(-1)
    moments = Moments(
        rows(mixture.square().sum(-1), 2),
        rows(x * s + y * t, 3),
        rows(x * t - y * s, 3),
        rows(spectra.square().sum((2, 5)), 2),
    )
    return mixture, moments


def compute_energies(
    network: MetaUNet,
    mixture: Tensor,
    draft: Tensor | None,
    spectra: Tensor,
    moments: Moments,
    merge: Tensor | None = None,
) -> Energies:
    """Runs the network on the spectrum of a mixture and computes the energy of its errors by band.

    Args:
        network: the network.
        mixture: its spectrum (batch, 2, bin, frame, 2).
        draft: see `MetaUNet.draft_spectra`.
        spectra: of the true stems (batch, stem, 2, bin, frame, 2).
        moments: of the true stems.
        merge: see `SpectralObjective.forward`.
    """
    config = network.config
    if draft is None:
        masks = _merged(network.refinement(mixture, None).masks, merge)
        real, imaginary = masks.unbind(-1)  # (batch, stem, 2, row, frame)
        products = real * moments.real + imaginary * moments.imaginary
        error = masks.square().sum(-1) * moments.mixture.unsqueeze(1) - 2 * products
        error = (error.sum(2) + moments.stems).clamp(min=0)
    else:
        refined = _merged(network.refined(mixture, draft).spectra, merge)
        error = bands.row_sums((refined - spectra).square().sum((2, 5)), config, 2)
    sizes = band_sizes(config)
    by_band = [
        torch.stack([band.sum(axis) for band in values.split(sizes, axis)], axis)
        for values, axis in ((error, 2), (moments.stems, 2), (moments.mixture.sum(1), 1))
    ]
    return Energies(*by_band)


def _merged(values: Tensor, merge: Tensor | None) -> Tensor:
    """Stems (batch, stem, ...), some replaced by the sum that is known of them."""
    return values if merge is None else torch.einsum("bij,bj...->bi...", merge, values)


def band_sizes(config: UNetConfig) -> list[int]:
    """Number of rows in each frequency band."""
    ends = accumulate(config.row_widths)
    middles_hz = [
        (end - width / 2) * config.rate_hz / config.n_fft for end, width in zip(ends, config.row_widths, strict=True)
    ]
    borders = [0, *(bisect_left(middles_hz, edge) for edge in EDGES_HZ), len(middles_hz)]
    return [stop - start for start, stop in pairwise(borders) if stop > start]


def _snr_db(error: Tensor, stem: Tensor, mixture: Tensor, threshold_db: float) -> Tensor:
    """With a soft threshold; see `hyperstem.training.losses.snr`."""
    ratio = (error + TINY * mixture) / (stem + TINY * mixture + 1e-12)
    return -10 * torch.log10(ratio + 10 ** (-threshold_db / 10))


def _band_snr_db(energies: Energies, active: Tensor) -> Tensor:
    """Sum over stems of the mean over items and bands in which the stem is audible."""
    error, stem = energies.error.sum(3), energies.stems.sum(3)  # (batch, stem, band)
    mixture = energies.mixture.sum(2)[:, None]  # (batch, 1, band)
    audible = active[..., None] * (stem > INAUDIBLE * mixture) * (mixture > FAINT_BAND * mixture.sum(-1, keepdim=True))
    scores = _snr_db(error, stem, mixture, BAND_THRESHOLD_DB)
    return ((scores * audible).sum(2).sum(0) / divisor(audible.sum(2), 0)).sum()


def _leakage_db(leakage: Tensor, mixture: Tensor) -> Tensor:
    return 10 * torch.log10(1 + leakage / (INAUDIBLE * mixture + TINY))


def _rest_leakage_db(energies: Energies, window: int, scored: Tensor) -> Tensor:
    """Leakage into stems in windows in which they rest, and the mixture is not much softer than on average."""
    whole = energies.mixture.shape[-1] // window * window
    if whole == 0:
        return energies.error.new_zeros(())
    error, stem, mixture = (part[..., :whole].unflatten(-1, (-1, window)).sum((-3, -1)) for part in energies)
    audible = mixture > INAUDIBLE * mixture.mean(-1, keepdim=True)  # (batch, window)
    resting = (stem < REST * mixture[:, None]) * audible[:, None] * scored[..., None]
    return _mean(_leakage_db(error, mixture[:, None]), resting)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / divisor(weights, least=1.0)
