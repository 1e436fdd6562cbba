"""Reading with soundfile (libsndfile): wav, aiff, flac, ogg, opus."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from hyperstem.audio import containers, ogg
from hyperstem.audio.samples import planar
from hyperstem.audio.source import AudioInfo, ends_early, seconds
from hyperstem.errors import AudioError

_TAGS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "date": "date",
    "tracknumber": "track",
    "genre": "genre",
    "comment": "comment",
    "copyright": "copyright",
}
_UNKNOWN_FRAMES = 1 << 60


class UnreadableError(Exception):
    """libsndfile does not know the file; PyAV may."""


class SoundFileSource:
    """A file open in libsndfile."""

    def __init__(self, path: Path, head: bytes) -> None:
        try:
            self._file = soundfile.SoundFile(str(path))
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise UnreadableError(str(error)) from None
        self._path = path
        self._position = 0
        file = self._file
        if head.startswith(b"OggS") and (file.channels > 2 or not ogg.ends_as_marked(path)):
            self.close()
            raise UnreadableError("its channels have another order, or its last page is not the one that is marked so")
        missing = math.ceil(containers.missing(path) * file.frames)
        frames = None if file.frames >= _UNKNOWN_FRAMES else file.frames + missing
        tags = {_TAGS[key]: value for key, value in file.copy_metadata().items() if key in _TAGS and value}
        self.info = AudioInfo(
            file.samplerate, file.channels, frames, seconds(frames, file.samplerate), tags, file.format.lower()
        )

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read."""
        try:
            self._file.seek(frame)
        except soundfile.LibsndfileError:
            raise AudioError(f"{self._path}: no sound at {frame / self.info.rate_hz:.2f} s") from None
        self._position = frame

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks to the end."""
        while len(block := self._read(frames)):  # (time, channel)
            self._position += len(block)
            yield planar(block)
        promised = self.info.frames
        if promised is not None and self._position < promised:
            raise ends_early(self._path, self._position, promised, self.info.rate_hz)

    def _read(self, frames: int) -> np.ndarray:
        try:
            return self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self._path} is damaged after {self._position / self.info.rate_hz:.2f} s: {error.error_string}"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
