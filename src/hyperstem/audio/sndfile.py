"""Reading with soundfile (libsndfile): wav, aiff, flac, ogg, opus."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

import numpy as np
import soundfile

from hyperstem.audio.damage import Findings
from hyperstem.audio.lengths import flac_goes_on
from hyperstem.audio.parts import Part
from hyperstem.audio.pyav import AvSource
from hyperstem.audio.samples import planar
from hyperstem.audio.source import AudioInfo, seconds
from hyperstem.errors import AudioError

_UNKNOWN_FRAMES = 1 << 48
"""Headers that do not give the length have at least this number."""
_DECODED = ("flac", "ogg")
"""Formats for which libsndfile may return less than the file has."""


class UnreadableError(Exception):
    """libsndfile does not support the file; PyAV may."""


class SoundFileSource:
    """A file open in libsndfile."""

    def __init__(self, path: Path, findings: Findings, part: Part) -> None:
        self._path, self.findings, self._part = path, findings, part
        self._view = view = part.open(path)
        try:
            self._file = soundfile.SoundFile(str(path) if view is None else cast(BinaryIO, view))
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            if view is not None:
                view.close()
            raise UnreadableError(str(error)) from None
        self._position = 0
        file = self._file
        if file.subtype.startswith("MPEG"):
            self.close()
            raise UnreadableError("its length is an estimate")
        if file.frames >= _UNKNOWN_FRAMES or (file.format == "FLAC" and flac_goes_on(path, part, file.frames)):
            self.close()
            raise UnreadableError("its header does not say how long it is")
        frames = file.frames + math.ceil(part.missing * file.frames)
        self.info = AudioInfo(
            file.samplerate,
            file.channels,
            frames,
            seconds(frames, file.samplerate),
            {},
            file.format.lower(),
        )

    @property
    def channels(self) -> int:
        """Channels of the sound."""
        return self.info.channels

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read."""
        try:
            self._file.seek(min(frame, self._file.frames))
        except soundfile.LibsndfileError:
            raise AudioError(f"{self._path}: no sound at {frame / self.info.rate_hz:.2f} s") from None
        self._position = frame

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks to the end; where libsndfile fails, PyAV continues."""
        try:
            while len(block := self._file.read(frames, dtype="float32", always_2d=True)):  # (time, channel)
                self._position += len(block)
                yield planar(block)
        except soundfile.LibsndfileError:
            yield from self._rest(frames)
            return
        promised = self.info.frames
        if promised is None or self._position >= promised:
            return
        if self.info.format in _DECODED:
            yield from self._rest(frames)
        else:
            self.findings.short(self._position / self.info.rate_hz, promised / self.info.rate_hz)

    def _rest(self, frames: int) -> Iterator[np.ndarray]:
        with AvSource(self._path, None, self.findings, self._part) as source:
            source.seek(self._position)
            yield from source.blocks(frames)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._view is not None:
            self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
