"""One training step, from a batch to a loss."""

from typing import Any

import torch
from torch import nn

from hyperstem.config import TrainConfig
from hyperstem.data.dataset import Batch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainingStep(nn.Module):
    """The network and its objective as one module, which DistributedDataParallel can wrap."""

    def __init__(self, network: nn.Module, objective: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.dtype = PRECISIONS[config.precision]

    def forward(self, batch: Batch) -> Any:
        """The objective's report on one batch, computed in the configured precision."""
        lower = self.dtype is not torch.float32
        with torch.autocast(batch.active.device.type, self.dtype if lower else torch.bfloat16, enabled=lower):
            return self.objective(self.network, batch.mixture, batch.stems, batch.active, batch.merge)
