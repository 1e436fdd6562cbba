"""The training loop: steps, validation, checkpoints, and an orderly end whenever it is asked for."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hyperstem.errors import ModelError
from hyperstem.models import store
from hyperstem.network import AnyNetwork, MetaUNet
from hyperstem.training import checkpoint, distributed
from hyperstem.training.distributed import World
from hyperstem.training.feed import Batches, Feed
from hyperstem.training.journal import Journal
from hyperstem.training.optim import (
    build_optimizer,
    clip_gradients,
    gradient_norm,
    load_named_state,
    named_state,
    rate_factor,
    running_average,
    set_rate,
)
from hyperstem.training.progress import Observer, Outcome, Stepped, Tally, Window
from hyperstem.training.recompute import recompute
from hyperstem.training.settings import RunSettings, resumable_changes
from hyperstem.training.step import TrainingStep
from hyperstem.training.validation import Scores

Stop = Callable[[], bool]
Validate = Callable[[AnyNetwork, Stop], Scores | None]


class Trainer:
    """Trains one network on one row of batches, in a folder of its own.

    Args:
        settings: of the run.
        folder: takes ``best.safetensors``, ``last.safetensors`` and ``checkpoint``.
        network: the network, on its device, initialised, its frozen parts frozen.
        objective: gives the loss; see `hyperstem.training.losses.Objective`.
        batches: this process's share of every batch.
        validate: scores a network on held-out clips, giving None if stopped halfway; None where there are no clips.
        journal: takes the records; None for none.
        observer: sees the progress; None for nobody.
        here: this process among those that train together.
    """

    def __init__(
        self,
        settings: RunSettings,
        folder: Path,
        network: AnyNetwork,
        objective: nn.Module,
        batches: Batches,
        validate: Validate | None = None,
        journal: Journal | None = None,
        observer: Observer | None = None,
        here: World | None = None,
    ) -> None:
        self.settings, self.config, self.folder = settings, settings.train, folder
        self.network, self.batches, self.scores_of = network, batches, validate
        self.journal, self.observer, self.here = journal or Journal(None), observer, here or World()
        self.device = next(network.parameters()).device
        self.trained = [weight for weight in network.parameters() if weight.requires_grad]
        self.optimizer = build_optimizer(network, self.config)
        self.average = running_average(network, self.config.average) if self.config.average else None
        self.scaler = torch.amp.GradScaler(self.device.type, 64.0, enabled=self.config.precision == "float16")
        step = TrainingStep(network, objective, self.config)
        # Some weights have no part in any loss, such as the last block's residual.
        spread = partial(DistributedDataParallel, find_unused_parameters=True)
        self.module: nn.Module = spread(step) if self.here.size > 1 else step
        if self.config.recompute:
            recompute(network)
        if self.config.compile:
            parts = [objective] if isinstance(network, MetaUNet) else getattr(network, "stages", [network])
            for part in parts:
                part.compile()
        self.tally = Tally()
        self._skipped_in_row = 0
        self._validations_s: list[float] = []

    @property
    def result(self) -> AnyNetwork:
        """The network as it is validated and saved: with averaged weights where these are kept."""
        return self.network if self.average is None else cast(AnyNetwork, self.average.module)

    def run(self, steps: int, budget_s: float = math.inf, stop: Stop = lambda: False) -> Outcome:
        """Trains until `steps` steps are done since the start of the run, the time is over, or `stop` says so.

        At the end the state is saved, and unless the run was stopped the network is validated.

        Args:
            steps: counted from the start of the run.
            budget_s: this call's time in seconds, the validation at the end included.
            stop: asked after every step.

        Raises:
            ModelError: too many steps in a row had no finite gradient.
        """
        begun = saved = validated = time.monotonic()
        before_s = self.tally.seconds
        feed = self._feed(steps)
        window, reason = Window(feed), "steps"
        while self.tally.step < steps:
            window.add(self._step(feed))
            if self.observer is not None:
                self.observer.stepped(self.tally.step)
            if self.tally.step % self.config.log_steps == 0 or self.tally.step == steps:
                self._report(window)
                window = Window(feed)
            now = time.monotonic()
            self.tally.seconds = before_s + now - begun
            halted, spent, check, save = self._agreed(
                stop(),
                now - begun + self._reserve_s(budget_s) >= budget_s,
                self._validation_due(now - begun, now - validated),
                self._due(now - saved, self.config.checkpoint_minutes, self.config.checkpoint_steps),
            )
            if halted or spent:
                reason = "stopped" if halted else "minutes"
                break
            if check and self.tally.step < steps:
                self._validate(stop)
                validated = time.monotonic()
            if save and self.tally.step < steps:
                self.save()
                saved = time.monotonic()
            window.leave_out(time.monotonic() - now)
        self.save()
        if reason != "stopped" and self.tally.validated_step < self.tally.step:
            self._validate(stop)
            self.save()
        return Outcome(self.tally.step, reason, self.tally.best)

    def _feed(self, steps: int) -> Feed:
        data, each = self.settings.data, self.config.accumulate
        return Feed(
            self.batches,
            self.tally.step * each,
            steps * each,
            data.workers,
            data.prefetch,
            pin=self.device.type == "cuda",
        )

    def _step(self, feed: Feed) -> Stepped:
        """One optimiser step; without a finite loss and gradient the weights stay as they are."""
        set_rate(self.optimizer, rate_factor(self.config, self.tally.step))
        self.optimizer.zero_grad()
        losses, names, audio_s = torch.zeros(()), [], 0.0
        for micro in range(1, self.config.accumulate + 1):
            batch = feed.next().to(self.device)
            with self._apart(micro < self.config.accumulate):
                report = self.module(batch)
                self.scaler.scale(report.total / self.config.accumulate).backward()
            names = list(report.parts)
            values = torch.stack([report.total.detach(), *report.parts.values()]).float().cpu()
            losses = losses + values / self.config.accumulate
            rate_hz = self.settings.model.rates_hz[0]
            audio_s += batch.mixture[0].shape[-1] / rate_hz * batch.active.shape[0] * self.here.size
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.trained)
        finite = not self._agreed(not bool(torch.isfinite(norm)) or not math.isfinite(losses[0].item()))[0]
        if finite:
            clip_gradients(self.trained, norm, self.config.clip)
            self.scaler.step(self.optimizer)
            if self.average is not None:
                self.average.update_parameters(self.network)
        self.scaler.update()
        self.tally.step += 1
        self.tally.audio_s += audio_s
        self._count_skipped(finite)
        return Stepped(losses, names, float(norm), audio_s, finite)

    def _apart(self, apart: bool) -> contextlib.AbstractContextManager[None]:
        """Keeps gradients in this process until the last part of an accumulated step."""
        if apart and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    def _count_skipped(self, finite: bool) -> None:
        self._skipped_in_row = 0 if finite else self._skipped_in_row + 1
        if finite:
            return
        self.tally.skipped += 1
        if self._skipped_in_row == 1:
            self._note(
                "skipped",
                f"step {self.tally.step}: loss or gradient is not finite; the step is skipped "
                f"({self.tally.skipped} so far)",
                skipped=self.tally.skipped,
            )
        if self._skipped_in_row >= self.config.max_skipped:
            raise ModelError(
                f"training broke down: {self._skipped_in_row} steps in a row up to step {self.tally.step} "
                f"had no finite gradient; resume from {self.folder} at a lower learning rate"
            )

    def _agreed(self, *flags: bool) -> list[bool]:
        """Flags that hold in any process, so that all of them do the same."""
        if self.here.size == 1:
            return list(flags)
        return [bool(flag) for flag in distributed.largest(torch.tensor(flags, dtype=torch.int32, device=self.device))]

    def _due(self, since_s: float, minutes: float, steps: int) -> bool:
        return bool(minutes and since_s >= 60 * minutes) or bool(steps and self.tally.step % steps == 0)

    def _validation_due(self, elapsed_s: float, since_s: float) -> bool:
        """Whether the leader finds it time to validate, and doing so keeps within its share of this call's time."""
        if not self.here.leads or not self._due(since_s, self.config.validate_minutes, self.config.validate_steps):
            return False
        if not self._validations_s:
            return True
        return sum(self._validations_s) + self._validations_s[-1] <= self.config.validate_share * elapsed_s

    def _reserve_s(self, budget_s: float) -> float:
        """Time to keep for the validation at the end: what the last one took, at most half of the budget."""
        return min(self._validations_s[-1], budget_s / 2) if self._validations_s else 0.0

    def _report(self, window: Window) -> None:
        progress = window.progress(self.tally, self.optimizer.param_groups[0]["lr"])
        self.journal.write("train", **progress._asdict())
        if self.observer is not None:
            self.observer.report(progress)

    def _note(self, event: str, text: str, **values: Any) -> None:
        self.journal.write(event, self.tally.step, **values)
        if self.observer is not None:
            self.observer.note(text)

    def _validate(self, stop: Stop) -> None:
        """Scores the result on the held-out clips and keeps it if it is the best so far; stopped, it does neither."""
        if not self.here.leads or self.scores_of is None:
            return
        begun = time.monotonic()
        with torch.compiler.set_stance("force_eager"):
            scores = self.scores_of(self.result, stop)
        if scores is None:
            return
        took = time.monotonic() - begun
        self._validations_s.append(took)
        self.tally.validated_step = self.tally.step
        score = scores.mean(self.config.best)
        better = score > self.tally.best
        if better:
            self.tally.best, self.tally.best_step = score, self.tally.step
            store.save(self.folder / "best.safetensors", self.result)
        means = {kind: scores.mean(kind) for kind in scores._fields}
        each = ", ".join(f"{stem} {value:.2f}" for stem, value in getattr(scores, self.config.best).items())
        text = ", ".join(f"{kind} {value:.2f}" for kind, value in means.items())
        text = f"step {self.tally.step}: {text} dB ({self.config.best}: {each}){', the best so far' if better else ''}"
        self._note("validation", text, **scores._asdict(), mean=means, best=better, seconds=took)

    def save(self) -> None:
        """Writes the checkpoint and ``last.safetensors``, from the leading process."""
        if self.here.leads:
            checkpoint.save(self.folder / "checkpoint", self.state(), self.settings.mapping())
            store.save(self.folder / "last.safetensors", self.result)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "tally": asdict(self.tally),
            "network": self.network.state_dict(),
            "optimizer": named_state(self.optimizer, self.network),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(),
        }

    def resume(self) -> None:
        """Goes on where the checkpoint in the folder stopped.

        Raises:
            ModelError: there is none, or it is damaged.
            ConfigError: it belongs to another config.
        """
        path = self.folder / "checkpoint"
        state, config = checkpoint.load(path)
        changes = resumable_changes(config, self.settings, path)
        self.tally = Tally(**state["tally"])
        self.network.load_state_dict(state["network"])
        load_named_state(self.optimizer, self.network, state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"])
        if any(change.key == "train.best" for change in changes):
            self.tally.best = -math.inf  # scores of two kinds cannot be compared
        self._note("resumed", f"resumed at step {self.tally.step}", changes=[str(change) for change in changes])
        for change in changes:
            self._note("changed", f"changed: {change}", change=str(change))
