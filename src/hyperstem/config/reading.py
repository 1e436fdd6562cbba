"""Settings: frozen dataclasses, read from TOML and checked where they are born."""

import copy
import dataclasses
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from hyperstem.errors import ConfigError

STEMS = ("drums", "bass", "other", "vocals")

T = TypeVar("T")


def from_mapping(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Builds the dataclass `kind` from plain values, checking every key and type.

    Args:
        kind: a dataclass; fields that are dataclasses take nested mappings.
        mapping: keys to values as TOML or JSON give them; lists become tuples.
        where: what an error names as the place, e.g. ``"configs/paper.toml [model]"``.

    Raises:
        ConfigError: for an unknown or missing key, a value of the wrong type or out of range.
    """
    hints = typing.get_type_hints(kind)
    fields = {spec.name: spec for spec in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; known keys are {', '.join(fields)}")
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in mapping:
            raise ConfigError(f"{where}: key {name!r} is missing")
    values = {key: _checked(hints[key], value, f"{where}: {key}") for key, value in mapping.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`: nested dataclasses and tuples are built, an int passes for a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected a table")
        return from_mapping(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _checked(option, value, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} is {value!r}; allowed are {', '.join(map(repr, arguments))}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; expected a list")
        return tuple(_checked(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected a table")
        return {key: _checked(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is type(None) and value is None:
        return None
    if hint in (int, float, str, bool) and type(value) is hint:
        return value
    raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is tuple:
        return f"a list of {_describe(arguments[0])}"
    return {int: "an integer", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))


def to_mapping(settings: Any) -> dict[str, Any]:
    """The dataclass `settings` as plain JSON values; the inverse of `from_mapping`."""
    return {key: _plain(value) for key, value in vars(settings).items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def load_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is missing or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


TABLES = ("model", "loss", "data", "train")


def check_tables(tables: Mapping[str, Any], path: str | Path) -> None:
    """Refuses a parsed config whose top level holds anything but the known tables.

    Raises:
        ConfigError: a table is unknown, or is no table; `path` is named.
    """
    for name, table in tables.items():
        if name not in TABLES:
            known = ", ".join(f"[{table}]" for table in TABLES)
            raise ConfigError(f"{path}: unknown table [{name}]; known are {known}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: {name} is {table!r}; expected a table")


def assigned(tables: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """The tables of a config with one ``table.key=value`` set; a key without a table is one of ``[train]``.

    Raises:
        ConfigError: the assignment has no ``=``, or its key leads nowhere.
    """
    key, equals, text = assignment.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {assignment!r}: expected table.key=value, e.g. train.learning_rate=3e-4")
    if path[0] not in TABLES:
        path.insert(0, "train")
    result = copy.deepcopy(dict(tables))
    place: Any = result
    for name in path[:-1]:
        place = place[_position(place, name, assignment)] if isinstance(place, list) else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"--set {assignment!r}: {name} is {place!r}, not a table")
    last: Any = _position(place, path[-1], assignment) if isinstance(place, list) else path[-1]
    place[last] = _value(text.strip())
    return result


def _position(items: list[Any], name: str, assignment: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise ConfigError(f"--set {assignment!r}: {name!r} is no position in a list of {len(items)} (from 0)")
    return int(name)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class StageConfig:
    """One stage's sizes, every number resolved for its own rate."""

    rate_hz: int
    latent_dim: int
    kernels: tuple[int, ...]
    hop: int
    n_fft: int
    stft_hop: int
    mels: int
    bottleneck_dim: int
    hidden_dim: int
    blocks: int
    stacks: int
    previous_dim: int

    @property
    def bins(self) -> int:
        """Bins of one spectrum."""
        return self.n_fft // 2 + 1

    @property
    def encoder_channels(self) -> int:
        """Channels of each encoder kernel size."""
        return self.latent_dim // 4

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels of each decoder kernel size: a half, a quarter, an eighth, ... of the latent."""
        return tuple(self.latent_dim >> (i + 1) for i in range(len(self.kernels)))


@dataclass(frozen=True)
class ModelConfig:
    """A Meta-TasNet's sizes; the defaults are the paper's (arXiv 2002.07016, section 3).

    Sizes are those of stage 0. Stage i works at ``base_rate_hz * 2**i``; its kernels, hop, STFT and (given as one
    number) latent grow with the rate. A size given as a tuple has one entry per stage and is not scaled.

    With ``octaves``, which the paper does not have, a stage separates only what its rate adds to that of the stage
    before, and the waveforms of the stage before make up the rest.
    """

    stems: tuple[str, ...] = STEMS
    base_rate_hz: int = 8000
    stages: int = 3
    audio_channels: int = 1
    latent_dim: int | tuple[int, ...] = 440
    kernels: tuple[int, ...] = (20, 40, 80)
    hop: int = 20
    mels: int | tuple[int, ...] = 256
    n_fft: int = 1024
    stft_hop: int = 256
    bottleneck_dim: int | tuple[int, ...] = 160
    hidden_dim: int | tuple[int, ...] = 160
    kernel_size: int = 3
    blocks: int | tuple[int, ...] = 6
    stacks: int | tuple[int, ...] = 3
    norm_groups: int = 8
    residual_bias: bool = False
    parameters: Literal["generated", "independent", "shared"] = "generated"
    embedding_dim: int = 8
    embedding_bottleneck: int = 5
    octaves: bool = False
    segment_s: float = 8.0

    def __post_init__(self) -> None:
        require(len(self.stems) >= 2, f"stems is {self.stems!r}; two or more are needed")
        require(len(set(self.stems)) == len(self.stems), f"stems {self.stems!r} has a name twice")
        require(
            all(
                stem and stem == Path(stem).name and stem.isprintable() and stem[0] != "." and "," not in stem
                for stem in self.stems
            ),
            f"stems {self.stems!r}: each must do as a file name without commas",
        )
        require(1 <= self.stages <= 4, f"stages is {self.stages}; allowed are 1 to 4")
        require(self.audio_channels in (1, 2), f"audio_channels is {self.audio_channels}; allowed are 1 and 2")
        require(self.base_rate_hz >= 1000, f"base_rate_hz is {self.base_rate_hz}; at least 1000 is needed")
        require(
            1 <= self.hop <= self.base_rate_hz // 50,
            f"hop is {self.hop} samples; allowed are 1 to {self.base_rate_hz // 50} (20 ms)",
        )
        require(
            len(self.kernels) >= 1 and min(self.kernels) >= 1, f"kernels is {self.kernels!r}; one or more, each >= 1"
        )
        require(max(self.kernels) >= self.hop, f"kernels {self.kernels!r} leave gaps at hop {self.hop}")
        require(
            self.kernel_size % 2 == 1 and self.kernel_size >= 1, f"kernel_size is {self.kernel_size}; it must be odd"
        )
        require(self.norm_groups >= 1, f"norm_groups is {self.norm_groups}; at least 1 is needed")
        require(self.n_fft >= 16 and self.n_fft % 2 == 0, f"n_fft is {self.n_fft}; an even number from 16 is needed")
        require(1 <= self.stft_hop <= self.n_fft, f"stft_hop is {self.stft_hop}; allowed are 1 to n_fft, {self.n_fft}")
        for name in ("embedding_dim", "embedding_bottleneck"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; at least 1 is needed")
        require(
            math.isfinite(self.segment_s) and self.segment_s > 0, f"segment_s is {self.segment_s}; it must be positive"
        )
        for name in ("latent_dim", "mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks"):
            value = getattr(self, name)
            require(
                isinstance(value, int) or len(value) == self.stages,
                f"{name} is {value!r}; give one number or one per stage ({self.stages})",
            )
        for stage in self.stage_configs:
            self._check_stage(stage)

    def _check_stage(self, stage: StageConfig) -> None:
        for name in ("mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks"):
            require(getattr(stage, name) >= 1, f"{name} is {getattr(stage, name)}; at least 1 is needed")
        shortest = stage.decoder_channels[-1]
        require(
            shortest >= 1 and stage.encoder_channels >= 1,
            f"latent_dim {stage.latent_dim} is too small for {len(stage.kernels)} kernel sizes",
        )
        normed = {
            "latent_dim": stage.latent_dim,
            "latent_dim with the previous stage's": stage.latent_dim + stage.previous_dim,
            "bottleneck_dim": stage.bottleneck_dim,
            "hidden_dim": stage.hidden_dim,
        }
        for name, size in normed.items():
            require(
                size % self.norm_groups == 0,
                f"{name} is {size}; it must be a multiple of norm_groups, {self.norm_groups}",
            )

    @property
    def stage_configs(self) -> tuple[StageConfig, ...]:
        """Every stage's own sizes, lowest rate first."""
        latents = [self._at("latent_dim", i, grows=True) for i in range(self.stages)]
        return tuple(
            StageConfig(
                rate_hz=self.base_rate_hz << i,
                latent_dim=latents[i],
                kernels=tuple(kernel << i for kernel in self.kernels),
                hop=self.hop << i,
                n_fft=self.n_fft << i,
                stft_hop=self.stft_hop << i,
                mels=self._at("mels", i),
                bottleneck_dim=self._at("bottleneck_dim", i),
                hidden_dim=self._at("hidden_dim", i),
                blocks=self._at("blocks", i),
                stacks=self._at("stacks", i),
                previous_dim=latents[i - 1] if i else 0,
            )
            for i in range(self.stages)
        )

    def _at(self, name: str, stage: int, grows: bool = False) -> int:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return value[stage]
        return value << stage if grows else value

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """Sample rate of each stage, lowest first."""
        return tuple(self.base_rate_hz << i for i in range(self.stages))

    def frames(self, lengths: tuple[int, ...]) -> int:
        """Latent frames for waveforms of `lengths` samples, one per stage from stage 0 on.

        The waveforms are padded at the end to whole frames, and to what the reflect padding of the shortest STFT needs.

        Raises:
            ConfigError: the lengths are not those of one excerpt at the stages' rates.
        """
        require(1 <= len(lengths) <= self.stages, f"{len(lengths)} rates given; this model takes 1 to {self.stages}")
        for i, length in enumerate(lengths):
            require(length >= 1, f"the waveform of stage {i} is empty")
            require(
                abs(length - (lengths[0] << i)) <= 1 << i,
                f"the waveform of stage {i} has {length} samples; beside {lengths[0]} samples at stage 0 it should "
                f"have {lengths[0] << i}",
            )
        whole = max(-(-length // (self.hop << i)) for i, length in enumerate(lengths))
        return max(whole, -(-(self.n_fft // 2 + 1) // self.hop))

    def first_stages(self, count: int) -> Self:
        """The same model cut to its first `count` stages."""
        require(1 <= count <= self.stages, f"{count} stages asked for; this model has {self.stages}")
        per_stage = ("latent_dim", "mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks")
        cut = {name: value[:count] for name in per_stage if isinstance(value := getattr(self, name), tuple)}
        return dataclasses.replace(self, stages=count, **cut)


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


_HALVES = ("", "train", "test", "all")
_SUBSETS = {"folders": _HALVES, "musdb18": (*_HALVES, "validation"), "musdb18-hq": (*_HALVES, "validation")}
"""Layouts that have subsets."""


@dataclass(frozen=True)
class SourceConfig:
    """One place that recordings come from.

    Layouts: ``musdb18`` (train/ and test/ with ``*.stem.mp4``), ``musdb18-hq`` (train/ and test/ with a folder of wav
    files a song), ``moisesdb`` (a folder a song with data.json), ``folders`` (``<song>/<stem>.<suffix>``) and ``solo``
    (any sound files, all of one stem, which only feed remixes). Cuts of a solo source are made deeper and closer to the
    microphone, by amounts drawn between none and ``deeper_semitones`` and ``closer_db``.
    """

    name: str
    layout: Literal["musdb18", "musdb18-hq", "moisesdb", "folders", "solo"]
    path: str
    subset: Literal["", "train", "validation", "test", "all"] = ""
    weight: float = 1.0
    stem: str = ""
    missing: Literal["error", "silence"] = "error"
    aliases: dict[str, str] = field(default_factory=dict)
    sums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    deeper_semitones: float = 0.0
    closer_db: float = 0.0

    def __post_init__(self) -> None:
        require(
            bool(self.name) and self.name == Path(self.name).name and not self.name.startswith("."),
            f"name is {self.name!r}; it must be usable as a folder name",
        )
        require(math.isfinite(self.weight) and self.weight >= 0, f"weight is {self.weight}; it must not be negative")
        require(
            (self.layout == "solo") == bool(self.stem),
            f"source {self.name!r}: stem is {self.stem!r}; a solo source names its stem, the others do not",
        )
        subsets = _SUBSETS.get(self.layout, ("",))
        require(
            self.subset in subsets,
            f"source {self.name!r}: subset is {self.subset!r}; allowed with layout "
            f"{self.layout!r}: {', '.join(map(repr, subsets))}",
        )
        for name, members in self.sums.items():
            require(
                len(set(members)) == len(members) >= 2,
                f"sums.{name} is {members!r}; two or more different stems are needed",
            )
        for name, most in {"deeper_semitones": 12, "closer_db": 40}.items():
            value = getattr(self, name)
            require(0 <= value <= most, f"{name} is {value}; allowed are 0 to {most}")
            require(
                value == 0 or self.layout == "solo",
                f"source {self.name!r}: {name} is {value}; only solo sources can be changed so",
            )


@dataclass(frozen=True)
class MixingConfig:
    """How training mixtures are put together; the defaults are the paper's."""

    remix: float = 0.5
    gain: tuple[float, ...] = (0.75, 1.25)
    active_db: float = -60.0
    anywhere: float = 1.0
    draw: Literal["uniform", "sqrt", "length"] = "uniform"
    solo: float = 0.0
    double: float = 0.0
    drop: float = 0.0
    alone: float = 0.0
    loudness_match: float = 0.0
    loudness_jitter_db: float = 3.0

    def __post_init__(self) -> None:
        for name in ("remix", "anywhere", "solo", "double", "drop", "alone", "loudness_match"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; a share lies between 0 and 1")
        require(
            len(self.gain) == 2 and 0 < self.gain[0] <= self.gain[1],
            f"gain is {self.gain!r}; give the least and the greatest factor",
        )
        require(
            0 <= self.loudness_jitter_db < math.inf,
            f"loudness_jitter_db is {self.loudness_jitter_db}; it must not be negative",
        )


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of a stem's sound in training; everything is off at first. A ``*_share`` is how often it happens."""

    swap_share: float = 0.5
    speed_share: float = 0.0
    speed: float = 0.1
    pitch_share: float = 0.0
    pitch_semitones: float = 2.0
    gain_db: float = 0.0
    polarity_share: float = 0.0
    eq_share: float = 0.0
    eq_db: float = 6.0
    reverb_share: float = 0.0
    reverb_s: float = 0.6
    clip_share: float = 0.0
    clip_db: float = 12.0
    pan_share: float = 0.0
    mono_share: float = 0.0

    def __post_init__(self) -> None:
        for name in (name for name in vars(self) if name.endswith("_share")):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; a share lies between 0 and 1")
        limits = {"speed": 0.5, "pitch_semitones": 12, "gain_db": 40, "eq_db": 40, "reverb_s": 5, "clip_db": 40}
        for name, most in limits.items():
            require(0 <= getattr(self, name) <= most, f"{name} is {getattr(self, name)}; allowed are 0 to {most}")


@dataclass(frozen=True)
class DataConfig:
    """Where training recordings are and how examples are drawn from them.

    ``root`` and ``prepared`` may hold ``~`` and ``$VARIABLES``; what is not absolute is taken relative to the folder of
    the config file (see `resolved`).
    """

    sources: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    root: str = "."
    prepared: str = "prepared"
    seed: int = 0
    segment_s: float | None = None
    workers: int = 1
    prefetch: int = 4
    mixing: MixingConfig = field(default_factory=MixingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        require(len(self.sources) >= 1, "sources is empty; at least one [[data.sources]] is needed")
        names = [source.name for source in self.sources + self.validation]
        for name in names:
            require(
                names.count(name) == 1,
                f"two sources are named {name!r}; every source and validation set needs its own name",
            )
        require(
            any(source.layout != "solo" and source.weight > 0 for source in self.sources),
            "every source is solo or has weight 0; at least one with whole songs is needed",
        )
        require(all(source.layout != "solo" for source in self.validation), "a solo source cannot validate")
        require(
            self.segment_s is None or 0 < self.segment_s < math.inf,
            f"segment_s is {self.segment_s}; it must be positive",
        )
        require(self.workers >= 0, f"workers is {self.workers}; 0 or more are allowed")
        require(self.prefetch >= 1, f"prefetch is {self.prefetch}; at least 1 is needed")
        require(self.seed >= 0, f"seed is {self.seed}; it must not be negative")

    def resolved(self, base: Path) -> Self:
        """The same settings with absolute folders; `base` is the folder of the config file.

        ``root`` may stay open, with a variable that is not set: only what reads the recordings themselves needs it.

        Raises:
            ConfigError: ``prepared`` names an environment variable that is not set.
        """
        prepared = _absolute(self.prepared, base)
        require("$" not in prepared, f"data.prepared is {self.prepared!r}, and that environment variable is not set")
        return dataclasses.replace(self, root=_absolute(self.root, base), prepared=prepared)

    def recordings(self) -> Path:
        """The folder that the sources' paths are relative to.

        Raises:
            ConfigError: ``root`` names an environment variable that is not set.
        """
        require(
            "$" not in self.root,
            f"data.root is {self.root!r}, and that environment variable is not set; set it, or --set data.root=FOLDER",
        )
        return Path(self.root)


def _absolute(path: str, base: Path) -> str:
    """`path` without ``~`` and variables, relative to `base`; unchanged while a variable is not set."""
    expanded = os.path.expandvars(path)
    return path if "$" in expanded else str((base / Path(expanded).expanduser()).resolve())
