"""Sound files as accidents leave them: made whole by PyAV and soundfile, then changed byte by byte."""

from pathlib import Path

import av
import numpy as np
import soundfile

from hyperstem import audio
from separation_standin import encode, noise

RATE_HZ = 44_100
SECONDS = 3
CODECS = {
    "a.aac": "aac",
    "a.ac3": "ac3",
    "a.avi": "libmp3lame",
    "a.flv": "aac",
    "a.m4a": "aac",
    "a.mkv": "libopus",
    "a.mp2": "mp2",
    "a.oga": "flac",
    "a.ts": "aac",
    "a.tta": "tta",
    "a.wma": "wmav2",
    "a.wv": "wavpack",
}


def whole(path: Path, seconds: float = SECONDS, seed: int = 0, channels: int = 2) -> Path:
    """A file of noise; what its name ends with decides how it is made."""
    codec = CODECS.get(f"a{path.suffix}")
    rate_hz = 48_000 if codec in ("libopus", "ac3") or path.suffix == ".opus" else RATE_HZ
    wave = noise(channels, round(seconds * rate_hz), seed=seed)
    if codec is not None:
        return encode(path, codec, wave, rate_hz, "ogg" if path.suffix == ".oga" else None)
    if path.suffix in (".aiff", ".au", ".caf", ".w64", ".rf64"):
        soundfile.write(path, wave.T, rate_hz, subtype="PCM_16")
    else:
        audio.write(path, wave, rate_hz)
    return path


def with_zeros(path: Path, size: int = 3000, share: float = 0.5) -> Path:
    """Bytes in the middle are lost; there are zeros in their place."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    return path


def with_bytes(path: Path, foreign: bytes, share: float = 0.5) -> Path:
    """Bytes are put in."""
    data = path.read_bytes()
    at = int(len(data) * share)
    path.write_bytes(data[:at] + foreign + data[at:])
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Files one behind the other."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def variable_mp3(path: Path, wave: np.ndarray) -> Path:
    """An MP3 of variable bit rate without a frame that counts the others."""
    with av.open(str(path), "w", options={"write_xing": "0"}) as file:
        stream = file.add_stream("libmp3lame", rate=44_100, options={"qscale": "0", "flags": "+qscale"})
        stream.codec_context.layout, stream.codec_context.format = "stereo", "fltp"
        stream.codec_context.global_quality = 118 * 2
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return path
