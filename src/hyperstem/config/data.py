"""Where recordings are, and how examples are drawn from them."""

import dataclasses
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from hyperstem.config.reading import require

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
