"""Reading with PyAV (FFmpeg): every other container and codec, and sound streams beyond the first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.audio.frame import format_dtypes

from hyperstem.audio import containers, ogg
from hyperstem.audio.source import AudioInfo, ends_early, seconds
from hyperstem.errors import AudioError

_TAGS = ("title", "artist", "album", "date", "track", "genre", "comment", "copyright")
_TIMED = {"mov", "matroska", "asf", "flac", "wv", "ape", "tta"}
"""Containers whose header holds the duration, not an estimate of it."""
_TIMED_AS_ONE = {"matroska", "asf"}
"""Those of them with one duration for all streams, such as the pictures of a video."""
_LATE_SAMPLES = {"mp3": 1152, "mov": 4096}
_LATE_S = 0.25
"""A file that ends this much before its header says so is cut short; where headers count samples, less will do."""


class AvSource:
    """One sound stream of a file open in FFmpeg."""

    def __init__(self, path: Path, stream: int) -> None:
        try:
            self._container = av.open(str(path), metadata_errors="replace")
        except av.error.FFmpegError as error:
            if isinstance(error, av.error.FileNotFoundError | av.error.PermissionError):
                raise
            raise AudioError(f"{path} is no audio file that can be decoded ({error.strerror})") from None
        self._path = path
        try:
            self._start(stream)
        except BaseException:
            self.close()
            raise

    def _start(self, stream: int) -> None:
        self.streams = len(self._container.streams.audio)
        if self.streams == 0:
            raise AudioError(f"{self._path} has no sound")
        if not 0 <= stream < self.streams:
            raise AudioError(f"{self._path} has no sound stream {stream}; it has {self.streams}, counted from 0")
        self._stream = self._container.streams.audio[stream]
        context = self._stream.codec_context
        if context is None or not context.sample_rate or not context.channels:
            raise AudioError(f"{self._path}: the sound's codec is unknown or its header is damaged")
        self._format = self._container.format.name.split(",")[0]
        rate_hz = context.sample_rate
        self._promised = self._length(rate_hz)
        exact = self._format in ("mov", "flac", "mp3")
        duration_s = seconds(self._promised, rate_hz)
        if duration_s is None and self._container.duration:
            duration_s = self._container.duration / av.time_base
        metadata = {key.lower(): value for key, value in {**self._stream.metadata, **self._container.metadata}.items()}
        tags = {key: metadata[key] for key in _TAGS if metadata.get(key)}
        frames = self._promised if exact else None
        self.info = AudioInfo(rate_hz, context.channels, frames, duration_s, tags, self._format)
        self._skip = 0

    def _length(self, rate_hz: int) -> int | None:
        """Samples by the stream's header."""
        stream = self._stream
        if self._format not in _TIMED and not (self._format == "mp3" and containers.mp3_counted(self._path)):
            return None
        if self._format in _TIMED_AS_ONE:
            end_s = self._end_s()
            return None if end_s is None else round((end_s - _start_s(stream)) * rate_hz)
        if stream.duration is not None and stream.time_base is not None:
            return round(stream.duration * stream.time_base * rate_hz)
        if self._container.duration:
            return round(self._container.duration * rate_hz / av.time_base)
        return None

    def _end_s(self) -> float | None:
        """Where the sound ends on the clock of all streams: by its own tag, or with the container if it is alone."""
        tagged = _clock_s(self._stream.metadata.get("DURATION", ""))
        if tagged is None and len(self._container.streams) == 1 and self._container.duration:
            return self._container.duration / av.time_base
        return tagged

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read: decoded from the start and dropped, since few codecs seek to the sample."""
        self._skip = frame

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks to the end."""
        held: list[np.ndarray] = []
        count, skip = 0, self._skip
        for wave in self._waves():
            if skip:
                dropped = min(skip, wave.shape[1])
                wave, skip = wave[:, dropped:], skip - dropped
            held.append(wave)
            count += wave.shape[1]
            if count >= frames:
                yield np.concatenate(held, axis=1)
                held, count = [], 0
        if count:
            yield np.concatenate(held, axis=1)

    def _waves(self) -> Iterator[np.ndarray]:
        """One (channel, time) array per decoded frame, cut where the container says that the sound ends."""
        rate_hz, channels = self.info.rate_hz, self.info.channels
        position = 0
        for frame, end in self._frames():
            if frame.sample_rate != rate_hz or frame.layout.nb_channels != channels:
                raise AudioError(
                    f"{self._path} changes from {rate_hz} Hz, {channels} channels to {frame.sample_rate} Hz, "
                    f"{frame.layout.nb_channels} channels at {position / rate_hz:.2f} s"
                )
            wave = _to_float(frame)
            if self._format == "mov":
                wave = wave[:, : max(0, self._audible_end(end, position + wave.shape[1]) - position)]
            position += wave.shape[1]
            yield wave
        late = _LATE_SAMPLES.get(self._format, _LATE_S * rate_hz)
        cut_short = self._format == "ogg" and not ogg.ends(self._path)
        if cut_short or (self._promised is not None and position < self._promised - late):
            raise ends_early(self._path, position, self._promised, rate_hz)

    def _frames(self) -> Iterator[tuple[av.AudioFrame, int | None]]:
        """Decoded frames, each with the sample at which its packet says that it ends."""
        first = end = None
        timed = self._format == "mov"
        tick = (self._stream.time_base or 0) * self.info.rate_hz  # samples
        decoded = samples = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    if decoded:
                        raise
                    continue  # streams cut out of a longer one begin with what cannot be decoded
                decoded += len(frames)
                if frames and first is None:
                    first = frames[0].pts
                if timed and packet.pts is not None and packet.duration and first is not None:
                    end = round((packet.pts + packet.duration - first) * tick)
                for frame in frames:
                    samples += frame.samples
                    yield frame, end
        except av.error.FFmpegError as error:
            raise AudioError(
                f"{self._path} is damaged after {samples / self.info.rate_hz:.2f} s: {error.strerror}"
            ) from None

    def _audible_end(self, packet_end: int | None, decoded_end: int) -> int:
        """Where the sound of an MP4 frame ends, before the encoder's padding.

        The last packet's duration and the edit list both tell. Many writers round the edit list to milliseconds; then
        the packet's duration is the better one.
        """
        rate_hz = self.info.rate_hz
        end = decoded_end if packet_end is None else min(decoded_end, packet_end)
        if self._promised is None or end <= self._promised:
            return end
        rounded = round(round(self._promised * 1000 / rate_hz) * rate_hz / 1000) == self._promised
        return end if rounded and (end - self._promised) * 1000 <= rate_hz else self._promised

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start_s(stream: av.AudioStream) -> float:
    """Where the stream begins on the clock of all streams."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _clock_s(text: str) -> float | None:
    """Seconds of a Matroska tag, "00:03:25.120000000"; None if it is none."""
    try:
        hours, minutes, seconds_ = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds_)
    except ValueError:
        return None


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    """The frame as (channel, time) float32 with full scale 1."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar:
        kind = format_dtypes[frame.format.name]
        planes = frame.planes[:channels]  # of eight, PyAV takes what stands in memory after them for a ninth
        array = np.stack([np.frombuffer(memoryview(plane), kind, frame.samples) for plane in planes])
    else:
        array = frame.to_ndarray().reshape(-1, channels).T
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype.kind == "i":
        return array.astype(np.float32) / np.float32(2 ** (8 * array.dtype.itemsize - 1))
    return array.astype(np.float32, copy=False)
