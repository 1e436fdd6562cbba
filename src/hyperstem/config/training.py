"""The objective, and how a run is trained."""

import math
from dataclasses import dataclass, field
from typing import Literal

from hyperstem.config.reading import require


@dataclass(frozen=True)
class LossConfig:
    """Kind and weights of the objective's parts; the defaults are the paper's (section 2.4).

    Attributes:
        kind: score of an estimate: the paper's SI-SNR, thresholded SNR, L1, or L1 with multi-resolution STFT distance.
        reconstruction: weight of the SI-SNR of the decoded, unmasked mixture.
        dissimilarity: weight of the cosine between latents of different stems.
        similarity: weight of the cosine between latents of one stem across the batch.
        silence: weight of what leaks into silent stems (dB over -30 dB of the mixture, softly).
        snr_mix: share of the thresholded SNR in the SI-SNR score, so that levels are learned too.
        signed: whether SI-SNR takes an estimate of the wrong sign for a bad one. The paper's does not mind the sign,
            but a stem that comes out upside down can only be brought to silence by `snr_mix`.
        consistent: whether stems are scored as separation delivers them, with what they lack of the mixture shared out.
        snr_threshold_db: SNR beyond which nothing more is gained.
        spectral: weight of the STFT distance beside L1.
        l1_scale: factor on the L1 scores, to bring them to the size of dB.
        stft_windows: window lengths of the STFT distance in samples.
        stage_weights: weight of each stage's loss; 1 where none is given.
    """

    kind: Literal["si_snr", "snr", "l1", "l1+mrstft"] = "si_snr"
    reconstruction: float = 0.05
    dissimilarity: float = 3.0
    similarity: float = 2.0
    silence: float = 0.0
    snr_mix: float = 0.0
    signed: bool = False
    consistent: bool = False
    snr_threshold_db: float = 30.0
    spectral: float = 0.5
    l1_scale: float = 10.0
    stft_windows: tuple[int, ...] = (512, 1024, 2048)
    stage_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "reconstruction",
            "dissimilarity",
            "similarity",
            "silence",
            "spectral",
            "snr_threshold_db",
            "l1_scale",
        ):
            require(0 <= getattr(self, name) < math.inf, f"{name} is {getattr(self, name)}; it must not be negative")
        require(0 <= self.snr_mix <= 1, f"snr_mix is {self.snr_mix}; allowed are 0 to 1")
        require(
            len(self.stft_windows) > 0 and min(self.stft_windows) >= 16,
            f"stft_windows {self.stft_windows!r}; one or more, each at least 16",
        )
        require(
            all(0 <= weight < math.inf for weight in self.stage_weights),
            f"stage_weights {self.stage_weights!r}; none may be negative",
        )

    def stage_weight(self, stage: int) -> float:
        """Weight of a stage's whole loss; 1 where none is given."""
        return self.stage_weights[stage] if stage < len(self.stage_weights) else 1.0


@dataclass(frozen=True)
class TrainConfig:
    """How a run is trained; the defaults are the paper's (arXiv 2002.07016, section 3). Zero switches an option off.

    Attributes:
        steps: optimiser steps from the start of the run.
        batch: items of a batch, of all processes together.
        accumulate: batches whose gradients make one step.
        seed: of the initial weights; the data has its own.
        learning_rate: before the schedule's factor and ``rate_factors``, which multiply it per prefix of parameter
            names.
        lookahead_steps: Ranger's fast steps between two slow ones, each of which goes ``lookahead_share`` of the way.
        schedule: ``sgdr`` (half cosines of ``period`` steps, each starting ``restart_factor`` lower), ``cosine`` (one,
            over ``schedule_steps`` or else ``steps``) or ``constant``, each after ``warmup_steps``; ``final_factor`` is
            where a cosine ends.
        clip: largest norm of the gradient.
        average: decay of the running average of the weights, which is then what is validated and saved.
        init: safetensors file or a run's checkpoint to begin from; what fits by name and shape is taken, with
            ``init_strict`` all must.
        freeze: prefixes of parameter names that are not trained.
        precision: of autocast. ``compile`` uses torch.compile, ``threads`` limits the processor's.
        checkpoint_minutes: time between checkpoints, beside ``checkpoint_steps``.
        validate_minutes: time between validations, beside ``validate_steps``; they take at most ``validate_share`` of
            the time.
        best: score by which the best weights are kept: SDR, SDR after fitting the stems to the mixture, or SI-SNR.
        max_skipped: steps in a row without a finite gradient that end the run.
    """

    steps: int = 200_000
    batch: int = 12
    accumulate: int = 1
    seed: int = 0
    optimizer: Literal["ranger", "adamw"] = "ranger"
    learning_rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 5e-4
    lookahead_steps: int = 6
    lookahead_share: float = 0.5
    schedule: Literal["sgdr", "cosine", "constant"] = "sgdr"
    warmup_steps: int = 0
    schedule_steps: int = 0
    final_factor: float = 0.0
    period: int = 200_000
    restart_factor: float = 0.85
    clip: float = 5.0
    average: float = 0.0
    init: str = ""
    init_strict: bool = False
    freeze: tuple[str, ...] = ()
    rate_factors: dict[str, float] = field(default_factory=dict)
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    threads: int = 0
    tensorboard: bool = True
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    validate_minutes: float = 15.0
    validate_steps: int = 0
    validate_share: float = 0.1
    best: Literal["sdr", "sdr_fitted", "si_snr"] = "sdr"
    log_steps: int = 20
    max_skipped: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "lookahead_steps", "period", "log_steps", "max_skipped"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; at least 1 is needed")
        for name in (
            "seed",
            "weight_decay",
            "warmup_steps",
            "schedule_steps",
            "clip",
            "threads",
            "checkpoint_minutes",
            "checkpoint_steps",
            "validate_minutes",
            "validate_steps",
        ):
            require(0 <= getattr(self, name) < math.inf, f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("lookahead_share", "final_factor", "restart_factor", "validate_share"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; allowed are 0 to 1")
        require(0 < self.learning_rate < math.inf, f"learning_rate is {self.learning_rate}; it must be positive")
        require(0 < self.eps < math.inf, f"eps is {self.eps}; it must be positive")
        require(0 <= self.average < 1, f"average is {self.average}; allowed are 0 to below 1")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas is {self.betas!r}; two numbers from 0 to below 1 are needed",
        )
        for prefix, factor in self.rate_factors.items():
            require(0 < factor < math.inf, f"rate_factors.{prefix} is {factor}; it must be positive (or use freeze)")
        require(not self.init_strict or bool(self.init), "init_strict is set, but init names no weights")
