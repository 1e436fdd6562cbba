"""Audio files: probe, read, stream and write. Arrays are float32 (channel, time), full scale 1.

soundfile reads and writes the simple formats, PyAV all others. Encoder delays are cut as the container says.
"""

from hyperstem.audio.formats import FORMATS, Format, format_of, named_format
from hyperstem.audio.reading import probe, read, sound_streams, stream
from hyperstem.audio.source import AudioInfo
from hyperstem.audio.writing import MultitrackWriter, Writer, write

__all__ = [
    "FORMATS",
    "AudioInfo",
    "Format",
    "MultitrackWriter",
    "Writer",
    "format_of",
    "named_format",
    "probe",
    "read",
    "sound_streams",
    "stream",
    "write",
]
