"""The length of a file's sound according to its headers, where they are reliable."""

import contextlib
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from hyperstem.audio.damage import Findings
from hyperstem.audio.parts import Part
from hyperstem.audio.view import FileView

_TIMED = {"mov", "matroska", "asf", "flac", "wv", "ape", "tta"}
"""Containers whose header holds the exact duration, not an estimate."""
TIMED_AS_ONE = {"matroska", "asf"}
"""Those with one duration for all streams, including the pictures of a video."""
_PADDING_SAMPLES = 2 * 1152 + 2 * 1105
"""Encoder delay and padding, by which the length in an MP3's header is shorter than its frames."""


def opened(file: str | FileView, container: str | None = None) -> InputContainer:
    """Opens a file in FFmpeg; `container` is FFmpeg's name of its format, if it is known."""
    return cast(InputContainer, av.open(file, format=container, metadata_errors="replace"))


def promised(
    path: Path, part: Part, container: InputContainer, stream: av.AudioStream, findings: Findings
) -> int | None:
    """Samples according to the stream's header; None if it does not say, or covers only a part of the sound."""
    rate_hz = stream.codec_context.sample_rate
    length = _length(container, stream, part.counted)
    stale = length is not None and (
        (container.format.name == "flac" and flac_goes_on(path, part, length))
        or (part.length_s is not None and part.length_s * rate_hz > length + _PADDING_SAMPLES)
    )
    if length is None or not stale:
        return length
    findings.note(f"says that it has {length / rate_hz:.2f} s, but has more; all of it is read")
    return None


def _length(container: InputContainer, stream: av.AudioStream, counted: bool) -> int | None:
    kind, rate_hz = container.format.name.split(",")[0], stream.codec_context.sample_rate
    if kind == "avi" and stream.frames and stream.time_base:
        return round(stream.frames * stream.time_base * rate_hz)
    if kind not in _TIMED and not counted:
        return None
    if kind in TIMED_AS_ONE:
        end_s = _end_s(container, stream)
        return None if end_s is None else round((end_s - _start_s(stream)) * rate_hz)
    if stream.duration is not None and stream.time_base is not None:
        return round(stream.duration * stream.time_base * rate_hz)
    return round(container.duration * rate_hz / av.time_base) if container.duration else None


def _end_s(container: InputContainer, stream: av.AudioStream) -> float | None:
    """End of the sound on the clock of all streams: from its tag, or that of the container if it is the only stream."""
    tagged = _clock_s(stream.metadata.get("DURATION", ""))
    if tagged is None and len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base
    return tagged


def _start_s(stream: av.AudioStream) -> float:
    """Start of the stream on the clock of all streams."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _clock_s(text: str) -> float | None:
    """Seconds of a Matroska tag such as "00:03:25.120000000"; None if it is not one."""
    try:
        hours, minutes, seconds_ = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds_)
    except ValueError:
        return None


def flac_goes_on(path: Path, part: Part, frames: int) -> bool:
    """Whether a FLAC file continues beyond the length in its header."""
    view = part.open(path)
    try:
        with contextlib.closing(view) if view else contextlib.nullcontext(), opened(view or str(path)) as container:
            stream = container.streams.audio[0]
            if frames > 0:
                container.seek(frames - 1, stream=stream)
            last = max((packet.pts for packet in container.demux(stream) if packet.pts is not None), default=0)
    except av.error.FFmpegError:
        return False
    return last >= frames
