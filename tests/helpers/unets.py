"""Small Meta-U-Nets whose stems differ."""

import torch

from hyperstem.config import UNetConfig
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


def lively_unet(seed: int = 0, **changes: object) -> MetaUNet:
    """A network whose norms, masks and stems are anything but neutral."""
    torch.manual_seed(seed)
    network = MetaUNet(small_sizes(**changes)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
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
