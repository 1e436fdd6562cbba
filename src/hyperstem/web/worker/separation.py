"""What one song's process does with the song: decode it, separate a preview, separate it for good."""

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hyperstem import audio
from hyperstem.errors import AudioError
from hyperstem.files import replacing, write_text
from hyperstem.separation import batch
from hyperstem.separation.stem_files import OutputSettings
from hyperstem.web.sound.analysis import Analysis, analyse
from hyperstem.web.sound.peaks import Outliner
from hyperstem.web.sound.takes import ANALYSIS, ORIGINAL, PART, STEMS, Sound, TakeWriter, raw_sound, wav_sound

REPORT_EVERY_S = 0.2
BLOCK_FRAMES = 1 << 18
log = logging.getLogger(__name__)

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
    if info.frames is not None and info.frames / info.rate_hz > max_length_s:  # other lengths may be estimates
        raise AudioError(_too_long(info.frames / info.rate_hz, max_length_s))
    send(
        {
            "event": "format",
            "rate_hz": info.rate_hz,
            "channels": info.channels,
            "frames": info.frames,
            "duration_s": info.duration_s,
        }
    )
    report = Reporter(send, "decoding", ORIGINAL, info.duration_s)
    writer = TakeWriter(folder, ORIGINAL)
    try:
        for block in audio.stream(source, block_frames=BLOCK_FRAMES, warn=_told_later):
            report(writer.add({ORIGINAL: block}), info.rate_hz)
            if writer.frames > max_length_s * info.rate_hz:
                raise AudioError(_too_long(None, max_length_s))
    finally:
        writer.close()
    report(writer.frames, info.rate_hz, last=True)
    duration_s = writer.frames / info.rate_hz
    send({"event": "format", "frames": writer.frames, "duration_s": duration_s})
    return duration_s


def _told_later(_: str) -> None:
    """What is wrong with the file is in the result of the final take."""


def _too_long(duration_s: float | None, limit_s: float) -> str:
    given = "longer" if duration_s is None else f"{duration_s / 60:.0f} minutes long"
    return f"this song is {given}; the studio takes songs of up to {limit_s / 60:.0f} minutes"


def run_preview(separator: Any, source: Path, folder: Path, total_s: float, send: Send) -> None:
    """Separates quickly, to be heard while the final take is made."""
    rate_hz = audio.probe(source).rate_hz
    report = Reporter(send, "preview", "preview", total_s)
    writer = TakeWriter(folder, "preview")
    try:
        for block in separator.stream(source, warn=_told_later):
            report(writer.add(block.stems), rate_hz)
    finally:
        writer.close()
    report(writer.frames, rate_hz, last=True)


class _Heard:
    """A separator whose blocks are also written to a take, to be heard while the files are made."""

    def __init__(self, separator: Any, writer: TakeWriter, report: Reporter, rate_hz: int) -> None:
        self._separator, self._writer, self._report, self._rate_hz = separator, writer, report, rate_hz

    def __getattr__(self, name: str) -> Any:
        return getattr(self._separator, name)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The separator's blocks."""
        for block in self._separator.stream(*args, **kwargs):
            self._report(self._writer.add(block.stems), self._rate_hz)
            yield block


def run_final(separator: Any, source: Path, name: str, folder: Path, total_s: float, send: Send) -> dict[str, Any]:
    """Separates to ``stems/<stem>.wav`` with the command line's own code, audible while the files are made.

    Returns:
        What is to be known of the result: the take, its frames, the gain and warnings.

    Raises:
        AudioError: the song cannot be separated.
    """
    rate_hz, take = audio.probe(source).rate_hz, separator.quality
    report = Reporter(send, "separating", take, total_s)
    part = folder / PART
    task = batch.Task(source, {stem: part / f"{stem}.wav" for stem in separator.stems}, part / batch.MANIFEST)
    settings = batch.BatchSettings(part, OutputSettings(audio.named_format("wav")))
    with contextlib.closing(TakeWriter(folder, take)) as writer:
        result = batch.separate_file(_Heard(separator, writer, report, rate_hz), task, settings)  # type: ignore[arg-type]
    if result.output is None:
        raise AudioError(result.error)
    report(writer.frames, rate_hz, last=True)
    send({"event": "progress", "phase": "finishing", "done_s": 0.0, "total_s": None})
    name_source(task.manifest, name)
    _keep(folder, part, take, separator.stems, result.output.gain)
    known = _analyse(folder, separator.stems, rate_hz)
    warnings = [] if separator.trained else ["this model is a stand-in without training: its stems are no separation"]
    return {
        "take": take,
        "frames": result.output.frames,
        "gain": result.output.gain,
        "warnings": result.warnings + warnings,
        "analysed": known is not None,
        "tempo_bpm": known.tempo_bpm if known else None,
        "key": known.key if known else None,
    }


def _analyse(folder: Path, stems: Sequence[str], rate_hz: int) -> Analysis | None:
    """Looks for tempo, beats, key and chords, and keeps them; a song is no worse off without."""
    finished = {stem: wav_sound(folder / STEMS / f"{stem}.wav") for stem in stems}
    channels = next(iter(finished.values())).channels
    try:
        known = analyse({ORIGINAL: raw_sound(folder, ORIGINAL, ORIGINAL, channels), **finished}, rate_hz)
    except Exception:  # the stems are there: nothing found in them may take them away
        log.exception("tempo and chords")
        return None
    write_text(folder / ANALYSIS, json.dumps(dataclasses.asdict(known)) + "\n")
    return known


def name_source(manifest: Path, name: str) -> None:
    """Puts the song's own name into the manifest, which only knows the studio's."""
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    facts["source"]["name"] = name
    write_text(manifest, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _keep(folder: Path, part: Path, take: str, stems: Sequence[str], gain: float) -> None:
    """Puts the finished files in place and drops the raw take, whose outlines stay where they hold."""
    (folder / STEMS).mkdir(exist_ok=True)
    for path in [*(part / f"{stem}.wav" for stem in stems), part / batch.MANIFEST]:
        path.replace(folder / STEMS / path.name)
    part.rmdir()
    for stem in stems:
        outlines = folder / "takes" / take / f"{stem}.peaks"
        if gain < 1:
            _outline(wav_sound(folder / STEMS / f"{stem}.wav"), outlines)
        outlines.with_suffix(".s16").unlink()


def _outline(sound: Sound, path: Path) -> None:
    """Writes the outline of a finished file."""
    outliner = Outliner()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for start in range(0, sound.frames, BLOCK_FRAMES):
            file.write(outliner.add(sound.read(start, BLOCK_FRAMES)).tobytes())
        file.write(outliner.finish().tobytes())
