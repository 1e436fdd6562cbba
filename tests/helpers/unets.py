"""Small Meta-U-Nets whose stems differ."""

import torch

from hyperstem.config import ModelConfig, UNetConfig
from hyperstem.network import MetaUNet


def small_sizes(**changes: object) -> UNetConfig:
    sizes: dict = {
        "network": "meta-unet",
        "rate_hz": 8000,
        "n_fft": 128,
        "band_bins": (16, 48),
        "band_widths": (1, 3),
        "channels": (8, 8, 12),
        "blocks": (0, 1),
        "column_strides": (2, 1),
        "mixed_rows": (False, True),
        "core": 1,
        "recurrent_dim": 6,
        "extractor_channels": (4, 6),
        "segment_s": 1.0,
    }
    return UNetConfig(**{**sizes, **changes})


def small_draft(stages: int = 1, **changes: object) -> ModelConfig:
    """A draft at the rate of `small_sizes`, with octaves above it."""
    sizes: dict = {
        "base_rate_hz": 8000,
        "stages": stages,
        "octaves": stages > 1,
        "audio_channels": 2,
        "latent_dim": 16,
        "kernels": (40,),
        "hop": 20,
        "mels": 8,
        "n_fft": 64,
        "stft_hop": 16,
        "bottleneck_dim": 8,
        "hidden_dim": 8,
        "blocks": 2,
        "stacks": 1,
        "norm_groups": 2,
        "embedding_dim": 4,
    }
    return ModelConfig(**{**sizes, **changes})


def lively_unet(seed: int = 0, **changes: object) -> MetaUNet:
    """A network whose norms, masks and stems are anything but neutral."""
    torch.manual_seed(seed)
    network = MetaUNet(small_sizes(**changes)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight) * weight.requires_grad)  # the draft is lively by itself
        for name, values in network.named_buffers():
            if name.endswith("running_mean"):
                values.normal_(0, 0.1)
            if name.endswith("running_var"):
                values.uniform_(0.5, 2)
        for head in network.extractor.heads:
            for weight in head.parameters():
                weight.mul_(10)
    network.measure(torch.randn(2, 2, 4000))
    return network
