"""The objective, and how a run is trained."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from hyperstem import extensions
from hyperstem.config.limits import Count, Limits, NotNegative, Positive, Share, Whole
from hyperstem.config.reading import Checked, require
from hyperstem.extensions import require_known

SCORES = ("si_snr", "snr")


@dataclass(frozen=True)
class LossConfig(Checked):
    """Kind and weights of the objective's parts; the defaults are the paper's (section 2.4)."""

    kind: str = "si_snr"
    """Score of an estimate: ``si_snr``, the paper's, ``snr``, up to a threshold, or one that somebody added
    (`hyperstem.extensions`)."""
    reconstruction: NotNegative = 0.05
    """Weight of the SI-SNR of the decoded, unmasked mixture."""
    dissimilarity: NotNegative = 3.0
    """Weight of the cosine between latents of different stems."""
    similarity: NotNegative = 2.0
    """Weight of the cosine between latents of one stem across the batch."""
    silence: NotNegative = 0.0
    """Weight of what leaks into silent stems (dB over -30 dB of the mixture, softly)."""
    snr_mix: Share = 0.0
    """Share of the SNR up to a threshold in the SI-SNR score, so that levels are learned too."""
    signed: bool = False
    """Whether SI-SNR counts an estimate of the wrong sign as bad. The paper's ignores the sign, but then only `snr_mix`
    can silence a stem that comes out upside down."""
    consistent: bool = False
    """Whether stems are scored as separation delivers them, with the residual distributed among them."""
    snr_threshold_db: NotNegative = 30.0
    """SNR above which nothing more is gained."""
    stage_weights: Annotated[tuple[float, ...], Limits(0)] = ()
    """Weight of each stage's loss; 1 where none is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_known(self.kind, SCORES, extensions.LOSSES, "kind")

    def stage_weight(self, stage: int) -> float:
        """Weight of a stage's whole loss; 1 where none is given."""
        return self.stage_weights[stage] if stage < len(self.stage_weights) else 1.0


@dataclass(frozen=True)
class SpectralLossConfig(Checked):
    """Weights of what a network over time and frequency is trained for, beside the SNR of every stem."""

    snr_threshold_db: NotNegative = 30.0
    """SNR above which nothing more is gained."""
    bands: NotNegative = 0.3
    """Weight of the SNR in each of five frequency bands, up to 20 dB."""
    silence: NotNegative = 0.3
    """Weight of what leaks into stems that are silent in the whole example (dB over -30 dB of the mixture, softly)."""
    rests: NotNegative = 0.15
    """Weight of the same in half seconds in which a stem rests."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How a run is trained; the defaults are the paper's (arXiv 2002.07016, section 3). Zero switches an option off."""

    steps: Count = 200_000
    """Optimiser steps from the start of the run."""
    batch: Count = 12
    """Items of a batch, of all processes together."""
    accumulate: Count = 1
    """Batches whose gradients make one step."""
    seed: Whole = 0
    """Of the initial weights; the data has its own."""
    optimizer: Literal["ranger", "adamw"] = "ranger"
    learning_rate: Positive = 1e-3
    """Before the schedule's factor and `rate_factors`."""
    betas: Annotated[tuple[float, ...], Limits(0, below=1)] = (0.9, 0.999)
    """Decay of the optimiser's running averages of the gradient and of its square."""
    eps: Positive = 1e-8
    weight_decay: NotNegative = 5e-4
    lookahead_steps: Count = 6
    """Ranger's fast steps between two slow ones."""
    lookahead_share: Share = 0.5
    """Share of the way that a slow step goes."""
    schedule: Literal["sgdr", "cosine", "constant"] = "sgdr"
    """``sgdr``: half cosines that restart; ``cosine``: one; each follows the warm-up."""
    warmup_steps: Whole = 0
    """Steps in which the learning rate rises from 0."""
    schedule_steps: Whole = 0
    """Length of the one cosine; 0 takes `steps`."""
    final_factor: Share = 0.0
    """Factor on the learning rate at the end of a cosine."""
    period: Count = 200_000
    """Steps of each half cosine of ``sgdr``."""
    restart_factor: Share = 0.85
    """Factor on the learning rate at each restart of ``sgdr``."""
    clip: NotNegative = 5.0
    """Largest norm of the gradient."""
    average: Annotated[float, Limits(0, below=1)] = 0.0
    """Decay of the running average of the weights, which is then what is validated and saved."""
    init: str = ""
    """Safetensors file or checkpoint of a run to begin from; tensors that fit by name and shape are taken, and what
    belongs to a stem goes to the stem of the same name."""
    init_strict: bool = False
    """Whether all of them must fit."""
    freeze: tuple[str, ...] = ()
    """Prefixes of the names of parameters that are not trained; ``stages.0.embedding[drums,bass]`` names two stems'
    rows of one."""
    rate_factors: Annotated[dict[str, float], Limits(above=0)] = field(default_factory=dict)
    """Factor on the learning rate for each prefix of parameter names."""
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of autocast."""
    recompute: bool = False
    """Gradient checkpointing: the backward pass computes activations again instead of keeping them. A fraction of the
    memory for about a third more time."""
    compile: bool = False
    """Whether torch.compile is used."""
    threads: Whole = 0
    """Most threads of the processor; 0 leaves it to PyTorch."""
    tensorboard: bool = True
    checkpoint_minutes: NotNegative = 5.0
    """Minutes between checkpoints."""
    checkpoint_steps: Whole = 0
    """Steps between checkpoints, beside `checkpoint_minutes`."""
    validate_minutes: NotNegative = 15.0
    """Minutes between validations."""
    validate_steps: Whole = 0
    """Steps between validations, beside `validate_minutes`."""
    validate_share: Share = 0.1
    """Largest share of the time that validations may take."""
    best: Literal["sdr", "sdr_fitted", "si_snr"] = "sdr"
    """Score that chooses the best weights: SDR, SDR after fitting the stems to the mixture, or SI-SNR."""
    log_steps: Count = 20
    max_skipped: Count = 50
    """Steps in a row without a finite gradient that end the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.betas) == 2, f"betas is {self.betas!r}; two numbers are needed")
        require(not self.init_strict or bool(self.init), "init_strict is set, but init names no weights")
