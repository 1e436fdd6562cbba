"""Where recordings are, and how training examples are made from them."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from hyperstem import extensions
from hyperstem.config.limits import Count, Limits, NotNegative, Positive, Share, Whole
from hyperstem.config.reading import Checked, require
from hyperstem.extensions import require_known
from hyperstem.files import user_path

LAYOUTS = ("musdb18", "musdb18-hq", "moisesdb", "folders", "solo")
_HALVES = ("", "train", "test", "all")
_SUBSETS = {"folders": _HALVES, "musdb18": (*_HALVES, "validation"), "musdb18-hq": (*_HALVES, "validation")}
"""Layouts that have subsets."""


@dataclass(frozen=True)
class SourceConfig(Checked):
    """A folder of recordings."""

    name: str
    """Usable as a folder name."""
    layout: str
    """``musdb18`` (train/ and test/ with ``*.stem.mp4``), ``musdb18-hq`` (train/ and test/ with a folder of wav files
    per song), ``moisesdb`` (a folder per song with data.json), ``folders`` (``<song>/<stem>.<suffix>``), ``solo``
    (audio files of one stem, used only in remixes), or a layout of an extension (`hyperstem.extensions`)."""
    path: str
    """The folder, relative to `DataConfig.root`."""
    subset: Literal["", "train", "validation", "test", "all"] = ""
    weight: NotNegative = 1.0
    """How often the source is drawn, relative to the others."""
    stem: str = ""
    """The stem of a solo source."""
    missing: Literal["error", "silence"] = "error"
    """Whether a missing stem file is an error or a silent stem."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Stem of each named file; "" leaves the file out."""
    sums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Stems whose sum a named file is."""
    exclude: tuple[str, ...] = ()
    """Songs to leave out."""
    deeper_semitones: Annotated[float, Limits(0, 12)] = 0.0
    """Largest pitch reduction of a solo source's crops, by slower playback, to simulate deeper voices."""
    closer_db: Annotated[float, Limits(0, 40)] = 0.0
    """Largest bass boost of a solo source's crops, to simulate the proximity effect."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.name) and self.name == Path(self.name).name and not self.name.startswith("."),
            f"name is {self.name!r}; it must be usable as a folder name",
        )
        require(
            (self.layout == "solo") == bool(self.stem),
            f"source {self.name!r}: stem is {self.stem!r}; solo sources need one, other sources must have none",
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
                f"source {self.name!r}: {name} is {value}; it must be 0, except for solo sources",
            )


@dataclass(frozen=True)
class MixingConfig(Checked):
    """How stems are combined to training mixtures; the defaults are the paper's."""

    remix: Share = 0.5
    """Share of examples whose stems come from different songs."""
    gain: Annotated[tuple[float, ...], Limits(above=0)] = (0.75, 1.25)
    """Smallest and largest factor on a stem."""
    active_db: float = -60.0
    """Level relative to the mixture below which a stem counts as silent and is not scored."""
    anywhere: Share = 1.0
    """Share of crops from any position; the others are from positions where the stem is active."""
    draw: Literal["uniform", "sqrt", "length"] = "uniform"
    """Likelihood of the tracks of a source: equal, or in proportion to the square root of their length, or to it."""
    solo: Share = 0.0
    """Share of a remix's stems that come from solo sources, for stems that have some."""
    double: Share = 0.0
    """Share of a remix's stems that are a mix of two recordings."""
    drop: Share = 0.0
    """Share of stems that are removed; never all of an example."""
    alone: Share = 0.0
    """Share of examples that keep only one or two stems."""
    loudness_match: Share = 0.0
    """Share of remixes whose stems get the levels of one song's stems."""
    loudness_jitter_db: NotNegative = 3.0
    """Largest deviation from these levels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.gain) == 2 and self.gain[0] <= self.gain[1],
            f"gain is {self.gain!r}; expected are the smallest and the largest factor",
        )


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """Augmentation of training stems; a ``*_share`` is how often one is applied.

    By default, only the two channels are swapped, half of the time.
    """

    swap_share: Share = 0.5
    speed_share: Share = 0.0
    speed: Annotated[float, Limits(0, 0.5)] = 0.1
    """Largest change of speed, and so of pitch; 0.1 is 10 %."""
    gain_db: Annotated[float, Limits(0, 40)] = 0.0
    """Largest change of a stem's level, up or down."""
    polarity_share: Share = 0.0
    """How often the waveform is inverted."""
    eq_share: Share = 0.0
    eq_db: Annotated[float, Limits(0, 40)] = 6.0
    """Largest boost or cut of a band."""
    reverb_share: Share = 0.0
    reverb_s: Annotated[float, Limits(0, 5)] = 0.6
    """Longest reverberation time."""
    clip_share: Share = 0.0
    clip_db: Annotated[float, Limits(0, 40)] = 12.0
    """Largest reduction of peaks by clipping."""
    pan_share: Share = 0.0
    mono_share: Share = 0.0


@dataclass(frozen=True)
class DataConfig(Checked):
    """Where training recordings are, and how training examples are made from them.

    ``root`` and ``prepared`` may contain ``~`` and ``$VARIABLES``; relative paths are relative to the folder of the
    config file (see `resolved`).
    """

    sources: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    """Songs that are scored during training, and never used as examples."""
    root: str = "."
    """Folder to which the sources' paths are relative."""
    prepared: str = "prepared"
    """Folder of the decoded recordings that training reads."""
    seed: Whole = 0
    segment_s: Positive | None = None
    """Length of an example; None means the model's."""
    workers: Whole = 1
    """Processes that prepare batches; 0 means the training process."""
    prefetch: Count = 4
    """Batches that each worker prepares ahead."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.sources) >= 1, "sources is empty; at least one [[data.sources]] is needed")
        names = [source.name for source in self.sources + self.validation]
        for name in names:
            require(names.count(name) == 1, f"two sources are named {name!r}; every source needs its own name")
        require(
            any(source.layout != "solo" and source.weight > 0 for source in self.sources),
            "every source is solo or has weight 0; at least one with whole songs is needed",
        )
        require(
            all(source.layout != "solo" for source in self.validation), "a solo source cannot be used for validation"
        )

    def resolved(self, base: Path) -> Self:
        """The same settings with absolute folders; `base` is the folder of the config file.

        ``root`` is unchanged if it names a variable that is not set: only `recordings` needs it.

        Raises:
            ConfigError: ``prepared`` names an environment variable that is not set.
        """
        prepared = _absolute(self.prepared, base)
        require("$" not in prepared, f"data.prepared is {self.prepared!r}, but that environment variable is not set")
        return dataclasses.replace(self, root=_absolute(self.root, base), prepared=prepared)

    def recordings(self) -> Path:
        """The folder to which the sources' paths are relative.

        Raises:
            ConfigError: ``root`` names an environment variable that is not set.
        """
        require(
            "$" not in self.root,
            f"data.root is {self.root!r}, but that environment variable is not set; set it, or --set data.root=FOLDER",
        )
        return Path(self.root)


def _absolute(path: str, base: Path) -> str:
    """`path` as an absolute path, with ``~`` and variables replaced; unchanged if a variable is not set."""
    expanded = os.path.expandvars(path)
    return path if "$" in expanded else str((base / user_path(expanded)).resolve())
