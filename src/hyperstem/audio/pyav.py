"""Reading with PyAV (FFmpeg): every other container and codec, and sound streams beyond the first."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self, cast

import av
import numpy as np
from av.audio.frame import format_dtypes

from hyperstem.audio.convert import Converter
from hyperstem.audio.damage import Findings
from hyperstem.audio.lengths import TIMED_AS_ONE, opened, promised
from hyperstem.audio.mpeg import Hole
from hyperstem.audio.parts import Part
from hyperstem.audio.reasons import in_words
from hyperstem.audio.source import AudioInfo, seconds
from hyperstem.audio.streams import Choice, chosen
from hyperstem.audio.timeline import Gap, Timeline
from hyperstem.errors import AudioError

_LATE_SAMPLES = {"mp3": 1152, "mov": 4096, "flac": 0, "wv": 0, "tta": 0, "avi": 4096}
_LATE_S = 0.25
"""A file that ends this much earlier than its header says is cut short; exact headers allow less."""
_SOON_S = 1e-4
_RETRIES = 32
"""After this many errors in a row, reading stops."""
_SILENCE_FRAMES = 1 << 16


class AvSource:
    """One sound stream of a file open in FFmpeg."""

    def __init__(self, path: Path, choice: Choice, findings: Findings, part: Part) -> None:
        self._path, self.findings, self._part = path, findings, part
        self._view = part.open(path)
        try:
            self._container = opened(self._view or str(path), part.format)
        except av.error.FFmpegError as error:
            if isinstance(error, av.error.FileNotFoundError | av.error.PermissionError):
                raise
            raise AudioError(f"{path} is no audio file that can be decoded: {in_words(error.strerror)}") from None
        try:
            self._start(choice)
        except BaseException:
            self.close()
            raise

    def _start(self, choice: Choice) -> None:
        self.streams = len(self._container.streams.audio)
        self._stream = stream = chosen(self._container, choice, self._path)
        context = stream.codec_context
        if context is None or not context.sample_rate or not context.channels:
            raise AudioError(f"{self._path}: the sound's codec is unknown or its header is damaged")
        if context.name == "flac":
            context.options = {"err_detect": "crccheck+explode"}
        self._format = self._container.format.name.split(",")[0]
        rate_hz = context.sample_rate
        self._promised = promised(
            path=self._path, part=self._part, container=self._container, stream=stream, findings=self.findings
        )
        exact = self._format in ("mov", "flac", "mp3")
        duration_s = seconds(self._promised, rate_hz)
        if duration_s is None:
            duration_s = self._part.length_s
        if duration_s is None and self._container.duration:
            duration_s = self._container.duration / av.time_base
        self.info = AudioInfo(
            rate_hz,
            context.channels,
            self._promised if exact else None,
            duration_s,
            {},
            self._format,
            tuple(channel.name for channel in context.layout.channels),
        )
        self._skip = 0

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read: what comes before is decoded and dropped: few codecs seek precisely."""
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
        """(channel, time) arrays at one rate and number of channels, with silence where sound is missing, trimmed to
        the end that the container gives."""
        rate_hz, channels = self.info.rate_hz, self.info.channels
        timeline = self._timeline()
        converter = Converter(rate_hz, channels)
        position, changed = 0, False
        holes = list(self._part.holes)
        for frame, end in self._frames(timeline):
            while holes and _pts_s(frame) >= holes[0].at_s - _SOON_S:
                samples = self._missing(holes.pop(0), position)
                yield from _silence(channels, samples)
                position += samples
            gap = timeline.gap(frame)
            self._note_gap(gap, position)
            yield from _silence(channels, gap.samples)
            position += gap.samples
            wave = self._within(_to_float(frame), position)
            names = tuple(channel.name for channel in frame.layout.channels)
            if not changed and (frame.sample_rate != rate_hz or len(wave) != channels):
                changed = True
                self._changed(frame, position)
            if self._format == "mov":
                wave = wave[:, : max(0, self._audible_end(end, position + wave.shape[1]) - position)]
            for converted in converter.push(wave, frame.sample_rate, names):
                position += converted.shape[1]
                yield converted
        for rest in converter.finish():
            position += rest.shape[1]
            yield rest
        self._judge_end(position, timeline)

    def _missing(self, hole: Hole, position: int) -> int:
        """Notes a hole between frames, and returns its length in samples."""
        at_s = position / self.info.rate_hz
        if hole.lost_s:
            self.findings.lost(at_s, hole.lost_s)
        else:
            self.findings.foreign(at_s, hole.size)
        return round(hole.lost_s * self.info.rate_hz)

    def _within(self, wave: np.ndarray, position: int) -> np.ndarray:
        """The wave, trimmed to the promised end: if frames are missing, FFmpeg does not find the padding after it."""
        if not self._part.holes or self._promised is None:
            return wave
        return wave[:, : max(0, self._promised - position)]

    def _note_gap(self, gap: Gap, position: int) -> None:
        at_s, gap_s = position / self.info.rate_hz, gap.samples / self.info.rate_hz
        if gap.samples and gap.lost and position == 0:  # as in excerpts of longer streams
            self.findings.note(f"begins with {gap_s:.3f} s that cannot be decoded; there is silence in their place")
        elif gap.samples and gap.lost:
            self.findings.lost(at_s, gap_s)

    def _changed(self, frame: av.AudioFrame, position: int) -> None:
        old, new = self.info, frame.layout.nb_channels
        at_s = self.findings.offset_s + position / old.rate_hz
        self.findings.note(
            f"changes from {old.rate_hz} Hz and {old.channels} channels to {frame.sample_rate} Hz and {new} at "
            f"{at_s:.2f} s; all of it was brought to the first"
        )

    def _judge_end(self, position: int, timeline: Timeline) -> None:
        """Compares what was decoded with what the file says it holds."""
        rate_hz = self.info.rate_hz
        if (left := timeline.left()) and timeline.decoded:
            self.findings.lost(position / rate_hz, left / rate_hz)
            position += left
        expected = self._promised
        if self._part.missing:
            expected = math.ceil(position * (1 + self._part.missing))
        late = 0 if self._stream.codec_context.name.startswith("pcm") else _LATE_SAMPLES.get(self._format)
        late = _LATE_S * rate_hz if late is None or self._format in TIMED_AS_ONE else late
        if not self._part.whole or (expected is not None and position < expected - late):
            self.findings.short(position / rate_hz, seconds(expected, rate_hz))

    def _timeline(self) -> Timeline:
        stream = self._stream
        tick = float((stream.time_base or 0) * self.info.rate_hz)
        return Timeline(self._format, stream.codec_context.name, tick, stream.start_time, self.info.rate_hz)

    def _frames(self, timeline: Timeline) -> Iterator[tuple[av.AudioFrame, int | None]]:
        """Decoded frames, each with the sample at which it ends according to its packet."""
        first = end = None
        timed = self._format == "mov"
        tick = (self._stream.time_base or 0) * self.info.rate_hz  # samples
        for packet in self._packets():
            try:
                frames = cast(list[av.AudioFrame], packet.decode())
            except av.error.FFmpegError:
                timeline.failed(packet)
                if first is None and packet.pts is not None:
                    first = max(packet.pts, self._stream.start_time or packet.pts)
                continue
            if frames:
                timeline.succeeded(packet)
            if frames and first is None:
                first = frames[0].pts
            if timed and packet.pts is not None and packet.duration and first is not None:
                end = round((packet.pts + packet.duration - first) * tick)
            for frame in frames:
                yield frame, end

    def _packets(self) -> Iterator[av.Packet]:
        """The stream's packets, including those after an error in the container."""
        failures = 0
        while failures < _RETRIES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except av.error.FFmpegError:
                failures += 1

    def _audible_end(self, packet_end: int | None, decoded_end: int) -> int:
        """Where the sound of an MP4 frame ends, before the encoder's padding.

        Both the last packet's duration and the edit list give it. Many writers round the edit list to milliseconds;
        then the packet's duration is more precise.
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
        if self._view is not None:
            self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pts_s(frame: av.AudioFrame) -> float:
    return float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else 0.0


def _silence(channels: int, samples: int) -> Iterator[np.ndarray]:
    for at in range(0, samples, _SILENCE_FRAMES):
        yield np.zeros((channels, min(_SILENCE_FRAMES, samples - at)), np.float32)


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    """The frame as (channel, time) float32 with full scale 1."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar:
        kind = format_dtypes[frame.format.name]
        planes = frame.planes[:channels]  # PyAV gives a ninth plane of garbage after eight channels
        array = np.stack([np.frombuffer(memoryview(plane), kind, frame.samples) for plane in planes])
    else:
        array = frame.to_ndarray().reshape(-1, channels).T
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype.kind == "i":
        return array.astype(np.float32) / np.float32(2 ** (8 * array.dtype.itemsize - 1))
    return array.astype(np.float32, copy=False)
