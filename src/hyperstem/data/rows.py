"""The stems of a track as rows of samples: decoded at one rate, measured in blocks, written as 16 bits."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hyperstem import audio
from hyperstem.data.tracks import Part, Track
from hyperstem.dsp.resample import resample
from hyperstem.errors import DataError
from hyperstem.files import replacing

BLOCK_S = 0.5
"""Length of a block of the level index, in seconds."""
FLOOR_DB = -120
"""Level given to digital silence."""
SILENT_DB = -60
"""Blocks below this level, in dB of full scale, do not count as active."""


def decode(
    track: Track, stems: Sequence[str], rate_hz: int, strict: bool, damage: list[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decodes each stem of a track, as float32 (channel, time) at `rate_hz`, all of one length.

    Faults of the files are appended to `damage`.

    Returns:
        The rows by stem, and warnings.
    """
    rows, rates, warnings = {}, {}, []
    for stem in stems:
        for part in track.rows.get(stem, ()):
            wave, rates[part] = _read(part, strict, partial(_add_damage, damage, track, part))
            if len(set(rates.values())) > 1:
                other = next(known for known in rates if rates[known] != rates[part])
                raise DataError(
                    f"{part.path.name} has {rates[part]} Hz, {other.path.name} has {rates[other]} Hz; "
                    "the stems of a song must share one rate"
                )
            wave = resample(wave, rates[part], rate_hz)
            rows[stem] = _sum(rows[stem], wave) if stem in rows else wave
    lengths = {stem: wave.shape[-1] for stem, wave in rows.items()}
    shortest = min(lengths.values())
    if shortest < 1:
        raise DataError("a stem has no samples")
    if max(lengths.values()) - shortest > 1:
        warnings.append(
            f"{track.source}: {track.name}: stems of unequal length are cut to the shortest: "
            + ", ".join(f"{stem} {length / rate_hz:.3f} s" for stem, length in lengths.items())
        )
    if min(rates.values()) < rate_hz:
        warnings.append(
            f"{track.source}: {track.name}: recorded at {min(rates.values())} Hz, so nothing above "
            f"{min(rates.values()) // 2} Hz is learned from it"
        )
    return {stem: wave[:, :shortest] for stem, wave in rows.items()}, warnings


def _add_damage(damage: list[str], track: Track, part: Part, text: str) -> None:
    damage.append(f"{track.source}: {track.name}: {part.path.name} {text}")


def _read(part: Part, strict: bool, warn: audio.Warn) -> tuple[np.ndarray, int]:
    try:
        wave, rate_hz = audio.read(part.path, stream=part.stream, strict=strict, warn=warn)
    except FileNotFoundError:
        raise DataError(f"no file {part.path}") from None
    if wave.shape[0] > 2:
        raise DataError(f"{part.path.name} has {wave.shape[0]} channels; 1 or 2 are allowed")
    if not np.isfinite(wave).all():
        raise DataError(f"{part.path.name} contains values that are not finite")
    return wave, rate_hz


def _sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The sum of two waveforms (channel, time), as long as the longer one, stereo if one of them is."""
    total = np.zeros((max(len(first), len(second)), max(first.shape[1], second.shape[1])), np.float32)
    for wave in (first, second):
        total[:, : wave.shape[1]] += wave
    return total


def measure(rows: dict[str, np.ndarray], stems: Sequence[str], rate_hz: int) -> dict[str, Any]:
    """A track's length and, per stem, scale, level of each block and level where active, for the manifest."""
    wave = next(iter(rows.values()))
    result: dict[str, Any] = {
        "frames": wave.shape[-1],
        "channels": max(len(row) for row in rows.values()),
        "scales": {},
        "level_db": {},
        "blocks_db": {},
    }
    for stem in stems:
        row = rows.get(stem, np.zeros((1, wave.shape[-1]), np.float32))
        powers = _block_powers(row, rate_hz)
        blocks_db = np.maximum(np.round(10 * np.log10(powers + 1e-30)), FLOOR_DB).astype(int)
        active = powers[blocks_db > SILENT_DB]
        result["scales"][stem] = float(np.abs(row).max()) / 32767
        result["level_db"][stem] = round(float(10 * np.log10(active.mean())), 2) if len(active) else FLOOR_DB
        result["blocks_db"][stem] = blocks_db.tolist()
    return result


def _block_powers(row: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean square of each block of (channel, time): (block,) float64; the last block may be shorter."""
    block = round(BLOCK_S * rate_hz)
    starts = np.arange(0, row.shape[-1], block)
    sums = np.add.reduceat(np.square(row, dtype=np.float64).mean(axis=0), starts)
    return sums / np.diff(np.append(starts, row.shape[-1]))


def write_rows(target: Path, rows: dict[str, np.ndarray], stems: Sequence[str], entry: dict[str, Any]) -> None:
    """Writes int16 (row, time, channel); each row uses the full range, and the entry has its scale."""
    shape = (len(entry["stems"]), entry["frames"], entry["channels"])
    with replacing(target) as partial:
        result = np.lib.format.open_memmap(partial, mode="w+", dtype=np.int16, shape=shape)
        for i, stem in enumerate(entry["stems"]):
            scale = np.float32(entry["scales"][stem])
            if stem in rows and scale > 0:
                result[i] = np.round(rows[stem].T / scale).astype(np.int16)  # mono is broadcast to both channels
        result.flush()
        del result
