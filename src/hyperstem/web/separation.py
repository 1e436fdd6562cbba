"""What one song's process does with the song: decode it, separate a preview, separate it for good."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hyperstem import audio
from hyperstem.errors import AudioError
from hyperstem.outputs import OutputSettings, StemFiles
from hyperstem.web.peaks import Outliner
from hyperstem.web.takes import ORIGINAL, STEMS, TakeWriter, wav_sound

REPORT_EVERY_S = 0.2
BLOCK_FRAMES = 1 << 18

Send = Callable[[dict[str, Any]], None]


class Reporter:
    """Sends progress and what can be heard, a few times a second at most."""

    def __init__(self, send: Send, phase: str, take: str, total_s: float | None) -> None:
        self._send, self._phase, self._take, self._total_s = send, phase, take, total_s
        self._last = 0.0
        send({"event": "progress", "phase": phase, "done_s": 0.0, "total_s": total_s})

    def __call__(self, frames: int, rate_hz: int, last: bool = False) -> None:
        """`frames` of the take are on disk now."""
        now = time.monotonic()
        if now - self._last < REPORT_EVERY_S and not last:
            return
        self._last = now
        self._send({"event": "ready", "take": self._take, "frames": frames})
        self._send({"event": "progress", "phase": self._phase, "done_s": frames / rate_hz, "total_s": self._total_s})


def decode_original(source: Path, folder: Path, max_length_s: float, send: Send) -> float:
    """Decodes the upload to the take "original" and gives its length in seconds.

    Raises:
        AudioError: it is no sound, or longer than `max_length_s`.
    """
    info = audio.probe(source)
    if info.duration_s is not None and info.duration_s > max_length_s:
        raise AudioError(_too_long(info.duration_s, max_length_s))
    send({"event": "format", "rate_hz": info.rate_hz, "channels": info.channels, "frames": info.frames,
          "duration_s": info.duration_s})
    report = Reporter(send, "decoding", ORIGINAL, info.duration_s)
    writer = TakeWriter(folder, ORIGINAL)
    try:
        for block in audio.stream(source, block_frames=BLOCK_FRAMES):
            report(writer.add({ORIGINAL: block}), info.rate_hz)
            if writer.frames > max_length_s * info.rate_hz:
                raise AudioError(_too_long(None, max_length_s))
    finally:
        writer.close()
    report(writer.frames, info.rate_hz, last=True)
    duration_s = writer.frames / info.rate_hz
    send({"event": "format", "frames": writer.frames, "duration_s": duration_s})
    return duration_s


def _too_long(duration_s: float | None, limit_s: float) -> str:
    given = "longer" if duration_s is None else f"{duration_s / 60:.0f} minutes long"
    return f"this song is {given}; the studio takes songs of up to {limit_s / 60:.0f} minutes"


def run_preview(separator: Any, source: Path, folder: Path, total_s: float, send: Send) -> None:
    """Separates quickly, to be heard while the final take is made."""
    rate_hz = audio.probe(source).rate_hz
    report = Reporter(send, "preview", "preview", total_s)
    writer = TakeWriter(folder, "preview")
    try:
        for block in separator.stream(source):
            report(writer.add(block.stems), rate_hz)
    finally:
        writer.close()
    report(writer.frames, rate_hz, last=True)


def run_final(separator: Any, source: Path, folder: Path, quality: str, total_s: float, send: Send) -> dict[str, Any]:
    """Separates to ``stems/<stem>.wav``, the same bytes as the command line writes, audible while they are made.

    Returns:
        What is to be known of the result: the take, its frames, the gain and warnings.
    """
    info = audio.probe(source)
    report = Reporter(send, "separating", quality, total_s)
    writer = TakeWriter(folder, quality)
    part = folder / (STEMS + ".part")
    part.mkdir()
    paths = {stem: part / f"{stem}.wav" for stem in separator.stems}
    settings = OutputSettings(audio.named_format("wav"))
    with contextlib.closing(writer), \
            StemFiles(paths, settings, separator.stems, info.rate_hz, info.channels, info.tags) as files:
        for block in separator.stream(source):
            files.write(block.mixture, block.waves)
            report(writer.add(block.stems), info.rate_hz)
        output = files.close()
    report(writer.frames, info.rate_hz, last=True)
    _keep(folder, part, quality, separator.stems)
    trained = getattr(separator, "trained", True)
    warnings = [] if trained else ["this model is a stand-in without training: its stems are no separation"]
    return {"take": quality, "frames": output.frames, "gain": output.gain, "warnings": warnings}


def _keep(folder: Path, part: Path, take: str, stems: Sequence[str]) -> None:
    """Puts the finished files in place, with outlines of just what they hold, and drops the raw take."""
    shutil.rmtree(folder / STEMS, ignore_errors=True)
    os.replace(part, folder / STEMS)
    for stem in stems:
        sound, outliner = wav_sound(folder / STEMS / f"{stem}.wav"), Outliner()
        outlines = folder / "takes" / take / f"{stem}.peaks"
        with outlines.with_suffix(".part").open("wb") as file:
            for start in range(0, sound.frames, BLOCK_FRAMES):
                file.write(outliner.add(sound.read(start, BLOCK_FRAMES)).tobytes())
            file.write(outliner.finish().tobytes())
        os.replace(outlines.with_suffix(".part"), outlines)
        outlines.with_suffix(".s16").unlink()
