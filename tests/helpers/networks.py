"""Small networks and mixtures for tests."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from hyperstem.config import ModelConfig
from hyperstem.network import MetaTasNet, build
from hyperstem.network.generator import Generated

SMALL = ModelConfig(
    stages=2,
    latent_dim=64,
    kernels=(20, 40),
    hop=20,
    mels=8,
    n_fft=256,
    stft_hop=64,
    bottleneck_dim=64,
    hidden_dim=64,
    blocks=2,
    stacks=1,
    embedding_dim=4,
    embedding_bottleneck=3,
    segment_s=1.0,
)
"""Eight channels in every norm group: with fewer, an untrained network takes rounding for sound in silence."""

TINY = dataclasses.replace(SMALL, latent_dim=16, bottleneck_dim=8, hidden_dim=16, n_fft=64, stft_hop=16, mels=4)


def small_network(seed: int = 0, config: ModelConfig = SMALL, **changes: object) -> MetaTasNet:
    """An untrained network in evaluation mode, its norms and features away from their neutral start."""
    torch.manual_seed(seed)
    network = build(dataclasses.replace(config, **changes))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Generated) and not module.weights.weight.any():
                module.weights.weight.normal_(0.0, 0.1)
        for stage in network.stages:
            spectrogram = stage.encoder.spectrogram
            if spectrogram is not None:
                spectrogram.mean.normal_(-1.0, 0.3)
                spectrogram.std.uniform_(1.0, 2.0)
                spectrogram.scale.normal_(1.0, 0.1)
                spectrogram.shift.normal_(0.0, 0.1)
            for layer in stage.decoder.filters:
                if not layer.weight.any():
                    layer.weight.normal_(0.0, 0.1)
    return network.eval()


def noise_pyramid(
    config: ModelConfig, length: int, batch: int = 2, seed: int = 0, stages: int | None = None
) -> list[Tensor]:
    """White noise at every rate (batch, [channel,] time_i)."""
    generator = torch.Generator().manual_seed(seed)
    channels = () if config.audio_channels == 1 else (config.audio_channels,)
    return [
        torch.randn(batch, *channels, length << i, generator=generator)
        for i in range(config.stages if stages is None else stages)
    ]


def worst(given: Tensor | np.ndarray, expected: Tensor | np.ndarray, floor: float = 0.0) -> float:
    """Largest difference over the largest magnitude expected (or `floor`, where that is larger)."""
    given, expected = (np.asarray(part.detach() if isinstance(part, Tensor) else part) for part in (given, expected))
    assert given.shape == expected.shape, (given.shape, expected.shape)
    assert np.isfinite(given).all()
    return float(np.abs(given - expected).max() / max(np.abs(expected).max(), floor))
