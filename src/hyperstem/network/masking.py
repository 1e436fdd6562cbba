"""The extractors: a dilated convolutional network per stem that masks the latent (section 2.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import ModelConfig, StageConfig
from hyperstem.network.generator import StemConv, StemNorm
from hyperstem.network.layers import depthwise, group_norm, normed_pointwise, pointwise, prelu


def slope() -> nn.Parameter:
    """A PReLU's one learned slope, common to all stems."""
    return nn.Parameter(torch.full((1,), 0.25))


class Block(nn.Module):
    """One dilated block: 1x1, PReLU, norm, depthwise, PReLU, norm, then residual and skip 1x1."""

    def __init__(self, config: ModelConfig, stage: StageConfig, dilation: int) -> None:
        super().__init__()
        self.groups, self.dilation = config.norm_groups, dilation
        bottleneck, hidden = stage.bottleneck_dim, stage.hidden_dim
        self.expand = StemConv(config, hidden, bottleneck)
        self.expand_slope = slope()
        self.expand_norm = StemNorm(config, hidden)
        self.dilated = StemConv(config, hidden, config.kernel_size)
        self.dilated_slope = slope()
        self.dilated_norm = StemNorm(config, hidden)
        self.residual = StemConv(config, bottleneck, hidden, bias=config.residual_bias)
        self.skip = StemConv(config, bottleneck, hidden, bias=config.residual_bias)

    def forward(self, x: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """The residual stream (batch, stem, bottleneck, frame) to what is added to it and to the sum of skips."""
        x = prelu(pointwise(x, *self.expand(embedding)), self.expand_slope)  # (batch, stem, hidden, frame)
        x = group_norm(x, self.expand_norm(embedding), self.groups)
        x = prelu(depthwise(x, self.dilated(embedding)[0], self.dilation), self.dilated_slope)
        x = group_norm(x, self.dilated_norm(embedding), self.groups)
        (residual, residual_bias), (skip, skip_bias) = self.residual(embedding), self.skip(embedding)
        bias = None if residual_bias is None else torch.cat([residual_bias, skip_bias], 1)
        both = pointwise(x, torch.cat([residual, skip], 1), bias)  # one product for both
        residual, skip = both.chunk(2, dim=2)  # each (batch, stem, bottleneck, frame)
        return residual, skip


class Masking(nn.Module):
    """Masks over the latent, summing to one over the stems.

    Source:
        The paper, section 2.1; Conv-TasNet (arXiv 1809.07454), section II-C.
    """

    blocks: Sequence[Block]

    def __init__(self, config: ModelConfig, stage: StageConfig) -> None:
        super().__init__()
        self.stems, self.groups = len(config.stems), config.norm_groups
        # One extractor for all stems hears the masked latents of all stems of the stage before.
        self.joins_previous = config.parameters == "shared"
        previous = stage.previous_dim * (self.stems if self.joins_previous else 1)
        entry, bottleneck = stage.latent_dim + previous, stage.bottleneck_dim
        self.entry_slope = slope()
        self.entry_norm = StemNorm(config, entry)
        self.entry = StemConv(config, bottleneck, entry)
        self.stream_slope = slope()
        self.stream_norm = StemNorm(config, bottleneck)
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            Block(config, stage, 2**block) for _ in range(stage.stacks) for block in range(stage.blocks)
        )
        self.skip_slope = slope()
        self.skip_norm = StemNorm(config, bottleneck)
        self.exit = StemConv(config, stage.latent_dim, bottleneck, head=True)
        self.exit_slope = slope()
        self.exit_norm = StemNorm(config, stage.latent_dim, head=True)

    def forward(self, latent: Tensor, previous: Tensor | None, embedding: Tensor | None) -> Tensor:
        """Masks from the mixture's latent.

        Args:
            latent: (batch, latent, frame).
            previous: the stage before's masked latent (batch, stem, previous, frame), None at stage 0.
            embedding: (stem, embedding_dim), None where weights are not generated.

        Returns:
            (batch, stem, latent, frame) in [0, 1], summing to one over the stems.
        """
        parts = [prelu(latent, self.entry_slope).unsqueeze(1)]  # (batch, 1, latent, frame)
        if previous is not None:
            previous = previous.flatten(1, 2).unsqueeze(1) if self.joins_previous else previous
            parts.append(prelu(previous, self.entry_slope))
        x = normed_pointwise(parts, self.entry_norm(embedding), self.groups, self.entry(embedding)[0])
        x = prelu(x, self.stream_slope)  # (batch, stem, bottleneck, frame)
        x = group_norm(x, self.stream_norm(embedding), self.groups)

        skips = torch.zeros_like(x)
        for block in self.blocks:
            residual, skip = block(x, embedding)
            x, skips = x + residual, skips + skip

        skips = group_norm(prelu(skips, self.skip_slope), self.skip_norm(embedding), self.groups)
        scores = prelu(pointwise(skips, self.exit(embedding)[0]), self.exit_slope)
        return F.softmax(group_norm(scores, self.exit_norm(embedding), self.groups), dim=1)
