"""From settings to a trained network: sets up everything a run needs, runs it, and leaves its files in order."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hyperstem.config import AnyLossConfig, SourceConfig, SpectralLossConfig
from hyperstem.data.dataset import SegmentDataset, ValidationData
from hyperstem.errors import ConfigError
from hyperstem.files import write_text
from hyperstem.network import build
from hyperstem.training.curves import draw
from hyperstem.training.distributed import World, find_device, launched, restarted, unanimous
from hyperstem.training.initial_weights import begin_from
from hyperstem.training.journal import Journal
from hyperstem.training.losses import Objective
from hyperstem.training.optim import freeze
from hyperstem.training.progress import Observer, Outcome
from hyperstem.training.settings import RunSettings, read
from hyperstem.training.spectral_loss import SpectralObjective
from hyperstem.training.statistics import measure
from hyperstem.training.trainer import Trainer
from hyperstem.training.validation import validate

STATISTICS_EXAMPLES = 96


def train(
    config: RunSettings | str | Path,
    folder: str | Path,
    *,
    objective: nn.Module | None = None,
    network: nn.Module | None = None,
    sources: Sequence[SourceConfig] | None = None,
    resume: bool = False,
    steps: int | None = None,
    minutes: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    observer: Observer | None = None,
) -> Outcome:
    """Trains a network as the settings say; torchrun's processes each call it.

    Args:
        config: the settings of the run, or the TOML file that holds them.
        folder: takes the run's files.
        objective: gives the loss in place of the one that ``[loss]`` describes: called like `losses.Objective`.
        network: is trained in place of the one that ``[model]`` describes. Its ``config`` is that table, a ModelConfig;
            it is called with one waveform per rate and gives one output with `stems` for each; `losses.Objective` asks
            more of it.
        sources: recordings in place of ``[[data.sources]]``.
        resume: go on from the folder's checkpoint; otherwise the folder must hold no run. Processes that torchrun
            starts anew after it lost one go on by themselves.
        steps: total steps since the start of the run; None for the settings' own.
        minutes: time of this call; None for no limit.
        stop: asked after every step; True ends the run in an orderly way.
        observer: sees the progress.

    Raises:
        ConfigError: a setting is wrong, or the folder and `resume` do not go together.
        DataError: the data is missing or not prepared.
        ModelError: the checkpoint or the weights to begin from cannot be read, or training broke down.
    """
    begun = time.monotonic()
    settings = read(Path(config)) if isinstance(config, str | Path) else config
    if sources is not None:
        settings = replace(settings, data=replace(settings.data, sources=tuple(sources)))
    folder = Path(folder)
    resume = resume or (restarted() and (folder / "checkpoint").exists())
    check_folder(folder, resume)
    device = find_device(settings.train.device)
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    with launched(device) as here, Journal(folder if here.leads else None, settings.train.tensorboard) as journal:
        if not unanimous(resume):
            raise ConfigError(f"only some processes see {folder / 'checkpoint'}; all need one folder, on a shared disk")
        setup = _Setup(settings, folder, device, here, journal, observer if here.leads else None, objective, network)
        trainer = setup.resumed() if resume else setup.begun()
        remaining_s = math.inf if minutes is None else 60 * minutes - (time.monotonic() - begun)
        outcome = trainer.run(steps or settings.train.steps, remaining_s, stop)
        journal.write("ended", outcome.step, reason=outcome.reason, seconds=time.monotonic() - begun)
        if here.leads and outcome.reason != "stopped":
            draw(folder)
    return outcome


class _Setup:
    """Puts a trainer together, for a new run or a resumed one."""

    def __init__(
        self,
        settings: RunSettings,
        folder: Path,
        device: torch.device,
        here: World,
        journal: Journal,
        observer: Observer | None,
        objective: nn.Module | None,
        network: nn.Module | None,
    ) -> None:
        self.settings, self.folder, self.device, self.here = settings, folder, device, here
        self.journal, self.observer = journal, observer
        data = settings.data.resolved(settings.path.parent)
        self.batches = SegmentDataset(data, settings.model, settings.train.batch, here.rank, here.size)
        self.clips = ValidationData(data, settings.model) if data.validation else None
        torch.manual_seed(settings.train.seed)
        self.network: Any = build(settings.model) if network is None else network
        self.objective = _objective(settings.loss) if objective is None else objective

    def begun(self) -> Trainer:
        """A new run: statistics are measured, weights to begin from are taken."""
        config = self.settings.train
        count = -(-STATISTICS_EXAMPLES // config.batch)
        measure(self.network, self.batches, count)
        init = _beside(self.settings, config.init)
        taken = begin_from(self.network, init, config.init_strict) if config.init else None
        trainer = self._trainer()
        self._write_config()
        self.journal.write(
            "started",
            0,
            config=self.settings.mapping(),
            parameters=self._parameters(),
            device=str(self.device),
            processes=self.here.size,
            torch=torch.__version__,
        )
        if taken is not None:
            self._note(
                f"{config.init}: {len(taken.taken)} tensors taken, {len(taken.kept)} left as initialised, "
                f"{len(taken.unused)} without a place here (listed in log.jsonl)"
            )
            self.journal.write("init", 0, path=config.init, **taken._asdict())
        self._note(f"{self._parameters():,} parameters on {self.device}, {self.here.size} process(es)")
        return trainer

    def resumed(self) -> Trainer:
        """The run in the folder, where its checkpoint stopped."""
        trainer = self._trainer()
        trainer.resume()
        self._write_config()
        return trainer

    def _trainer(self) -> Trainer:
        network = self.network.to(self.device)
        freeze(network, self.settings.train.freeze)
        scores = (
            None
            if self.clips is None
            else partial(validate, clips=self.clips, config=self.settings.model, device=self.device)
        )
        return Trainer(
            self.settings,
            self.folder,
            network,
            self.objective,
            self.batches,
            scores,
            self.journal,
            self.observer,
            self.here,
        )

    def _parameters(self) -> int:
        return sum(weight.numel() for weight in self.network.parameters())

    def _write_config(self) -> None:
        if self.here.leads:
            write_text(self.folder / "config.json", json.dumps(self.settings.mapping(), indent=2) + "\n")

    def _note(self, text: str) -> None:
        if self.observer is not None:
            self.observer.note(text)


def _objective(config: AnyLossConfig) -> nn.Module:
    return SpectralObjective(config) if isinstance(config, SpectralLossConfig) else Objective(config)


def _beside(settings: RunSettings, path: str) -> Path:
    """A path in the config, relative to the config's folder."""
    return settings.path.parent / Path(path).expanduser()


def check_folder(folder: Path, resume: bool) -> None:
    """Refuses to begin a run over another one.

    Raises:
        ConfigError: the folder holds a run and `resume` is off.
    """
    if not resume and (folder / "checkpoint").exists():
        raise ConfigError(f"{folder} holds a run already; go on with it by --resume, or name another folder by -o")
