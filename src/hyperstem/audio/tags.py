"""What files say of their sound beside it: tags, so far those of FFmpeg and libsndfile."""

from collections.abc import Mapping

_NAMES = ("title", "artist", "album", "date", "track", "genre", "comment", "copyright")


def from_ffmpeg(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags by FFmpeg's names."""
    lower = {key.lower(): value for key, value in metadata.items()}
    return {name: lower[name] for name in _NAMES if lower.get(name)}


def from_sndfile(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags by libsndfile's names."""
    return from_ffmpeg({key.removesuffix("number"): value for key, value in metadata.items()})
