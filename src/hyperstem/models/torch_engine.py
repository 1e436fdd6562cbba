"""Runs the network with torch: on a GPU, or for models without an ONNX file."""

from pathlib import Path

import numpy as np
import torch

from hyperstem.errors import ModelError
from hyperstem.models import store


class TorchEngine:
    """Runs a network with torch; an `Engine` like `hyperstem.models.onnx_engine.Runtime`."""

    def __init__(self, path: Path, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelError("device is 'cuda', but torch finds no CUDA device; allowed here are auto and cpu")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        network = store.load(path)
        self.config = network.config
        self._network = network.folded().to(self.device)
        if self.device == "cpu":
            torch.set_num_threads(1)  # several segments run at once instead

    @torch.inference_mode()
    def separate(self, pyramid: list[np.ndarray]) -> np.ndarray:
        """(batch, channel, time_i) float32 per stage to (batch, stem, channel, time) at the last rate given."""
        waves = [torch.from_numpy(wave).to(self.device) for wave in pyramid]
        if self.config.audio_channels == 1:
            waves = [wave[:, 0] for wave in waves]
        stems = self._network(waves)[-1].stems  # (batch, stem, time) or (batch, stem, channel, time)
        return (stems if stems.dim() == 4 else stems.unsqueeze(2)).float().cpu().numpy()
