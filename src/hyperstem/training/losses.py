"""The training objective: signal-to-noise ratios and the auxiliary losses of the paper (section 2.4)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hyperstem import extensions
from hyperstem.config import ConfigError, LossConfig
from hyperstem.training import distributed
from hyperstem.training.consistency import consistent

POWER_EPS = 1e-8
INAUDIBLE = 1e-3
"""Power relative to the mixture, -30 dB, below which a stem or leakage is taken as masked by the rest."""

Score = Callable[[Tensor, Tensor], Tensor]
"""A loss of an extension: estimates and true stems, both (batch, stem, channels and time), to the score to maximise
(batch, stem)."""


class LossReport(NamedTuple):
    """The value of an objective."""

    total: Tensor
    """The scalar to minimise."""
    parts: dict[str, Tensor]
    """Unweighted scalars by name, such as ``"stage0/si_snr/bass"`` in dB (blended with SNR by `snr_mix`)."""


def si_snr(estimate: Tensor, reference: Tensor, signed: bool = False) -> Tensor:
    """Scale-invariant signal-to-noise ratio, without mean removal.

    ``s = <r, e> / (|r|^2 + 1e-8) r``, then ``10 log10(|s|^2 / |e - s|^2)`` with both powers at least 1e-8.

    Args:
        estimate: (..., time).
        reference: (..., time).
        signed: an estimate of inverted polarity scores as if it had no part of the reference.

    Returns:
        (...) in dB.

    Source:
        The paper, equation 3; Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    power = reference.square().sum(-1, keepdim=True) + POWER_EPS
    scale = (reference * estimate).sum(-1, keepdim=True) / power
    target = (scale.clamp(min=0.0) if signed else scale) * reference
    residual = estimate - target
    return 10 * (_clamped_log_power(target) - _clamped_log_power(residual))


def snr(estimate: Tensor, reference: Tensor, threshold_db: float = 30.0) -> Tensor:
    """Signal-to-noise ratio with a soft threshold.

    ``-10 log10(|e - r|^2 / |r|^2 + 10^(-threshold / 10))``: easy items, with errors far below the threshold, do not
    dominate the gradient.

    Args:
        estimate: (..., time).
        reference: (..., time).
        threshold_db: the score of a perfect estimate in dB.

    Returns:
        (...) in dB.

    Source:
        Wisdom et al., "Unsupervised sound separation using mixture invariant training", NeurIPS 2020, equation 2.
    """
    power = reference.square().sum(-1) + POWER_EPS
    noise = (estimate - reference).square().sum(-1)
    return -10 * torch.log10(noise / power + 10 ** (-threshold_db / 10))


def _clamped_log_power(x: Tensor) -> Tensor:
    return torch.log10(x.square().sum(-1).clamp(min=POWER_EPS))


def dissimilarity(latents: Tensor, active: Tensor) -> Tensor:
    """Cosine similarity of the absolute latents of different stems: mean over frames and pairs of active stems.

    Args:
        latents: latents of the true stems (batch, stem, latent, frame).
        active: (batch, stem), 1 for an active stem.

    Returns:
        A scalar in [0, 1].

    Source:
        The paper, equation 5.
    """
    # At least 1: without a pair, rounding errors must not be divided by almost nothing.
    count = divisor((active.sum(1).square() - active.square().sum(1)) / 2, least=1.0)
    return _recomputed(_pairs, latents, active) / count


def _pairs(latents: Tensor, active: Tensor) -> Tensor:
    """Cosines of all pairs of active stems: sum over pairs and items, mean over frames."""
    directions = F.normalize(latents.abs(), dim=2, eps=POWER_EPS) * active[:, :, None, None]
    # All pairs at once: |sum_i d_i|^2 = sum_i |d_i|^2 + 2 sum_{i<j} <d_i, d_j>.
    pairs = (directions.sum(1).square().sum(1) - directions.square().sum((1, 2))) / 2  # (batch, frame)
    return pairs.sum(0).mean()


def similarity(latents: Tensor, active: Tensor) -> Tensor:
    """Cosine similarity of the latents of a stem in neighbouring items: mean over frames and active pairs.

    Each item is compared with the previous one, the first with the last; each process compares the items of its share.

    Args:
        latents: latents of the true stems (batch, stem, latent, frame).
        active: (batch, stem), 1 for an active stem.

    Returns:
        A scalar in [-1, 1].

    Source:
        The paper, equation 6.
    """
    both = active * active.roll(1, 0)
    return _recomputed(_neighbours, latents, both) / divisor(both)


def _neighbours(latents: Tensor, both: Tensor) -> Tensor:
    """Cosines of neighbouring items where the stem is active in both: sum over stems and items, mean over frames."""
    cosine = F.cosine_similarity(latents, latents.roll(1, 0), dim=2)  # (batch, stem, frame)
    return (cosine * both.unsqueeze(-1)).sum((0, 1)).mean()


def _recomputed(term: Callable[[Tensor, Tensor], Tensor], latents: Tensor, weights: Tensor) -> Tensor:
    """`term`, recomputed in the backward pass: its activations need several times the memory of the latents."""
    return checkpoint(term, latents, weights, use_reentrant=False, preserve_rng_state=False)


def divisor(weights: Tensor, axis: int | None = None, least: float = POWER_EPS) -> Tensor:
    """The divisor that makes a weighted sum a mean over the whole batch.

    It is the mean over all processes of the summed weights. Gradients are averaged over the processes, so they become
    those of the whole batch, however unevenly the active stems are distributed.
    """
    weight = weights.sum() if axis is None else weights.sum(axis)
    return distributed.total(weight).clamp(min=least) / distributed.process_count()


class Objective(nn.Module):
    """The loss of a training step, summed over the stages.

    Args:
        config: kind and weights of the parts; None for the paper's.
    """

    def __init__(self, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LossConfig()
        built_in = {"si_snr": self._si_snr, "snr": self._snr}.get(self.config.kind)
        self._score: Score = built_in or extensions.find(extensions.LOSSES, self.config.kind)

    def forward(
        self,
        network: Any,
        pyramid: Sequence[Tensor],
        stems_pyramid: Sequence[Tensor],
        active: Sequence[Tensor] | Tensor,
        merge: Tensor | None = None,
    ) -> LossReport:
        """Runs the network and scores its outputs.

        Args:
            network: has ``training_outputs(pyramid)``, one output with `stems` and `mixture` per stage;
                ``targets(pyramid, stems)``, the targets of both; ``config`` with `stems` and `rates_hz`; and for
                similarity and dissimilarity ``stem_latents(stage, stems, target)``. See `network.MetaTasNet`.
            pyramid: for each stage, mixtures (batch, [channel,] time_i).
            stems_pyramid: for each stage, true stems (batch, stem, [channel,] time_i).
            active: (batch, stem) float, one or one per stage: 1 for active stems. Silent stems do not count.
            merge: matrix of sums (batch, stem, stem) or None: ``merge @ estimates`` is scored, for items in which some
                stems are known only as a sum.

        Returns:
            The weighted total and its unweighted parts.

        Raises:
            ConfigError: the numbers of stages differ.
        """
        actives = [active] * len(pyramid) if isinstance(active, Tensor) else list(active)
        if not len(pyramid) == len(stems_pyramid) == len(actives):
            raise ConfigError(
                f"the mixture has {len(pyramid)} stages, the stems have {len(stems_pyramid)} and the "
                f"active flags {len(actives)}"
            )
        parts: dict[str, Tensor] = {}
        total = pyramid[0].new_zeros(())
        needs_latents = self.config.dissimilarity > 0 or self.config.similarity > 0
        mixtures, targets = network.targets(pyramid, stems_pyramid)
        for i, output in enumerate(network.training_outputs(pyramid)):
            stems, target, stage_active = stems_pyramid[i], targets[i], actives[i]
            if target is not stems:
                stage_active = stage_active * _audible(target, mixtures[i])
            latents = network.stem_latents(i, stems, target).float() if needs_latents else None
            if self.config.consistent:
                output = output._replace(stems=consistent(output.stems, mixtures[i], network.config.rates_hz[i]))
            loss, stage_parts = self.stage_loss(
                output, latents, mixtures[i], target, stage_active, merge, network.config.stems
            )
            total = total + self.config.stage_weight(i) * loss
            parts.update({f"stage{i}/{name}": value.detach() for name, value in stage_parts.items()})
        return LossReport(total, parts)

    def stage_loss(
        self,
        output: Any,
        latents: Tensor | None,
        mixture: Tensor,
        stems: Tensor,
        active: Tensor,
        merge: Tensor | None = None,
        names: Sequence[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One stage's loss and its unweighted parts.

        Args:
            output: output of the stage, with `stems` and `mixture`.
            latents: latents of the true stems (batch, stem, latent, frame), None if not needed.
            mixture: (batch, [channel,] time).
            stems: true stems (batch, stem, [channel,] time).
            active: (batch, stem).
            merge: see `forward`.
            names: names of the stems for the names of the parts; numbers by default.
        """
        config = self.config
        mixture, stems = mixture.float().flatten(1), stems.float().flatten(2)  # (batch, stem, channels and time)
        estimates = output.stems.float().flatten(2)  # (batch, stem, channels and time)
        if merge is not None:
            estimates = torch.matmul(merge.to(estimates.dtype), estimates)
        scores = self._scores(estimates, stems, active)  # (stem,)
        parts = {
            f"{config.kind}/{name}": score for name, score in zip(names or range(len(scores)), scores, strict=True)
        }
        loss = -scores.sum()
        if config.silence > 0:
            parts["silence"] = _leakage_db(estimates, mixture, active, merge)
            loss = loss + config.silence * parts["silence"]
        if config.reconstruction > 0:
            parts["reconstruction"] = si_snr(output.mixture.float().flatten(1), mixture).mean()
            loss = loss - config.reconstruction * parts["reconstruction"]
        if latents is not None and config.dissimilarity > 0:
            parts["dissimilarity"] = dissimilarity(latents, active)
            loss = loss + config.dissimilarity * parts["dissimilarity"]
        if latents is not None and config.similarity > 0:
            parts["similarity"] = similarity(latents, active)
            loss = loss - config.similarity * parts["similarity"]
        return loss, parts

    def _scores(self, estimates: Tensor, stems: Tensor, active: Tensor) -> Tensor:
        """The score of each stem (stem,): its mean over the items in which the stem is active."""
        return (self._score(estimates, stems) * active).sum(0) / divisor(active, 0)

    def _si_snr(self, estimates: Tensor, stems: Tensor) -> Tensor:
        scores, mix = si_snr(estimates, stems, self.config.signed), self.config.snr_mix
        return (1 - mix) * scores + mix * self._snr(estimates, stems) if mix > 0 else scores

    def _snr(self, estimates: Tensor, stems: Tensor) -> Tensor:
        return snr(estimates, stems, self.config.snr_threshold_db)


def _audible(stems: Tensor, mixture: Tensor) -> Tensor:
    """(batch, stem) float: 1 for stems (batch, stem, [channel,] time) that are audible in their mixture."""
    power = mixture.flatten(1).square().sum(-1, keepdim=True)
    return (stems.flatten(2).square().sum(-1) > INAUDIBLE * power).to(mixture.dtype)


def _leakage_db(estimates: Tensor, mixture: Tensor, active: Tensor, merge: Tensor | None) -> Tensor:
    """Level of the estimates of silent stems: mean of ``10 log10(1 + 1000 |e|^2 / |x|^2)`` in dB.

    Args:
        estimates: (batch, stem, time).
        mixture: (batch, time).
        active: (batch, stem).
        merge: all-zero rows, stems known only as a part of a sum, do not count.
    """
    silent = 1 - active
    if merge is not None:
        silent = silent * (merge.sum(-1) > 0).to(silent.dtype)
    ratio = estimates.square().sum(-1) / (mixture.square().sum(-1, keepdim=True) + POWER_EPS)
    return (10 * torch.log10(1 + ratio / INAUDIBLE) * silent).sum() / divisor(silent, least=1.0)
