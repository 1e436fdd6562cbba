"""Encoders into an open file: soundfile for flac and ogg, PyAV for mp3, opus and the MP4 family."""

import contextlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import BinaryIO, cast

import av
import numpy as np
import soundfile

from hyperstem.audio.samples import interleaved_steps
from hyperstem.errors import AudioError

_OGG_CHUNK = 1 << 14
"""Most samples per write: libsndfile's Vorbis encoder keeps each write on its stack."""
_VORBIS_ORDER = {
    1: [0],
    2: [0, 1],
    3: [0, 2, 1],
    4: [0, 1, 2, 3],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}
"""Index in WAV order of each Vorbis channel, by number of channels: the centre comes before the right, low frequencies
last. Source: Vorbis I specification, 4.3.9."""


class _Sink:
    """A file that keeps its errors for `check`: neither library passes them on from its callbacks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.abandoned = False

    def write(self, data: bytes) -> int:
        self._try(self._file.write, data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._try(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._try(self._file.tell)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def _try(self, function: Callable[..., int], *arguments: object) -> int:
        if self.error is None and not self.abandoned:
            try:
                return function(*arguments)
            except OSError as error:
                self.error = error
        return 0

    def check(self) -> None:
        """Raises the error that occurred, if any."""
        if self.error is not None:
            raise self.error


_VORBIS_BITS = (64_000, 80_000, 96_000, 112_000, 128_000, 160_000, 192_000, 224_000, 256_000, 320_000, 500_000)
"""Average bit rates of Vorbis for stereo at 44.1 kHz, qualities 0 to 10. Source: the settings of libvorbis."""


def _vorbis_level(bitrate: int | None, rate_hz: int, channels: int) -> float:
    """libsndfile's level, 0 for the best and 1 for the smallest, that comes closest to a bit rate."""
    if bitrate is None:
        return 0.3
    as_usual = bitrate * 2 / channels * max(1.0, 44_100 / rate_hz)
    return 1 - float(np.interp(as_usual, _VORBIS_BITS, range(len(_VORBIS_BITS)))) / (len(_VORBIS_BITS) - 1)


class SoundFileEncoder:
    """flac and ogg."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        rate_hz: int,
        channels: int,
        subtype: str,
        bitrate: int | None = None,
    ) -> None:
        self._sink = _Sink(file)
        self._bits = 16 if subtype == "pcm16" else 24
        self._lossy = name == "ogg"
        kind = "VORBIS" if self._lossy else f"PCM_{self._bits}"
        level = _vorbis_level(bitrate, rate_hz, channels) if self._lossy else 0.4
        try:
            self._file = soundfile.SoundFile(
                cast(BinaryIO, self._sink), "w", rate_hz, channels, kind, format=name.upper(), compression_level=level
            )
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name} at {rate_hz} Hz with {channels} channels: {error.error_string}") from None

    def write(self, *waves: np.ndarray) -> None:
        """Appends (channel, time): float with full scale 1, or whole steps as integers."""
        (wave,) = waves
        if self._lossy:
            wave = wave[_VORBIS_ORDER[len(wave)]]
            for at in range(0, wave.shape[1], _OGG_CHUNK):
                self._put(np.ascontiguousarray(wave[:, at : at + _OGG_CHUNK].T, np.float32))
            return
        steps = interleaved_steps(wave, self._bits)
        self._put(steps if self._bits == 16 else steps << 8)

    def _put(self, data: np.ndarray) -> None:
        self._file.write(data)
        self._sink.check()

    def finish(self) -> None:
        """Writes the remaining samples."""
        self._file.close()
        self._sink.check()

    def abandon(self) -> None:
        """Closes the encoder without writing to the file."""
        self._sink.abandoned = True
        self._file.close()


_LAME, _OPUS, _AAC = {"compression_level": "7"}, {"compression_level": "5"}, {"aac_coder": "fast"}
"""Twice as fast as the defaults, which matters with four stems; at these bit rates it costs almost no quality."""
_AV = {  # name: container, its options, codec, its options, bits per second of a stereo sound
    "mp3": ("mp3", {}, "libmp3lame", _LAME, 256_000),
    "opus": ("opus", {"fflags": "bitexact"}, "libopus", _OPUS, 160_000),
    "m4a": ("ipod", {}, "aac", _AAC, 256_000),
    "stem.mp4": ("mp4", {}, "aac", _AAC, 256_000),
}


class AvEncoder:
    """mp3, opus, m4a, and stem.mp4 with several sounds in one file."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        rate_hz: int,
        channels: int,
        tracks: Sequence[str] = ("",),
        bitrate: int | None = None,
    ) -> None:
        container, options, codec, codec_options, stereo_bits = _AV[name]
        if codec == "aac":
            options = {"movie_timescale": str(rate_hz)}  # otherwise the length is rounded to milliseconds
        self._rate_hz, self._layout = rate_hz, "mono" if channels == 1 else "stereo"
        self._position = 0
        self._sink = _Sink(file)
        self._container = av.open(self._sink, "w", format=container, container_options=options)
        try:
            self._streams = []
            for track in tracks:
                stream = cast(av.AudioStream, self._container.add_stream(codec, rate_hz, codec_options))
                context = stream.codec_context
                context.layout = self._layout
                context.format = "flt" if codec == "libopus" else "fltp"
                context.bit_rate = bitrate or _bit_rate(stereo_bits, rate_hz, channels)
                stream.time_base = Fraction(1, rate_hz)
                if track:
                    stream.metadata["title"] = stream.metadata["handler_name"] = track
                    first = track == tracks[0]  # played by programs that do not support stems
                    stream.disposition = av.stream.Disposition.default if first else av.stream.Disposition(0)
                self._streams.append(stream)
            self._container.start_encoding()
        except av.error.FFmpegError as error:
            raise AudioError(f"{name} at {rate_hz} Hz with {channels} channels: {error.strerror}") from None

    def write(self, *waves: np.ndarray) -> None:
        """Appends one (channel, time) float array per track, all of the same length."""
        if waves[0].shape[1] == 0:
            return
        for stream, wave in zip(self._streams, waves, strict=True):
            data = np.ascontiguousarray(wave, np.float32)
            frame = av.AudioFrame.from_ndarray(data, format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._position, Fraction(1, self._rate_hz)
            self._container.mux(stream.encode(frame))
        self._position += waves[0].shape[1]
        self._sink.check()

    def finish(self) -> None:
        """Writes the remaining samples."""
        for stream in self._streams:
            self._container.mux(stream.encode(None))
        self._container.close()
        self._sink.check()

    def abandon(self) -> None:
        """Closes the encoder without writing to the file."""
        self._sink.abandoned = True
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()


def _bit_rate(stereo_bits: int, rate_hz: int, channels: int) -> int:
    """The format's bit rate, reduced for mono and for low sample rates."""
    bits = min(stereo_bits, 8 * rate_hz)
    return bits if channels > 1 else bits * 5 // 8
