"""Audio files of a job: growing raw takes during separation, wav files when it is done.

A job's folder holds ``source<suffix>`` (the upload), ``takes/<take>/<lane>.s16`` (interleaved 16-bit samples, appended
during separation) with ``<lane>.peaks`` beside it, ``stems/<stem>.wav``, ``analysis.json``, and
``mixes/<key>/``. All these names are the studio's own, never the user's. A new kind of file must be added to
`hyperstem.web.jobs.disk` too, which deletes only the files it lists.
"""

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from hyperstem.audio.wav import find_samples
from hyperstem.web.sound.peaks import STEP, PeakBuilder, coarser

ORIGINAL = "original"
TAKES = "takes"
MIXES = "mixes"
"""Rendered downloads, each in a folder of its own."""
MANIFEST = "manifest.json"
ANALYSIS = "analysis.json"
STEMS = "stems"
PART = STEMS + ".part"
"""The stems' files until all are complete."""


class Sound(NamedTuple):
    """The location of a lane's 16-bit samples."""

    path: Path
    offset: int
    channels: int
    frames: int

    def read(self, start: int, frames: int) -> np.ndarray:
        """int16 (frame, channel) of that range, as far as it exists."""
        start = min(start, self.frames)
        count = max(0, min(frames, self.frames - start))
        samples = np.fromfile(self.path, "<i2", count * self.channels, offset=self.offset + start * 2 * self.channels)
        return samples.reshape(-1, self.channels)

    def mapped(self) -> np.ndarray:
        """int16 (frame, channel) of the whole lane, memory-mapped."""
        if not self.frames:
            return np.zeros((0, self.channels), np.int16)
        return np.memmap(self.path, "<i2", "r", self.offset, (self.frames, self.channels))


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float (channel, time), full scale 1, to int16 (time, channel), clipped."""
    return np.rint(np.clip(wave.T * 32768.0, -32768, 32767)).astype("<i2")


class TakeWriter:
    """Appends blocks to the raw lanes of one take, and computes their peaks."""

    def __init__(self, folder: Path, take: str) -> None:
        self._folder = folder / TAKES / take
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lanes: dict[str, tuple[BinaryIO, BinaryIO, PeakBuilder]] = {}
        self.frames = 0

    def add(self, block: dict[str, np.ndarray]) -> int:
        """Appends lane -> float32 (channel, time), and returns the number of frames written so far."""
        for lane, wave in block.items():
            if lane not in self._lanes:
                self._lanes[lane] = (self._open(f"{lane}.s16"), self._open(f"{lane}.peaks"), PeakBuilder())
            sound, peaks, builder = self._lanes[lane]
            samples = to_int16(wave)
            sound.write(samples.tobytes())
            peaks.write(builder.add(samples).tobytes())
        for sound, peaks, _ in self._lanes.values():
            sound.flush()
            peaks.flush()
        self.frames += next(iter(block.values())).shape[1]
        return self.frames

    def _open(self, name: str) -> BinaryIO:
        return (self._folder / name).open("wb")

    def close(self) -> None:
        """Writes the last peaks and closes the files."""
        for sound, peaks, builder in self._lanes.values():
            peaks.write(builder.finish().tobytes())
            sound.close()
            peaks.close()


def raw_sound(folder: Path, take: str, lane: str, channels: int) -> Sound:
    """A lane of a raw take, as far as it is on disk."""
    path = folder / TAKES / take / f"{lane}.s16"
    return Sound(path, 0, channels, path.stat().st_size // (2 * channels))


def wav_sound(path: Path) -> Sound:
    """The samples of a 16-bit wav file.

    Raises:
        AudioError: it is not 16-bit PCM wav.
    """
    return Sound(path, *find_samples(path))


def find_sound(folder: Path, take: str, lane: str, channels: int, final: str | None) -> Sound | None:
    """The lane's current samples, or None; those of the final take are in the stems' files."""
    if take == final and lane != ORIGINAL:
        path = folder / STEMS / f"{lane}.wav"
        return wav_sound(path) if path.exists() else None
    try:
        return raw_sound(folder, take, lane, channels)
    except FileNotFoundError:
        return None


def load_peaks(folder: Path, take: str, lane: str, step: int, start: int) -> np.ndarray:
    """The peaks of a lane from point `start` on, `step` frames per point (a multiple of 64): int8 (point, 2).

    A growing take has no incomplete last point.
    """
    factor = step // STEP
    path = folder / TAKES / take / f"{lane}.peaks"
    points = np.fromfile(path, np.int8, offset=min(start * factor * 2, path.stat().st_size)).reshape(-1, 2)
    return coarser(points, factor)
