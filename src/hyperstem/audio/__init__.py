"""Audio files: probe, read, stream and write. Arrays are float32 (channel, time), full scale 1.

soundfile reads and writes the simple formats, PyAV all others. Encoder delay and padding are trimmed as the container
says.
"""

from hyperstem.audio.damage import Warn
from hyperstem.audio.formats import FORMATS, READABLE, Format, format_of, named_format
from hyperstem.audio.reading import AudioWarning, collected_warnings, probe, read, sound_streams, stream
from hyperstem.audio.source import AudioInfo
from hyperstem.audio.stem_box import stem_names
from hyperstem.audio.streams import Choice
from hyperstem.audio.tags import Tags, read_tags
from hyperstem.audio.writing import MultitrackWriter, Writer, write

__all__ = [
    "FORMATS",
    "READABLE",
    "AudioInfo",
    "AudioWarning",
    "Choice",
    "Format",
    "MultitrackWriter",
    "Tags",
    "Warn",
    "Writer",
    "collected_warnings",
    "format_of",
    "named_format",
    "probe",
    "read",
    "read_tags",
    "sound_streams",
    "stem_names",
    "stream",
    "write",
]
