"""Statistics of the prepared sources: minutes per stem and source; and examples to listen to."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.config import DataConfig, SourceConfig
from hyperstem.data.library import PreparedTrack, load_source
from hyperstem.data.mixing import Example

PEAK = 0.9


class SourceStats(NamedTuple):
    """The size of one source."""

    name: str
    use: str
    """``train``, ``solo`` or ``validation``."""
    weight: float
    tracks: int
    minutes: float
    active_minutes: dict[str, float]
    """Minutes in which each stem is active; stems known only as a sum do not count."""


def source_stats(config: DataConfig, stems: Sequence[str], rate_hz: int) -> list[SourceStats]:
    """The sizes of all sources and validation sets, in the order of the config.

    Raises:
        DataError: a source is not prepared.
    """
    uses = [(source, "solo" if source.layout == "solo" else "train") for source in config.sources]
    uses += [(source, "validation") for source in config.validation]
    return [_stats(source, use, load_source(config, source, stems, rate_hz), stems) for source, use in uses]


def _stats(source: SourceConfig, use: str, tracks: Sequence[PreparedTrack], stems: Sequence[str]) -> SourceStats:
    active = {stem: sum(track.active_s(stem) for track in tracks if stem in track.single) / 60 for stem in stems}
    minutes = sum(track.frames / track.rate_hz for track in tracks) / 60
    return SourceStats(source.name, use, source.weight, len(tracks), minutes, active)


def total_stats(rows: Sequence[SourceStats], use: str) -> SourceStats:
    """The sum of the rows of one use."""
    rows = [row for row in rows if row.use == use]
    stems = rows[0].active_minutes if rows else {}
    return SourceStats(
        "all",
        use,
        sum(row.weight for row in rows),
        sum(row.tracks for row in rows),
        sum(row.minutes for row in rows),
        {stem: sum(row.active_minutes[stem] for row in rows) for stem in stems},
    )


def write_example(folder: Path, example: Example, stems: Sequence[str], rate_hz: int) -> None:
    """Writes mixture.wav and a WAV file per stem; one gain for all keeps the loudest below full scale."""
    folder.mkdir(parents=True, exist_ok=True)
    waves = dict(zip(stems, example.stems, strict=True)) | {"mixture": example.stems.sum(axis=0)}  # (channel, time)
    peak = max(float(np.abs(wave).max()) for wave in waves.values())
    for name, wave in waves.items():
        audio.write(folder / f"{name}.wav", wave * np.float32(min(1.0, PEAK / max(peak, 1e-9))), rate_hz)
