"""What the layers of one stage need to know to add themselves to an ONNX graph."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from hyperstem.config import ModelConfig, StageConfig


class StageGraph(NamedTuple):
    """One stage's sizes, and the names of the tensors around it."""

    config: ModelConfig
    stage: StageConfig
    frames: str
    """Number of latent frames (1,)."""
    wave: str
    """The mixture (batch, channel, time)."""
    time: str
    """Length of the mixture (1,)."""
    pick: str
    """Waveforms to decode: indices into `table`."""
    table: list[int]
    """Stem of each index of `pick`; the number of stems means the mixture."""
    before: tuple[str, str] | None = None
    """Decoded waveforms and mixture of the previous stage, if this stage adds its octave to them."""

    @property
    def stems(self) -> int:
        """Number of stems."""
        return len(self.config.stems)


def array(tensor: Tensor) -> np.ndarray:
    """A weight as a float32 array."""
    return tensor.detach().cpu().float().numpy()
