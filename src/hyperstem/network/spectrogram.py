"""Log-power STFT features, the encoder's second input (section 2.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import StageConfig

POWER_FLOOR = 1e-8
STD_FLOOR = 1e-3


def log_power(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    """Logarithm of the power spectrum, ``log10(re^2 + im^2 + 1e-8)``.

    Args:
        wave: (batch, time) float32, more than ``n_fft // 2`` samples.
        n_fft: window length in samples (periodic Hann, centred, reflected at the ends).
        hop: samples between spectra.

    Returns:
        (batch, n_fft // 2 + 1, time // hop + 1).
    """
    window = torch.hann_window(n_fft, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True)
    return torch.log10(torch.view_as_real(spectrum).square().sum(-1) + POWER_FLOOR)


class Spectrogram(nn.Module):
    """Standardised log power, a learned affine map per bin and a learned projection to few channels, at latent frames.

    Source:
        The paper, section 2.2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: StageConfig, audio_channels: int) -> None:
        super().__init__()
        self.n_fft, self.hop, self.bins = config.n_fft, config.stft_hop, config.bins
        self.audio_channels = audio_channels
        features = audio_channels * config.bins
        self.register_buffer("mean", torch.full((features,), -1.0))
        self.register_buffer("std", torch.full((features,), 2.0))
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.projection = nn.Linear(features, config.mels)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets the mean and standard deviation of each bin in the training mixtures, both (bins,)."""
        if mean.shape != (self.bins,) or std.shape != (self.bins,):
            raise ValueError(f"statistics of {tuple(mean.shape)} and {tuple(std.shape)} bins; expected ({self.bins},)")
        self.mean.copy_(mean.repeat(self.audio_channels))
        self.std.copy_(std.clamp(min=STD_FLOOR).repeat(self.audio_channels))

    def log_power(self, wave: Tensor) -> Tensor:
        """Waveforms (batch, channel, time) to log power (batch, channel * bins, spectrum)."""
        # If the input is a pure tone, the other bins are rounding noise, and the logarithm makes that visible to the
        # network. So inference transforms in double precision: all devices and runtimes then give the same result.
        exact = wave.to(torch.float32 if self.training else torch.float64)
        with torch.autocast(wave.device.type, enabled=False):
            power = log_power(exact.flatten(0, 1), self.n_fft, self.hop)
        return power.to(self.mean.dtype).unflatten(0, (-1, self.audio_channels)).flatten(1, 2)

    def forward(self, wave: Tensor, frames: int) -> Tensor:
        """Waveforms (batch, channel, time) to features (batch, mels, frames)."""
        standard = (self.log_power(wave).transpose(1, 2) - self.mean) / self.std  # (batch, spectrum, channel * bins)
        features = self.projection(standard * self.scale + self.shift)  # (batch, spectrum, mels)
        return F.interpolate(features.transpose(1, 2), size=frames, mode="linear", align_corners=True)
