"""From settings to a trained network: sets up a new or resumed run and trains."""

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

from hyperstem.config import SourceConfig, SpectralLossConfig
from hyperstem.data.dataset import SegmentDataset, ValidationData
from hyperstem.errors import ConfigError
from hyperstem.files import user_path, write_text
from hyperstem.network import build
from hyperstem.training.curves import draw
from hyperstem.training.distributed import all_agree, find_device, process_group, restarts
from hyperstem.training.initial_weights import Match, load_matching
from hyperstem.training.journal import Journal
from hyperstem.training.losses import Objective
from hyperstem.training.optim import freeze
from hyperstem.training.progress import Observer, Outcome
from hyperstem.training.settings import RunSettings, read
from hyperstem.training.spectral_loss import SpectralObjective
from hyperstem.training.statistics import measure_statistics
from hyperstem.training.trainer import Trainer
from hyperstem.training.validation import validate

STATISTICS_EXAMPLES = 96
"""Training mixtures on which the statistics of a new network's features are measured."""


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
    """Trains a network as the settings say; with torchrun, every process calls it.

    Args:
        config: settings of the run, or the path of their TOML file.
        folder: folder for the files of the run.
        objective: computes the loss in place of the one that ``[loss]`` describes; see `losses.Objective`.
        network: trained in place of the one that ``[model]`` describes. Its ``config`` is that table, a ModelConfig.
            It takes one waveform per rate and returns one output with `stems` per rate; `losses.Objective` needs more.
        sources: recordings in place of ``[[data.sources]]``.
        resume: continue from the folder's checkpoint; otherwise the folder must not contain a run. Processes that
            torchrun restarts because one was lost continue without it.
        steps: number of steps since the start of the run; None for ``train.steps``.
        minutes: time limit of this call; None for no limit.
        stop: called after every step; True stops the run and saves.
        observer: receives the progress.

    Raises:
        ConfigError: a setting is wrong, or the folder contains a run and `resume` is off.
        DataError: the data is missing or not prepared.
        ModelError: the checkpoint or the initial weights cannot be read, or training diverged.
    """
    start = time.monotonic()
    settings = read(Path(config)) if isinstance(config, str | Path) else config
    if sources is not None:
        settings = replace(settings, data=replace(settings.data, sources=tuple(sources)))
    folder = Path(folder)
    resume = resume or (restarts() > 0 and (folder / "checkpoint").exists())
    if not resume and (folder / "checkpoint").exists():
        raise ConfigError(f"{folder} contains a run already; resume it with --resume, or choose another folder with -o")
    device = find_device(settings.train.device)
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    with process_group(device) as world, Journal(folder if world.is_main else None, settings.train.tensorboard) as log:
        if not all_agree(resume):
            raise ConfigError(f"only some processes see {folder / 'checkpoint'}; all need one folder, on a shared disk")
        data = settings.data.resolved(settings.path.parent)
        batches = SegmentDataset(data, settings.model, settings.train.batch, world.rank, world.size)
        scorer = None
        if data.validation:
            clips = ValidationData(data, settings.model)
            scorer = partial(validate, clips=clips, config=settings.model, device=device)
        torch.manual_seed(settings.train.seed)
        model: Any = build(settings.model) if network is None else network
        matches = [] if resume else _initialise(model, settings, batches)
        if network is None and not resume:
            _require_draft(model, settings, matches)
        freeze(model.to(device), settings.train.freeze)
        if objective is None:
            loss = settings.loss
            objective = SpectralObjective(loss) if isinstance(loss, SpectralLossConfig) else Objective(loss)
        observer = observer if world.is_main else None
        trainer = Trainer(settings, folder, model, objective, batches, scorer, log, observer, world)
        if resume:
            trainer.resume()
        else:
            _note_start(trainer, matches)
        if world.is_main:
            write_text(folder / "config.json", json.dumps(settings.mapping(), indent=2) + "\n")
        remaining_s = math.inf if minutes is None else 60 * minutes - (time.monotonic() - start)
        outcome = trainer.run(steps or settings.train.steps, remaining_s, stop)
        log.write("ended", outcome.step, reason=outcome.reason, seconds=time.monotonic() - start)
        if world.is_main and outcome.reason != "stopped":
            draw(folder)
    return outcome


def _initialise(network: Any, settings: RunSettings, batches: SegmentDataset) -> list[tuple[str, Match]]:
    """Measures the statistics of a new network's features, and loads its initial weights if there are any."""
    config = settings.train
    measure_statistics(network, batches, -(-STATISTICS_EXAMPLES // config.batch))
    paths = [settings.path.parent / user_path(path) for path in (config.init, config.init_draft)]
    matches = [(config.init, load_matching(network, paths[0], config.init_strict))] if config.init else []
    if config.init_draft:
        if getattr(network, "draft", None) is None:
            raise ConfigError(f"init_draft is {config.init_draft!r}, but [model] has no draft")
        matches.append((config.init_draft, load_matching(network.draft, paths[1])))
    return matches


def _require_draft(network: Any, settings: RunSettings, matches: Sequence[tuple[str, Match]]) -> None:
    """Checks that a new network's draft, which is not trained, has weights from a file."""
    if getattr(network, "draft", None) is None or settings.train.init_draft:
        return
    if not any(name.startswith("draft.") for _, match in matches for name in match.loaded):
        raise ConfigError("[model] has a draft, but neither init nor init_draft gives its weights")


def _note_start(trainer: Trainer, matches: Sequence[tuple[str, Match]]) -> None:
    """Logs the start of a new run, and what came of its initial weights."""
    parameters = sum(weight.numel() for weight in trainer.network.parameters())
    trainer.note(
        "started",
        f"{parameters:,} parameters on {trainer.device}, {trainer.world.size} process(es)",
        config=trainer.settings.mapping(),
        parameters=parameters,
        device=str(trainer.device),
        processes=trainer.world.size,
        torch=torch.__version__,
    )
    for init, match in matches:
        trainer.note(
            "init",
            f"{init}: {len(match.loaded)} tensors loaded, {len(match.missing)} left as initialised, "
            f"{len(match.unused)} unused (listed in log.jsonl)",
            path=init,
            taken=match.loaded,
            kept=match.missing,
            unused=match.unused,
        )
