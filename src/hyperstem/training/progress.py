"""What a run tells while it goes: figures since the last report, sums since its start, and how it ended."""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hyperstem.training import distributed
from hyperstem.training.feed import Feed


class Progress(NamedTuple):
    """What happened since the last report; losses are means over its steps."""

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    gradient_norm: float
    step_s: float
    audio_s_per_s: float
    data_wait: float
    """Share of the time spent waiting for data, 0 to 1."""
    skipped: int
    """Steps without a finite gradient, since the start of the run."""


class Observer(Protocol):
    """Who wants to see a run's progress."""

    def stepped(self, step: int) -> None:
        """A step is done."""
        ...

    def report(self, progress: Progress) -> None:
        """The figures of the last few steps."""
        ...

    def note(self, text: str) -> None:
        """Something worth one line."""
        ...


class Outcome(NamedTuple):
    """How a call ended: steps since the run's start; ``steps``, ``minutes`` or ``stopped``; the best score in dB."""

    step: int
    reason: str
    best: float


@dataclass
class Tally:
    """What a run has done since its start; part of its checkpoint."""

    step: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = -1
    validated_step: int = -1


class Stepped(NamedTuple):
    """One step's figures: the loss and its parts as one vector, the parts' names, the gradient's norm."""

    losses: Tensor
    names: list[str]
    norm: float
    audio_s: float
    finite: bool
    """False: the step was skipped."""


class Window:
    """Sums over the steps since the last report."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._begun, self._waited_s = time.perf_counter(), feed.waited_s
        self._steps: list[Stepped] = []

    def add(self, step: Stepped) -> None:
        """Counts one step."""
        self._steps.append(step)

    def leave_out(self, seconds: float) -> None:
        """Takes time that was not spent on steps out of the figures."""
        self._begun += seconds

    def progress(self, tally: Tally, learning_rate: float) -> Progress:
        """The figures; with several processes the means over all of them."""
        took = time.perf_counter() - self._begun
        names = self._steps[-1].names
        counted = [step for step in self._steps if step.finite]
        nothing = torch.full((1, 1 + len(names)), math.nan)
        sums = (torch.stack([step.losses for step in counted]) if counted else nothing).sum(0)
        loss, *parts = (distributed.total(sums) / distributed.processes() / max(1, len(counted))).tolist()
        norm = sum(step.norm for step in counted) / max(1, len(counted))
        return Progress(
            step=tally.step,
            loss=loss,
            parts=dict(zip(names, parts, strict=True)),
            learning_rate=learning_rate,
            gradient_norm=norm,
            step_s=took / len(self._steps),
            audio_s_per_s=sum(step.audio_s for step in self._steps) / took,
            data_wait=(self._feed.waited_s - self._waited_s) / took,
            skipped=tally.skipped,
        )
