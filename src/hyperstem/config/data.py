"""Where recordings are, and how examples are drawn from them."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from hyperstem import extensions
from hyperstem.config.limits import Count, Limits, NotNegative, Positive, Share, Whole
from hyperstem.config.reading import Checked, require
from hyperstem.extensions import require_known

LAYOUTS = ("musdb18", "musdb18-hq", "moisesdb", "folders", "solo")
_HALVES = ("", "train", "test", "all")
_SUBSETS = {"folders": _HALVES, "musdb18": (*_HALVES, "validation"), "musdb18-hq": (*_HALVES, "validation")}
"""Layouts that have subsets."""


@dataclass(frozen=True)
class SourceConfig(Checked):
    """One place that recordings come from."""

    name: str
    """Usable as a folder name."""
    layout: str
    """``musdb18`` (train/ and test/ with ``*.stem.mp4``), ``musdb18-hq`` (train/ and test/ with a folder of wav files a
    song), ``moisesdb`` (a folder a song with data.json), ``folders`` (``<song>/<stem>.<suffix>``) or ``solo`` (any
    sound files, all of one stem, which only feed remixes), or a layout that somebody added (`hyperstem.extensions`)."""
    path: str
    """Folder, relative to `DataConfig.root`."""
    subset: Literal["", "train", "validation", "test", "all"] = ""
    weight: NotNegative = 1.0
    """How often the source is drawn from, relative to the others."""
    stem: str = ""
    """Which stem a solo source holds."""
    missing: Literal["error", "silence"] = "error"
    """What a stem without a file is taken for."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Name of a file -> the stem that it belongs to; "" leaves the file out."""
    sums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a file -> the stems that it holds together."""
    exclude: tuple[str, ...] = ()
    """Songs that are left out."""
    deeper_semitones: Annotated[float, Limits(0, 12)] = 0.0
    """Excerpts of a solo source are slowed down and so deepened by up to this, to stand for deeper voices."""
    closer_db: Annotated[float, Limits(0, 40)] = 0.0
    """The proximity effect: bass of a solo source's excerpts is raised by up to this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.name) and self.name == Path(self.name).name and not self.name.startswith("."),
            f"name is {self.name!r}; it must be usable as a folder name",
        )
        require(
            (self.layout == "solo") == bool(self.stem),
            f"source {self.name!r}: stem is {self.stem!r}; a solo source names its stem, the others do not",
        )
        require_known(self.layout, LAYOUTS, extensions.LAYOUTS, "layout")
        subsets = _SUBSETS.get(self.layout, ("",) if self.layout in LAYOUTS else (*_HALVES, "validation"))
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
        for name in ("deeper_semitones", "closer_db"):
            value = getattr(self, name)
            require(
                value == 0 or self.layout == "solo",
                f"source {self.name!r}: {name} is {value}; only solo sources can be changed so",
            )


@dataclass(frozen=True)
class MixingConfig(Checked):
    """How training mixtures are put together; the defaults are the paper's."""

    remix: Share = 0.5
    """Share of examples whose stems come from different songs."""
    gain: Annotated[tuple[float, ...], Limits(above=0)] = (0.75, 1.25)
    """Least and greatest factor on a stem."""
    active_db: float = -60.0
    """Level relative to the mixture below which a stem counts as silent, and is not scored."""
    anywhere: Share = 1.0
    """Share of excerpts taken from any place; the others are taken where the stem sounds."""
    draw: Literal["uniform", "sqrt", "length"] = "uniform"
    """What a track's chance within its source grows with: nothing, the root of its length, or its length."""
    solo: Share = 0.0
    """Share of a remix's stems that come from solo sources, where the stem has any."""
    double: Share = 0.0
    """Share of a remix's stems that are two recordings mixed."""
    drop: Share = 0.0
    """Share of stems that are silenced; never all of an example."""
    alone: Share = 0.0
    """Share of examples of which only one or two stems are kept."""
    loudness_match: Share = 0.0
    """Share of remixes whose stems get the levels that the stems of one song have."""
    loudness_jitter_db: NotNegative = 3.0
    """Largest deviation from those levels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.gain) == 2 and self.gain[0] <= self.gain[1],
            f"gain is {self.gain!r}; give the least and the greatest factor",
        )


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """Changes of a stem's sound in training; a ``*_share`` is how often one happens.

    By default nothing is changed but the two channels, which are swapped half of the time.
    """

    swap_share: Share = 0.5
    speed_share: Share = 0.0
    speed: Annotated[float, Limits(0, 0.5)] = 0.1
    """Largest change of speed and with it of pitch; 0.1 is 10 %."""
    gain_db: Annotated[float, Limits(0, 40)] = 0.0
    """Largest change of a stem's level, up or down."""
    polarity_share: Share = 0.0
    """How often the sign of the waveform is turned."""
    eq_share: Share = 0.0
    eq_db: Annotated[float, Limits(0, 40)] = 6.0
    """Largest boost or cut of a band."""
    reverb_share: Share = 0.0
    reverb_s: Annotated[float, Limits(0, 5)] = 0.6
    """Longest reverberation time."""
    clip_share: Share = 0.0
    clip_db: Annotated[float, Limits(0, 40)] = 12.0
    """Most that peaks are clipped by."""
    pan_share: Share = 0.0
    mono_share: Share = 0.0


@dataclass(frozen=True)
class DataConfig(Checked):
    """Where training recordings are and how examples are drawn from them.

    ``root`` and ``prepared`` may hold ``~`` and ``$VARIABLES``; what is not absolute is taken relative to the folder of
    the config file (see `resolved`).
    """

    sources: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    """Songs that are scored during training, and never trained on."""
    root: str = "."
    """Folder that the sources' paths are relative to."""
    prepared: str = "prepared"
    """Folder of the copies that training reads."""
    seed: Whole = 0
    segment_s: Positive | None = None
    """Length of an example; None takes the model's."""
    workers: Whole = 1
    """Processes that read examples; 0 reads them in the training process."""
    prefetch: Count = 4
    """Batches that each worker reads ahead."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
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
