"""The extractors: a dilated convolutional network per stem that masks the latent (section 2.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import ModelConfig, StageConfig
from hyperstem.network.fast import prelu
from hyperstem.network.layers import StemConv, StemDilatedConv, StemNorm, slope


class Block(nn.Module):
    """1x1, PReLU, norm, dilated convolution, PReLU, norm, then residual and skip.

    Source:
        Conv-TasNet (arXiv 1809.07454), figure 1C.
    """

    recomputable = True
    """Whether training may recompute its activations (`training.recompute`)."""

    def __init__(self, config: ModelConfig, stage: StageConfig, dilation: int) -> None:
        super().__init__()
        bottleneck, hidden = stage.bottleneck_dim, stage.hidden_dim
        self.expand = StemConv(config, hidden, bottleneck)
        self.expand_slope = slope()
        self.expand_norm = StemNorm(config, hidden)
        self.dilated = StemDilatedConv(config, hidden, dilation)
        self.dilated_slope = slope()
        self.dilated_norm = StemNorm(config, hidden)
        self.residual = StemConv(config, bottleneck, hidden, bias=config.residual_bias)
        self.skip = StemConv(config, bottleneck, hidden, bias=config.residual_bias)

    def forward(self, x: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """The residual stream (batch, stem, bottleneck, frame) to what is added to it and to the sum of the skips."""
        x = self.expand_norm(prelu(self.expand(x, embedding), self.expand_slope), embedding)
        x = self.dilated_norm(prelu(self.dilated(x, embedding), self.dilated_slope), embedding)
        return self.residual(x, embedding), self.skip(x, embedding)  # x is (batch, stem, hidden, frame)


class Masking(nn.Module):
    """Masks over the latent, summing to one over the stems.

    Source:
        The paper, section 2.1; Conv-TasNet (arXiv 1809.07454), section II-C.
    """

    recomputable = True
    blocks: Sequence[Block]

    def __init__(self, config: ModelConfig, stage: StageConfig) -> None:
        super().__init__()
        shared = config.parameters == "shared"
        self.extractors = 1 if shared else len(config.stems)
        """1 if all stems share one extractor, whose input is then the previous stage's masked latents of all stems."""
        previous = stage.previous_dim * (len(config.stems) if shared else 1)
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
            previous: the previous stage's masked latent (batch, stem, previous, frame), None at stage 0.
            embedding: (stem, embedding_dim), None where weights are not generated.

        Returns:
            (batch, stem, latent, frame) in [0, 1], summing to one over the stems.
        """
        x = latent.unsqueeze(1).expand(-1, self.extractors, -1, -1)  # (batch, stem, latent, frame)
        if previous is not None:
            x = torch.cat([x, previous.flatten(1, 2).unflatten(1, (self.extractors, -1))], 2)
        x = self.entry(self.entry_norm(prelu(x, self.entry_slope), embedding), embedding)
        x = self.stream_norm(prelu(x, self.stream_slope), embedding)  # (batch, stem, bottleneck, frame)

        skips = torch.zeros_like(x)
        for block in self.blocks:
            residual, skip = block(x, embedding)
            x, skips = x + residual, skips + skip

        scores = self.exit(self.skip_norm(prelu(skips, self.skip_slope), embedding), embedding)
        scores = self.exit_norm(prelu(scores, self.exit_slope), embedding)  # (batch, stem, latent, frame)
        return F.softmax(scores, dim=1)
