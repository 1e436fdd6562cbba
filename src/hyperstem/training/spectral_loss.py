"""The objective of networks over time and frequency: SNR of every stem, taken of its spectrum, and silence at rest.

Nothing is brought back to waves. A mask is the same for all bins of a row, so the energy of what it gets wrong is a
quadratic function of the mask, whose coefficients are sums over the row's bins that need no gradient:
``sum |m z - s|^2 = |m|^2 sum |z|^2 - 2 Re(m sum z s*) + sum |s|^2``.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.config import SpectralLossConfig, UNetConfig
from hyperstem.network import bands
from hyperstem.network.meta_unet import MetaUNet
from hyperstem.training.losses import INAUDIBLE, LossReport, divisor

EDGES_HZ = (250.0, 1000.0, 4000.0, 10000.0)
"""Borders of the five frequency bands."""
BAND_THRESHOLD_DB = 20.0
"""SNR of a band above which nothing more is gained."""
FAINT_BAND = 1e-6
"""Bands of a mixture below this share of its energy are not scored."""
REST_S = 0.5
REST = 1e-4
"""A stem below this share of the mixture's energy rests."""
TINY = 1e-9


class Moments(NamedTuple):
    """Sums over the bins of every row, of mixtures z and true stems s."""

    mixture: Tensor
    """|z|^2 (batch, 2, row, frame)."""
    real: Tensor
    """Re(z* s) (batch, stem, 2, row, frame)."""
    imaginary: Tensor
    """Im(z* s), likewise."""
    stems: Tensor
    """|s|^2 of both channels (batch, stem, row, frame)."""
    sides: Tensor
    """See `bands.stereo_width`."""


class Energies(NamedTuple):
    """Of what is wrong with each stem, of the stem and of the mixture, by band and frame."""

    wrong: Tensor
    """(batch, stem, band, frame)."""
    stems: Tensor
    """(batch, stem, band, frame)."""
    mixture: Tensor
    """(batch, band, frame)."""


class SpectralObjective(nn.Module):
    """The loss of a Meta-U-Net's training step.

    Args:
        config: thresholds and weights.
    """

    def __init__(self, config: SpectralLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or SpectralLossConfig()
        self._moments, self._energies = moments, energies

    def compile(self, *_: Any, **__: Any) -> None:
        """Compiles what a step spends its time in; Fourier transforms stay as they are."""
        self._moments = torch.compile(moments, dynamic=False)
        self._energies = torch.compile(energies, dynamic=False)

    def forward(
        self,
        network: MetaUNet,
        pyramid: Sequence[Tensor],
        stems_pyramid: Sequence[Tensor],
        active: Sequence[Tensor] | Tensor,
        merge: Tensor | None = None,
    ) -> LossReport:
        """Runs the network and scores what it gives.

        Args:
            network: the network.
            pyramid: one mixture (batch, 2, time).
            stems_pyramid: its true stems (batch, stem, 2, time).
            active: (batch, stem) float, in a list or not: 1 where a stem sounds.
            merge: None, or (batch, stem, stem) of 0 and 1, for items of which some stems are known only as a sum.

        Returns:
            The weighted total and its unweighted parts.
        """
        sounding = active if isinstance(active, Tensor) else active[0]
        with torch.no_grad():
            spectra = network.spectrum(stems_pyramid[0])  # (batch, stem, 2, bin, frame, 2)
            mixture, known = self._moments(spectra, network.config)
        found = self._energies(network, mixture, known, merge)
        return self.score(found, sounding, rest_frames(network.config), merge)

    def score(self, found: Energies, active: Tensor, window: int, merge: Tensor | None) -> LossReport:
        """The loss of energies; `window` is the number of frames of half a second."""
        config = self.config
        wrong, stem, mixture = found.wrong.sum((2, 3)), found.stems.sum((2, 3)), found.mixture.sum((1, 2))[:, None]
        snr = _snr_db(wrong, stem, mixture, config.snr_threshold_db)  # (batch, stem)
        scores = (snr * active).sum(0) / divisor(active, 0)
        silent = (1 - active) if merge is None else (1 - active) * (merge.sum(-1) > 0)
        parts = {f"stage0/snr/{i}": score.detach() for i, score in enumerate(scores)}
        terms = {
            "bands": -_band_snr_db(found, active),
            "silence": _mean(_leak_db(wrong, mixture), silent),
            "rests": _rest_leak_db(found, window, silent + active),
        }
        total = -scores.sum()
        for name, term in terms.items():
            total = total + getattr(config, name) * term
            parts[f"stage0/{name}"] = term.detach()
        return LossReport(total, parts)


def rest_frames(config: UNetConfig) -> int:
    """Frames of half a second."""
    return max(1, round(REST_S * config.rate_hz / config.hop))


def moments(spectra: Tensor, config: UNetConfig) -> tuple[Tensor, Moments]:
    """True stems' spectra (batch, stem, 2, bin, frame, 2) to the mixture's (batch, 2, bin, frame, 2) and moments."""

    def rows(values: Tensor, axis: int) -> Tensor:
        return bands.row_sums(values, config, axis)

    mixture = spectra.sum(1)
    x, y = mixture.unsqueeze(1).unbind(-1)
    s, t = spectra.unbind(-1)
    known = Moments(
        rows(mixture.square().sum(-1), 2),
        rows(x * s + y * t, 3),
        rows(x * t - y * s, 3),
        rows(spectra.square().sum((2, 5)), 2),
        bands.stereo_width(mixture, config),
    )
    return mixture, known


def energies(network: MetaUNet, mixture: Tensor, known: Moments, merge: Tensor | None = None) -> Energies:
    """Runs the network on a mixture's spectrum and measures what is wrong with its stems, by band."""
    masks = bands.masks(network.mask_coefficients(mixture), known.sides)  # (batch, stem, 2, row, frame, 2)
    if merge is not None:
        masks = torch.einsum("bij,bj...->bi...", merge, masks)
    real, imaginary = masks.unbind(-1)
    wrong = known.stems
    for channel in range(2):
        a, b = real[:, :, channel], imaginary[:, :, channel]
        wrong = wrong + (a.square() + b.square()) * known.mixture[:, None, channel]
        wrong = wrong - 2 * (a * known.real[:, :, channel] + b * known.imaginary[:, :, channel])
    sizes = band_sizes(network.config)
    cut = [
        torch.stack([part.sum(axis) for part in values.split(sizes, axis)], axis)
        for values, axis in ((wrong.clamp(min=0), 2), (known.stems, 2), (known.mixture.sum(1), 1))
    ]
    return Energies(*cut)


def band_sizes(config: UNetConfig) -> list[int]:
    """Rows of each frequency band that is scored."""
    widths = torch.tensor(config.row_widths)
    middles = (widths.cumsum(0) - widths / 2) * config.rate_hz / config.n_fft
    borders = [0, *(int((middles < edge).sum()) for edge in EDGES_HZ), len(widths)]
    return [stop - start for start, stop in pairwise(borders) if stop > start]


def _snr_db(wrong: Tensor, stem: Tensor, mixture: Tensor, threshold_db: float) -> Tensor:
    """Up to a threshold; see `hyperstem.training.losses.snr`."""
    ratio = (wrong + TINY * mixture) / (stem + TINY * mixture + 1e-12)
    return -10 * torch.log10(ratio + 10 ** (-threshold_db / 10))


def _band_snr_db(found: Energies, active: Tensor) -> Tensor:
    """Summed over stems, mean over the items and bands in which the stem can be heard."""
    wrong, stem, mixture = found.wrong.sum(3), found.stems.sum(3), found.mixture.sum(2)[:, None]  # (batch, stem, band)
    heard = active[..., None] * (stem > INAUDIBLE * mixture) * (mixture > FAINT_BAND * mixture.sum(-1, keepdim=True))
    scores = _snr_db(wrong, stem, mixture, BAND_THRESHOLD_DB)
    return ((scores * heard).sum(2).sum(0) / divisor(heard.sum(2), 0)).sum()


def _leak_db(leak: Tensor, mixture: Tensor) -> Tensor:
    return 10 * torch.log10(1 + leak / (INAUDIBLE * mixture + TINY))


def _rest_leak_db(found: Energies, window: int, known: Tensor) -> Tensor:
    """What leaks into stems in half seconds in which they rest and the mixture is not much softer than on average."""
    whole = found.mixture.shape[-1] // window * window
    if whole == 0:
        return found.wrong.new_zeros(())
    wrong, stem, mixture = (part[..., :whole].unflatten(-1, (-1, window)).sum((-3, -1)) for part in found)
    audible = mixture > INAUDIBLE * mixture.mean(-1, keepdim=True)  # (batch, window)
    resting = (stem < REST * mixture[:, None]) * audible[:, None] * known[..., None]
    return _mean(_leak_db(wrong, mixture[:, None]), resting)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / divisor(weights, least=1.0)
