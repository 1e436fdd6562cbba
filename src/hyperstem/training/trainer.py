"""The training loop: steps, validation, checkpoints, and a clean stop on request."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hyperstem.errors import ModelError
from hyperstem.models import store
from hyperstem.network import AnyNetwork, MetaUNet
from hyperstem.training import checkpoint, distributed, optim
from hyperstem.training.distributed import World
from hyperstem.training.feed import Batches, Feed
from hyperstem.training.journal import Journal
from hyperstem.training.progress import Observer, Outcome, StepResult, Tally, Window
from hyperstem.training.recompute import recompute
from hyperstem.training.settings import RunSettings, resumable_changes
from hyperstem.training.statistics import measure_norms
from hyperstem.training.step import TrainingStep
from hyperstem.training.validation import Scores

NORM_BATCHES = 16
"""Batches over which the norms of averaged weights are measured."""
Stop = Callable[[], bool]
Scorer = Callable[[AnyNetwork, Stop], Scores | None]


class Trainer:
    """Trains one network and writes its weights and checkpoints to a folder.

    Args:
        settings: settings of the run.
        folder: folder for ``best.safetensors``, ``last.safetensors`` and ``checkpoint``.
        network: the initialised network, on its device, with its frozen parts frozen.
        objective: computes the loss; see `hyperstem.training.losses.Objective`.
        batches: this process's share of every batch.
        scorer: scores a network on the validation clips, or returns None if stopped; None without validation.
        journal: log of the run; None for no log.
        observer: receives the progress.
        world: this process among all that train together.
    """

    def __init__(
        self,
        settings: RunSettings,
        folder: Path,
        network: AnyNetwork,
        objective: nn.Module,
        batches: Batches,
        scorer: Scorer | None = None,
        journal: Journal | None = None,
        observer: Observer | None = None,
        world: World | None = None,
    ) -> None:
        self.settings, self.config, self.folder = settings, settings.train, folder
        self.network, self.batches, self.scorer = network, batches, scorer
        self.journal, self.observer, self.world = journal or Journal(None), observer, world or World()
        self.device = next(network.parameters()).device
        self.trainable = [weight for weight in network.parameters() if weight.requires_grad]
        self.optimizer = optim.build_optimizer(network, self.config)
        self.average = optim.running_average(network, self.config.average) if self.config.average else None
        self.scaler = torch.amp.GradScaler(self.device.type, 64.0, enabled=self.config.precision == "float16")
        self.module: nn.Module = TrainingStep(network, objective, self.config)
        if self.world.size > 1:  # some weights affect no loss, such as those of the last block's residual
            self.module = DistributedDataParallel(self.module, find_unused_parameters=True)
        if self.config.recompute:
            recompute(network)
        if self.config.compile:
            parts = [objective] if isinstance(network, MetaUNet) else getattr(network, "stages", [network])
            for part in parts:
                part.compile()
        self.tally = Tally()
        self._skipped_in_row = 0
        self._normed_step = -1
        self._validations_s: list[float] = []

    @property
    def averaged(self) -> AnyNetwork:
        """The network that is validated and saved: with averaged weights if ``train.average`` is set."""
        return self.network if self.average is None else cast(AnyNetwork, self.average.module)

    def run(self, steps: int, budget_s: float = math.inf, stop: Stop = lambda: False) -> Outcome:
        """Trains up to step `steps`, until the time is up, or until `stop` returns True; then saves.

        Unless it was stopped, the network is validated at the end.

        Args:
            steps: number of steps since the start of the run.
            budget_s: time of this call in seconds, including the last validation.
            stop: called after every step.

        Raises:
            ModelError: too many steps in a row had no finite gradient.
        """
        start = saved = validated = time.monotonic()
        earlier_s = self.tally.seconds
        data, batches = self.settings.data, self.config.accumulate
        pin = self.device.type == "cuda"
        feed = Feed(self.batches, self.tally.step * batches, steps * batches, data.workers, data.prefetch, pin)
        window, reason = Window(feed), "steps"
        while self.tally.step < steps:
            window.add(self._step(feed))
            if self.observer is not None:
                self.observer.stepped(self.tally.step)
            if self.tally.step % self.config.log_steps == 0 or self.tally.step == steps:
                self._report(window)
                window = Window(feed)
            now = time.monotonic()
            self.tally.seconds = earlier_s + now - start
            stopped, time_up, validation_due, save_due = self._in_any_process(
                stop(),
                now - start + self._reserve_s(budget_s) >= budget_s,
                self._validation_due(now - start, now - validated),
                self._due(now - saved, self.config.checkpoint_minutes, self.config.checkpoint_steps),
            )
            if stopped or time_up:
                reason = "stopped" if stopped else "minutes"
                break
            if validation_due and self.tally.step < steps:
                self._validate(stop)
                validated = time.monotonic()
            if save_due and self.tally.step < steps:
                self.save()
                saved = time.monotonic()
            window.exclude(time.monotonic() - now)
        self.save()
        if reason != "stopped" and self.tally.validated_step < self.tally.step:
            self._validate(stop)
            self.save()
        return Outcome(self.tally.step, reason, self.tally.best)

    def _step(self, feed: Feed) -> StepResult:
        """One optimiser step; it is skipped if the loss or the gradient is not finite."""
        optim.set_rate(self.optimizer, optim.rate_factor(self.config, self.tally.step))
        self.optimizer.zero_grad()
        losses, names, audio_s = torch.zeros(()), [], 0.0
        for micro in range(1, self.config.accumulate + 1):
            batch = feed.next().to(self.device)
            with self._no_sync() if micro < self.config.accumulate else contextlib.nullcontext():
                report = self.module(batch)
                self.scaler.scale(report.total / self.config.accumulate).backward()
            names = list(report.parts)
            values = torch.stack([report.total.detach(), *report.parts.values()]).float().cpu()
            losses = losses + values / self.config.accumulate
            rate_hz = self.settings.model.rates_hz[0]
            audio_s += batch.mixture[0].shape[-1] / rate_hz * batch.active.shape[0] * self.world.size
        self.scaler.unscale_(self.optimizer)
        norm = optim.gradient_norm(self.trainable)
        finite = bool(torch.isfinite(norm)) and math.isfinite(losses[0].item())
        skip = self._in_any_process(not finite)[0]
        if not skip:
            optim.clip_gradients(self.trainable, norm, self.config.clip)
            self.scaler.step(self.optimizer)
            if self.average is not None:
                self.average.update_parameters(self.network)
        self.scaler.update()
        self.tally.step += 1
        self.tally.audio_s += audio_s
        self._count_skipped(skip)
        return StepResult(losses, names, float(norm), audio_s, skip)

    def _no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Accumulates gradients in each process without summing them over the processes."""
        return self.module.no_sync() if isinstance(self.module, DistributedDataParallel) else contextlib.nullcontext()

    def _count_skipped(self, skipped: bool) -> None:
        self._skipped_in_row = self._skipped_in_row + 1 if skipped else 0
        self.tally.skipped += skipped
        if self._skipped_in_row == 1:
            self.note(
                "skipped",
                f"step {self.tally.step}: loss or gradient is not finite; the step is skipped "
                f"({self.tally.skipped} so far)",
                skipped=self.tally.skipped,
            )
        if self._skipped_in_row >= self.config.max_skipped:
            raise ModelError(
                f"training diverged: {self._skipped_in_row} steps in a row up to step {self.tally.step} "
                f"had no finite gradient; resume from {self.folder} at a lower learning rate"
            )

    def _in_any_process(self, *flags: bool) -> list[bool]:
        """Which of the flags are set in at least one process: the same answer in all of them."""
        if self.world.size == 1:
            return list(flags)
        return [bool(flag) for flag in distributed.maximum(torch.tensor(flags, dtype=torch.int32, device=self.device))]

    def _due(self, since_s: float, minutes: float, steps: int) -> bool:
        return bool(minutes and since_s >= 60 * minutes) or bool(steps and self.tally.step % steps == 0)

    def _validation_due(self, elapsed_s: float, since_s: float) -> bool:
        """Whether it is time to validate in the main process, within ``validate_share`` of this call's time."""
        if not self.world.is_main or not self._due(since_s, self.config.validate_minutes, self.config.validate_steps):
            return False
        if not self._validations_s:
            return True
        return sum(self._validations_s) + self._validations_s[-1] <= self.config.validate_share * elapsed_s

    def _reserve_s(self, budget_s: float) -> float:
        """Time to reserve for the last validation: that of the previous one, at most half of the budget."""
        return min(self._validations_s[-1], budget_s / 2) if self._validations_s else 0.0

    def _report(self, window: Window) -> None:
        progress = window.progress(self.tally, self.optimizer.param_groups[0]["lr"])
        self.journal.write("train", **progress._asdict())
        if self.observer is not None:
            self.observer.report(progress)

    def note(self, event: str, text: str, **values: Any) -> None:
        """Logs an event with its values, and shows `text` to the observer."""
        self.journal.write(event, self.tally.step, **values)
        if self.observer is not None:
            self.observer.note(text)

    def _validate(self, stop: Stop) -> None:
        """Scores the network on the validation clips and saves it if it is the best; if stopped, does neither."""
        if not self.world.is_main or self.scorer is None:
            return
        start = time.monotonic()
        self._measure_norms()
        with torch.compiler.set_stance("force_eager"):
            scores = self.scorer(self.averaged, stop)
        if scores is None:
            return
        seconds = time.monotonic() - start
        self._validations_s.append(seconds)
        self.tally.validated_step = self.tally.step
        score = scores.mean(self.config.best)
        better = score > self.tally.best
        if better:
            self.tally.best, self.tally.best_step = score, self.tally.step
            store.save(self.folder / "best.safetensors", self.averaged)
        means = {kind: scores.mean(kind) for kind in scores._fields}
        stems = ", ".join(f"{stem} {value:.2f}" for stem, value in getattr(scores, self.config.best).items())
        text = ", ".join(f"{kind} {value:.2f}" for kind, value in means.items())
        text = f"step {self.tally.step}: {text} dB ({self.config.best}: {stems}){', the best so far' if better else ''}"
        self.note("validation", text, **scores._asdict(), mean=means, best=better, seconds=seconds)

    def _measure_norms(self) -> None:
        """Measures the norms of the averaged network, unless it has been done at this step."""
        if self.average is not None and self._normed_step != self.tally.step:
            with torch.compiler.set_stance("force_eager"):
                measure_norms(self.averaged, self.batches, NORM_BATCHES)
            self._normed_step = self.tally.step

    def save(self) -> None:
        """Writes the checkpoint and ``last.safetensors``, in the main process only."""
        if self.world.is_main:
            checkpoint.save(self.folder / "checkpoint", self.state(), self.settings.mapping())
            self._measure_norms()
            store.save(self.folder / "last.safetensors", self.averaged)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "tally": asdict(self.tally),
            "network": self.network.state_dict(),
            "optimizer": optim.named_state(self.optimizer, self.network),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(),
        }

    def resume(self) -> None:
        """Restores the state of the folder's checkpoint.

        Raises:
            ModelError: there is no checkpoint, or it is damaged.
            ConfigError: it is of another config.
        """
        path = self.folder / "checkpoint"
        state, config = checkpoint.load(path)
        changes = resumable_changes(config, self.settings, path)
        self.tally = Tally(**state["tally"])
        self.network.load_state_dict(state["network"])
        optim.load_named_state(self.optimizer, self.network, state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"])
        if any(change.key == "train.best" for change in changes):
            self.tally.best = -math.inf  # the earlier score is of another kind
        self.note("resumed", f"resumed at step {self.tally.step}", changes=[str(change) for change in changes])
        for change in changes:
            self.note("changed", f"changed: {change}", change=str(change))
