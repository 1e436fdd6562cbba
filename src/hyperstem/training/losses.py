"""The training objective: signal-to-noise terms and the auxiliary losses that shape the latent (section 2.4)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hyperstem import extensions
from hyperstem.config import SCORES, ConfigError, LossConfig
from hyperstem.training import distributed
from hyperstem.training.consistency import consistent

POWER_EPS = 1e-8
INAUDIBLE = 1e-3
"""Power of a stem or a leak, -30 dB beside the mixture, that the rest of it covers."""


Score = Callable[[Tensor, Tensor], Tensor]
"""A loss that others add: estimates and true stems, each (batch, stem, time) with channels joined to time, to what is
maximised, (batch, stem)."""


class _Output(Protocol):
    """What the objective reads of a StageOutput."""

    @property
    def stems(self) -> Tensor: ...
    @property
    def mixture(self) -> Tensor: ...


class LossReport(NamedTuple):
    """An objective's value."""

    total: Tensor
    """The scalar to minimise."""
    parts: dict[str, Tensor]
    """Unweighted scalars by name, e.g. ``"stage0/si_snr/bass"`` (dB; with `snr_mix` it is the blend) or
    ``"stage0/similarity"``."""


def si_snr(estimate: Tensor, reference: Tensor, signed: bool = False) -> Tensor:
    """Scale-invariant signal-to-noise ratio, without mean removal.

    ``s = <r, e> / (|r|^2 + 1e-8) r``, then ``10 log10(|s|^2 / |e - s|^2)`` with both powers at least 1e-8.

    Args:
        estimate: (..., time).
        reference: (..., time).
        signed: an estimate that is upside down has no part of the reference, rather than all of it.

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
    """Signal-to-noise ratio that flattens out at `threshold_db`.

    ``-10 log10(|e - r|^2 / |r|^2 + 10^(-threshold / 10))``: errors far below the threshold no longer pay, so easy items
    do not rule the gradient.

    Args:
        estimate: (..., time).
        reference: (..., time).
        threshold_db: the value that a perfect estimate reaches, in dB.

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
    """How much the latents of different stems of one mixture point the same way.

    Mean over frames of the summed cosine of absolute latents over all pairs of stems, per pair of active stems.

    Args:
        latents: the encoder's latents of the true stems (batch, stem, latent, frame).
        active: (batch, stem), 1 where a stem sounds.

    Returns:
        A scalar in [0, 1].

    Source:
        The paper, equation 5.
    """
    # At least one pair: what rounding leaves of differences must not be divided by next to nothing.
    count = divisor((active.sum(1).square() - active.square().sum(1)) / 2, least=1.0)
    return _recomputed(_pairs, latents, active) / count


def _pairs(latents: Tensor, active: Tensor) -> Tensor:
    """The cosines of all pairs of active stems, summed over pairs and items, mean over frames."""
    directions = F.normalize(latents.abs(), dim=2, eps=POWER_EPS) * active[:, :, None, None]
    # All pairs at once: |sum_i d_i|^2 = sum_i |d_i|^2 + 2 sum_{i<j} <d_i, d_j>.
    pairs = (directions.sum(1).square().sum(1) - directions.square().sum((1, 2))) / 2  # (batch, frame)
    return pairs.sum(0).mean()


def similarity(latents: Tensor, active: Tensor) -> Tensor:
    """How much the latents of one stem in neighbouring items of the batch point the same way.

    Args:
        latents: the encoder's latents of the true stems (batch, stem, latent, frame).
        active: (batch, stem), 1 where a stem sounds.

    Returns:
        A scalar in [-1, 1]; each item is compared with the one before it, the first with the last (several processes
        each compare the items of their own share).

    Source:
        The paper, equation 6.
    """
    both = active * active.roll(1, 0)
    return _recomputed(_neighbours, latents, both) / divisor(both)


def _neighbours(latents: Tensor, both: Tensor) -> Tensor:
    """The cosines of neighbouring items where `both` sound, summed over stems and items, mean over frames."""
    cosine = F.cosine_similarity(latents, latents.roll(1, 0), dim=2)  # (batch, stem, frame)
    return (cosine * both.unsqueeze(-1)).sum((0, 1)).mean()


def _recomputed(term: Callable[[Tensor, Tensor], Tensor], latents: Tensor, weights: Tensor) -> Tensor:
    """`term`, its inside computed again in the backward pass: it would keep several times the latents' memory."""
    return checkpoint(term, latents, weights, use_reentrant=False, preserve_rng_state=False)


def divisor(weights: Tensor, axis: int | None = None, least: float = POWER_EPS) -> Tensor:
    """What a weighted sum is divided by to be a mean.

    With several processes it is the weight in all of them per process, so that the average of their losses, which is
    what their gradients are averaged to, is the loss of the whole batch however unevenly stems sound in its parts.
    """
    weight = weights.sum() if axis is None else weights.sum(axis)
    return distributed.total(weight).clamp(min=least) / distributed.processes()


class Objective(nn.Module):
    """The loss of a training step, summed over the stages; the paper's unless `config` says otherwise.

    Args:
        config: kinds and weights of the parts; None for the paper's.
    """

    def __init__(self, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LossConfig()
        added = self.config.kind not in SCORES
        self._added: Score = extensions.find(extensions.LOSSES, self.config.kind) if added else si_snr

    def forward(
        self,
        network: Any,
        pyramid: Sequence[Tensor],
        stems_pyramid: Sequence[Tensor],
        active: Sequence[Tensor] | Tensor,
        merge: Tensor | None = None,
    ) -> LossReport:
        """Runs the network and scores what it gives.

        Args:
            network: has ``training_outputs(pyramid)``, which gives an output with `stems` and `mixture` per stage, and
                ``targets(pyramid, stems)``, what these ought to be; for the terms of the latent also
                ``stem_latents(stage, stems, target)``; and ``config`` with `stems` and `rates_hz`. See
                `network.MetaTasNet`.
            pyramid: per stage, mixtures (batch, [channel,] time_i).
            stems_pyramid: per stage, true stems (batch, stem, [channel,] time_i).
            active: per stage, or once for all, (batch, stem) float: 1 where a stem sounds. Silent stems weigh nothing.
            merge: None, or (batch, stem, stem) of 0 and 1: estimates become ``merge @ estimates`` before they are
                scored, for items of which some stems are known only as a sum.

        Returns:
            The weighted total and its unweighted parts.

        Raises:
            ConfigError: mixtures, stems and flags are of different numbers of stages.
        """
        actives = [active] * len(pyramid) if isinstance(active, Tensor) else list(active)
        if not len(pyramid) == len(stems_pyramid) == len(actives):
            raise ConfigError(
                f"the mixture has {len(pyramid)} stages, the stems have {len(stems_pyramid)} and the "
                f"active flags {len(actives)}"
            )
        parts: dict[str, Tensor] = {}
        total = pyramid[0].new_zeros(())
        mixtures, targets = network.targets(pyramid, stems_pyramid)
        for i, output in enumerate(network.training_outputs(pyramid)):
            stems, target, sounding = stems_pyramid[i], targets[i], actives[i]
            if target is not stems:
                sounding = sounding * _audible(target, mixtures[i])
            latents = network.stem_latents(i, stems, target).float() if self._needs_latents else None
            if self.config.consistent:
                output = output._replace(stems=consistent(output.stems, mixtures[i], network.config.rates_hz[i]))
            loss, named = self.stage_loss(output, latents, mixtures[i], target, sounding, merge, network.config.stems)
            total = total + self.config.stage_weight(i) * loss
            parts.update({f"stage{i}/{name}": value.detach() for name, value in named.items()})
        return LossReport(total, parts)

    @property
    def _needs_latents(self) -> bool:
        return self.config.dissimilarity > 0 or self.config.similarity > 0

    def stage_loss(
        self,
        output: _Output,
        latents: Tensor | None,
        mixture: Tensor,
        stems: Tensor,
        active: Tensor,
        merge: Tensor | None = None,
        names: Sequence[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One stage's loss and its unweighted parts.

        Args:
            output: what the stage gave.
            latents: the encoder's latents of the true stems (batch, stem, latent, frame), None if not needed.
            mixture: (batch, [channel,] time).
            stems: (batch, stem, [channel,] time).
            active: (batch, stem).
            merge: see `forward`.
            names: of the stems, in the names of the parts; their numbers by default.
        """
        config = self.config
        mixture, stems = mixture.float().flatten(1), stems.float().flatten(2)  # channels join time
        estimates = output.stems.float().flatten(2)  # (batch, stem, time)
        if merge is not None:
            estimates = torch.matmul(merge.to(estimates.dtype), estimates)
        scores = self._scores(estimates, stems, active, mixture)  # (stem,)
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

    def _scores(self, estimates: Tensor, stems: Tensor, active: Tensor, mixture: Tensor) -> Tensor:
        """The score to maximise per stem (stem,): its mean over the items in which the stem sounds."""
        config = self.config
        if config.kind == "si_snr":
            scores = si_snr(estimates, stems, config.signed)
        elif config.kind == "snr":
            scores = snr(estimates, stems, config.snr_threshold_db)
        else:
            scores = self._added(estimates, stems)
        if config.snr_mix > 0 and config.kind == "si_snr":
            scores = (1 - config.snr_mix) * scores + config.snr_mix * snr(estimates, stems, config.snr_threshold_db)
        return (scores * active).sum(0) / divisor(active, 0)


def _audible(stems: Tensor, mixture: Tensor) -> Tensor:
    """(batch, stem) float: 1 for a stem (batch, stem, [channel,] time) that can be heard in a mixture."""
    power = mixture.flatten(1).square().sum(-1, keepdim=True)
    return (stems.flatten(2).square().sum(-1) > INAUDIBLE * power).to(mixture.dtype)


def _leakage_db(estimates: Tensor, mixture: Tensor, active: Tensor, merge: Tensor | None) -> Tensor:
    """Level of what sounds in silent stems: softly, ``10 log10(1 + 1000 |e|^2 / |x|^2)`` per silent stem, their mean.

    Args:
        estimates: (batch, stem, time).
        mixture: (batch, time).
        active: (batch, stem).
        merge: rows that are no stem of their own (all zero) do not count.
    """
    silent = 1 - active
    if merge is not None:
        silent = silent * (merge.sum(-1) > 0).to(silent.dtype)
    ratio = estimates.square().sum(-1) / (mixture.square().sum(-1, keepdim=True) + POWER_EPS)
    return (10 * torch.log10(1 + ratio / INAUDIBLE) * silent).sum() / divisor(silent, least=1.0)
