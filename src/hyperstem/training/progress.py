"""Progress of a run: figures since the last report, totals since the start, and how a call ended."""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hyperstem.training import distributed
from hyperstem.training.feed import Feed


class Progress(NamedTuple):
    """Figures since the last report; losses are means over its steps."""

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    gradient_norm: float
    step_s: float
    audio_s_per_s: float
    data_wait: float
    """Fraction of the time spent waiting for data, 0 to 1."""
    skipped: int
    """Skipped steps since the start of the run."""


class Observer(Protocol):
    """Receives the progress of a run."""

    def stepped(self, step: int) -> None:
        """Called after every step, with the number of steps since the start of the run."""
        ...

    def report(self, progress: Progress) -> None:
        """Called every ``train.log_steps`` steps."""
        ...

    def note(self, text: str) -> None:
        """Called with one line of text at an event such as a validation."""
        ...


class Outcome(NamedTuple):
    """How a call ended."""

    step: int
    """Steps since the start of the run."""
    reason: str
    """``steps``, ``minutes`` or ``stopped``."""
    best: float
    """Best validation score in dB, -inf if there is none."""


@dataclass
class Tally:
    """Totals since the start of a run; part of its checkpoint."""

    step: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = -1
    validated_step: int = -1


class StepResult(NamedTuple):
    """Figures of one step."""

    losses: Tensor
    """The loss, then its parts (1 + parts,)."""
    names: list[str]
    """Names of the parts."""
    norm: float
    """Norm of the gradient."""
    audio_s: float
    skipped: bool
    """Whether the loss or the gradient was not finite in some process."""


class Window:
    """The steps since the last report."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._start, self._waited_s = time.perf_counter(), feed.waited_s
        self._steps: list[StepResult] = []

    def add(self, step: StepResult) -> None:
        """Adds one step."""
        self._steps.append(step)

    def exclude(self, seconds: float) -> None:
        """Excludes time that was not spent on steps, such as a validation."""
        self._start += seconds

    def progress(self, tally: Tally, learning_rate: float) -> Progress:
        """The figures: losses as means over all processes, sound per second of all together, times of this process."""
        seconds = time.perf_counter() - self._start
        names = self._steps[-1].names
        done = [step for step in self._steps if not step.skipped]
        sums = sum((step.losses for step in done), torch.full((1 + len(names),), 0.0 if done else math.nan))
        loss, *parts = (distributed.total(sums) / distributed.process_count() / max(1, len(done))).tolist()
        return Progress(
            step=tally.step,
            loss=loss,
            parts=dict(zip(names, parts, strict=True)),
            learning_rate=learning_rate,
            gradient_norm=sum(step.norm for step in done) / max(1, len(done)),
            step_s=seconds / len(self._steps),
            audio_s_per_s=sum(step.audio_s for step in self._steps) / seconds,
            data_wait=(self._feed.waited_s - self._waited_s) / seconds,
            skipped=tally.skipped,
        )
