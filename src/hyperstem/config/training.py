"""The objective, and the settings of a training run."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from hyperstem import extensions
from hyperstem.config.limits import Count, Limits, NotNegative, Positive, Share, Whole
from hyperstem.config.reading import Checked, require
from hyperstem.extensions import require_known

SCORES = ("si_snr", "snr")


@dataclass(frozen=True)
class LossConfig(Checked):
    """The objective of a Meta-TasNet; the defaults are the paper's (section 2.4)."""

    kind: str = "si_snr"
    """Score of an estimate: ``si_snr`` (the paper's), ``snr`` up to a threshold, or that of an extension
    (`hyperstem.extensions`)."""
    reconstruction: NotNegative = 0.05
    """Weight of the SI-SNR of the mixture decoded from the unmasked latent."""
    dissimilarity: NotNegative = 3.0
    """Weight of the cosine between latents of different stems."""
    similarity: NotNegative = 2.0
    """Weight of the cosine between latents of one stem across the batch."""
    silence: NotNegative = 0.0
    """Weight of the leakage into silent stems: their level in dB above -30 dB of the mixture, with a soft threshold."""
    snr_mix: Share = 0.0
    """Share of the SNR, up to a threshold, in the score ``si_snr``, so that levels are learned too."""
    signed: bool = False
    """Whether SI-SNR penalises an inverted estimate. The paper's ignores the sign, so that only `snr_mix` can correct
    it."""
    consistent: bool = False
    """Whether stems are scored as separation returns them, with the residual distributed among them."""
    snr_threshold_db: NotNegative = 30.0
    """SNR above which the score no longer rises."""
    stage_weights: Annotated[tuple[float, ...], Limits(0)] = ()
    """Weight of each stage's loss; 1 if none is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_known(self.kind, SCORES, extensions.LOSSES, "kind")

    def stage_weight(self, stage: int) -> float:
        """Weight of the loss of a stage."""
        return self.stage_weights[stage] if stage < len(self.stage_weights) else 1.0


@dataclass(frozen=True)
class SpectralLossConfig(Checked):
    """The objective of a Meta-U-Net: the SNR of every stem, plus these terms."""

    snr_threshold_db: NotNegative = 30.0
    """SNR above which the score no longer rises."""
    bands: NotNegative = 0.3
    """Weight of the SNR in each of five frequency bands, up to 20 dB."""
    silence: NotNegative = 0.3
    """Weight of the leakage into stems that are silent in the whole example; see `LossConfig.silence`."""
    rests: NotNegative = 0.15
    """Weight of the leakage in half seconds in which a stem rests."""
    draft_eq_db: NotNegative = 0.0
    """Largest gain of the random EQ through which a draft's network hears the mixture; see `training.draft_eq`."""
    draft_dropout: Share = 0.0
    """How often an example has no draft, so that the U-Net learns to separate without one."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How a run is trained; the defaults are the paper's (arXiv 2002.07016, section 3). Zero turns an option off."""

    steps: Count = 200_000
    """Optimiser steps from the start of the run."""
    batch: Count = 12
    """Examples per batch, of all processes together."""
    accumulate: Count = 1
    """Batches whose gradients are accumulated for one step."""
    seed: Whole = 0
    """Seed of the initial weights; `DataConfig.seed` is that of the data."""
    optimizer: Literal["ranger", "adamw", "muon"] = "ranger"
    learning_rate: Positive = 1e-3
    """Before the factors of the schedule and of `rate_factors`."""
    betas: Annotated[tuple[float, ...], Limits(0, below=1)] = (0.9, 0.999)
    """Decay of the running averages of the gradient and of its square."""
    eps: Positive = 1e-8
    weight_decay: NotNegative = 5e-4
    lookahead_steps: Count = 6
    """Ranger: fast steps per slow step."""
    lookahead_share: Share = 0.5
    """Ranger: share of the distance to the fast weights that a slow step goes."""
    schedule: Literal["sgdr", "cosine", "constant"] = "sgdr"
    """``sgdr``: half cosines with restarts; ``cosine``: a single one; each after the warm-up."""
    warmup_steps: Whole = 0
    """Steps in which the learning rate rises from 0."""
    schedule_steps: Whole = 0
    """Length of ``cosine``; 0 means `steps`."""
    final_factor: Share = 0.0
    """Factor on the learning rate at the end of a cosine."""
    period: Count = 200_000
    """Steps of each half cosine of ``sgdr``."""
    restart_factor: Share = 0.85
    """Factor on the learning rate at each restart of ``sgdr``."""
    clip: NotNegative = 5.0
    """Largest norm of the gradient, to which larger ones are clipped."""
    average: Annotated[float, Limits(0, below=1)] = 0.0
    """Decay of the running average of the weights, which is then validated and saved."""
    init: str = ""
    """Safetensors file or checkpoint with initial weights; tensors that match by name and shape are used, and the rows
    of a stem for the stem of the same name."""
    init_strict: bool = False
    """Whether all tensors must match."""
    init_draft: str = ""
    """Weights of a Meta-TasNet for the draft of a Meta-U-Net (see `UNetConfig.draft`), in place of those in `init`."""
    freeze: tuple[str, ...] = ()
    """Name prefixes of parameters that are not trained; ``stages.0.embedding[drums,bass]`` means the rows of two
    stems."""
    rate_factors: Annotated[dict[str, float], Limits(above=0)] = field(default_factory=dict)
    """Factor on the learning rate by name prefix of the parameters."""
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of autocast."""
    recompute: bool = False
    """Gradient checkpointing: the backward pass recomputes activations, which takes a fraction of the memory and about
    a third more time."""
    compile: bool = False
    """Whether torch.compile is used."""
    threads: Whole = 0
    """Largest number of CPU threads; 0 means PyTorch's default."""
    tensorboard: bool = True
    checkpoint_minutes: NotNegative = 5.0
    """Minutes between checkpoints."""
    checkpoint_steps: Whole = 0
    """Steps between checkpoints, in addition to `checkpoint_minutes`."""
    validate_minutes: NotNegative = 15.0
    """Minutes between validations."""
    validate_steps: Whole = 0
    """Steps between validations, in addition to `validate_minutes`."""
    validate_share: Share = 0.1
    """Largest share of the time for validations."""
    best: Literal["sdr", "sdr_fitted", "si_snr"] = "sdr"
    """Score that chooses the best weights: SDR, SDR after fitting the stems to the mixture, or SI-SNR."""
    log_steps: Count = 20
    max_skipped: Count = 50
    """Number of consecutive steps without a finite gradient after which the run ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.betas) == 2, f"betas is {self.betas!r}; two numbers are needed")
        require(not self.init_strict or bool(self.init), "init_strict is set, but init is empty")
