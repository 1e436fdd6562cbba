"""Writing: a file appears, complete and under its name, when it is closed, or not at all."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import numpy as np

from hyperstem.audio import stem_box
from hyperstem.audio.convert import with_channels
from hyperstem.audio.formats import Format, format_of, named_format
from hyperstem.audio.tags import Tags, write_tags
from hyperstem.errors import AudioError
from hyperstem.files import temporary_beside

_STEM_CHANNELS = 2


class Encoder(Protocol):
    """Encodes waves into an open file."""

    def write(self, *waves: np.ndarray) -> None:
        """Appends samples."""

    def finish(self) -> None:
        """Writes the remaining samples; the file stays open."""

    def abandon(self) -> None:
        """Stops early; the file will be deleted."""


class _AtomicWriter:
    """Writes under a temporary name; `close` renames the file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.frames = 0
        self.temporary = temporary_beside(self.path)
        self._file: BinaryIO | None = self.temporary.open("w+b", buffering=1 << 18)
        self._encoder: Encoder | None = None
        try:
            self._encoder = self._start(self._file)
        except BaseException:
            self.abort()
            raise

    def _start(self, file: BinaryIO) -> Encoder:
        raise NotImplementedError

    def _label(self) -> None:
        """Adds metadata to the finished file, under its temporary name."""
        raise NotImplementedError

    def finish(self) -> None:
        """Completes the file under its temporary name; no more can be written."""
        if self._file is None or self._file.closed:
            return
        try:
            if self._encoder is not None:
                self._encoder.finish()
            self._file.close()
            self._label()
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Finishes the file and renames it to its final name."""
        if self._file is None:
            return
        self.finish()
        try:
            self.temporary.replace(self.path)
        except BaseException:
            self.abort()
            raise
        self._file = None

    def abort(self) -> None:
        """Deletes everything written, unless `close` has been called."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if self._encoder is not None and not file.closed:
            self._encoder.abandon()
        with contextlib.suppress(OSError, ValueError):
            file.close()
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Writer(_AtomicWriter):
    """Writes one sound, block by block.

    Args:
        path: where the file appears at `close`; its folder must exist.
        rate_hz: sample rate.
        channels: of every block.
        subtype: "pcm16", "pcm24" or "float", for lossless formats.
        tags: title, artist, ... as `AudioInfo.tags`, or those of `read_tags`.
        format: by default the path's extension decides.
        bitrate: bits per second of lossy formats; None uses the format's default.

    Raises:
        ConfigError: the format does not support this bit rate.
        AudioError: the format does not support the rate, channels or subtype.
    """

    def __init__(
        self,
        path: str | Path,
        rate_hz: int,
        channels: int,
        *,
        subtype: str = "pcm16",
        tags: Mapping[str, str] | Tags | None = None,
        format: Format | None = None,
        bitrate: int | None = None,
    ) -> None:
        self.format = format or format_of(Path(path))
        if self.format.multitrack:
            raise AudioError(f"{path}: a {self.format.name} holds several sounds; use MultitrackWriter")
        self.format.check(rate_hz, channels, subtype)
        if bitrate is not None:
            self.format.check_bitrate(bitrate)
        self.rate_hz, self.channels, self.subtype, self._bitrate = rate_hz, channels, subtype, bitrate
        self._tags = Tags.of(tags)
        super().__init__(path)

    def _start(self, file: BinaryIO) -> Encoder:
        name, size = self.format.name, (self.rate_hz, self.channels)
        if name == "wav":
            from hyperstem.audio.wav import WavEncoder

            return WavEncoder(file, *size, self.subtype, self._tags)
        from hyperstem.audio.encoders import AvEncoder, SoundFileEncoder

        if name in ("flac", "ogg"):
            return SoundFileEncoder(file, name, *size, self.subtype, self._bitrate)
        return AvEncoder(file, name, *size, bitrate=self._bitrate)

    def _label(self) -> None:
        write_tags(self.temporary, self.format.name, self._tags)

    def write(self, wave: np.ndarray) -> None:
        """Appends (channel, time): float with full scale 1, or, for pcm16 and pcm24, whole steps as integers."""
        if wave.ndim != 2 or wave.shape[0] != self.channels:
            raise AudioError(f"{self.path}: a block of shape {wave.shape}; expected ({self.channels}, time)")
        assert self._encoder is not None
        self._encoder.write(wave)
        self.frames += wave.shape[1]


class MultitrackWriter(_AtomicWriter):
    """Writes a stem.mp4: the mixture and every stem, one sound stream each, in stereo, as DJ programs expect.

    Args:
        path: where the file appears at `close`; its folder must exist.
        rate_hz: sample rate.
        channels: of every sound, 1 or 2; mono goes to both sides.
        tracks: names of the sounds; the first is the mixture.
        tags: title, artist, ... as `AudioInfo.tags`, or those of `read_tags`.
        bitrate: bits per second of each sound; None uses the format's default.
    """

    def __init__(
        self,
        path: str | Path,
        rate_hz: int,
        channels: int,
        tracks: Sequence[str],
        tags: Mapping[str, str] | Tags | None = None,
        bitrate: int | None = None,
    ) -> None:
        self.format = named_format("stem.mp4")
        self.format.check(rate_hz, channels, "")
        self.rate_hz, self.channels, self.tracks = rate_hz, channels, tuple(tracks)
        self._tags, self._bitrate = Tags.of(tags), bitrate
        super().__init__(path)

    def _start(self, file: BinaryIO) -> Encoder:
        from hyperstem.audio.encoders import AvEncoder

        size = (self.rate_hz, _STEM_CHANNELS)
        return AvEncoder(file, self.format.name, *size, self.tracks, self._bitrate)

    def _label(self) -> None:
        write_tags(self.temporary, self.format.name, self._tags)
        stem_box.write(self.temporary, self.tracks[1:])

    def write(self, waves: Sequence[np.ndarray]) -> None:
        """Appends one (channel, time) float array per track, all of the same length."""
        assert self._encoder is not None
        self._encoder.write(*(with_channels(wave, _STEM_CHANNELS) for wave in waves))
        self.frames += waves[0].shape[1]


def write(
    path: str | Path,
    wave: np.ndarray,
    rate_hz: int,
    *,
    subtype: str = "pcm16",
    tags: Mapping[str, str] | Tags | None = None,
) -> None:
    """Writes a whole sound; the path's extension determines the format.

    Args:
        path: the file; it appears complete or not at all.
        wave: (channel, time) float with full scale 1; fixed-point formats clamp larger values.
        rate_hz: its sample rate.
        subtype: "pcm16", "pcm24" or "float", for lossless formats.
        tags: title, artist, ... as `AudioInfo.tags`, or those of `read_tags`.

    Raises:
        AudioError: the format does not support the rate, channels or subtype.
        OSError: the file cannot be written.
    """
    wave = np.atleast_2d(np.asarray(wave))
    with Writer(path, rate_hz, wave.shape[0], subtype=subtype, tags=tags) as writer:
        writer.write(wave)
