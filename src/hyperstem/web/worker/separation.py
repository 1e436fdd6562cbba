"""The steps of one song: decode it, separate a preview, separate it in full, analyse it."""

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
from hyperstem.separation.output import OutputSettings
from hyperstem.web.sound.analysis import Analysis, analyse
from hyperstem.web.sound.peaks import PeakBuilder
from hyperstem.web.sound.takes import ANALYSIS, ORIGINAL, PART, STEMS, Sound, TakeWriter, raw_sound, wav_sound

REPORT_EVERY_S = 0.2
BLOCK_FRAMES = 1 << 18
log = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], None]


class Reporter:
    """Reports progress and the playable length of a take, a few times a second at most."""

    def __init__(self, send: Send, phase: str, take: str, total_s: float | None) -> None:
        self._send, self._phase, self._take, self._total_s = send, phase, take, total_s
        self._last = 0.0
        send({"event": "progress", "phase": phase, "done_s": 0.0, "total_s": total_s})

    def __call__(self, frames: int, rate_hz: int, last: bool = False) -> None:
        """Reports that `frames` of the take are on disk."""
        now = time.monotonic()
        if now - self._last < REPORT_EVERY_S and not last:
            return
        self._last = now
        self._send({"event": "ready", "take": self._take, "frames": frames})
        self._send({"event": "progress", "phase": self._phase, "done_s": frames / rate_hz, "total_s": self._total_s})


def decode_original(source: Path, folder: Path, max_length_s: float, send: Send) -> float:
    """Decodes the upload to the take "original", and returns its length in seconds.

    Raises:
        AudioError: it cannot be decoded, or is longer than `max_length_s`.
    """
    info = audio.probe(source)
    if info.frames is not None and info.frames / info.rate_hz > max_length_s:  # other lengths may be estimates
        raise AudioError(_too_long(info.frames / info.rate_hz, max_length_s))
    known = {key: getattr(info, key) for key in ("rate_hz", "channels", "frames", "duration_s")}
    send({"event": "format", **known})
    report = Reporter(send, "decoding", ORIGINAL, info.duration_s)
    with contextlib.closing(TakeWriter(folder, ORIGINAL)) as writer:
        for block in audio.stream(source, block_frames=BLOCK_FRAMES, warn=_ignore):
            report(writer.add({ORIGINAL: block}), info.rate_hz)
            if writer.frames > max_length_s * info.rate_hz:
                raise AudioError(_too_long(None, max_length_s))
    report(writer.frames, info.rate_hz, last=True)
    duration_s = writer.frames / info.rate_hz
    send({"event": "format", "frames": writer.frames, "duration_s": duration_s})
    return duration_s


def _ignore(_: str) -> None:
    """Drops a warning about the file: the final take reports it."""


def _too_long(duration_s: float | None, limit_s: float) -> str:
    given = "longer" if duration_s is None else f"{duration_s / 60:.0f} minutes long"
    return f"this song is {given}; the studio accepts songs of up to {limit_s / 60:.0f} minutes"


def run_preview(separator: Any, source: Path, folder: Path, total_s: float, send: Send) -> None:
    """Separates at low quality, to play until the final take is ready."""
    rate_hz = audio.probe(source).rate_hz
    report = Reporter(send, "preview", "preview", total_s)
    with contextlib.closing(TakeWriter(folder, "preview")) as writer:
        for block in separator.stream(source, warn=_ignore):
            report(writer.add(block.stems), rate_hz)
    report(writer.frames, rate_hz, last=True)


class _RecordedSeparator:
    """A separator whose blocks are also written to a take, which the page plays meanwhile."""

    def __init__(self, separator: Any, writer: TakeWriter, report: Reporter, rate_hz: int) -> None:
        self._separator, self._writer, self._report, self._rate_hz = separator, writer, report, rate_hz

    def __getattr__(self, name: str) -> Any:
        return getattr(self._separator, name)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Passes on the separator's blocks."""
        for block in self._separator.stream(*args, **kwargs):
            self._report(self._writer.add(block.stems), self._rate_hz)
            yield block


def run_final(separator: Any, source: Path, name: str, folder: Path, total_s: float, send: Send) -> dict[str, Any]:
    """Separates to ``stems/<stem>.wav`` with the command line's code; a take can be played meanwhile.

    Returns:
        The fields of the ``done`` report: take, frames, gain, warnings, and the analysis in short.

    Raises:
        AudioError: the song cannot be separated.
    """
    rate_hz, take = audio.probe(source).rate_hz, separator.quality
    report = Reporter(send, "separating", take, total_s)
    part = folder / PART
    task = batch.Task(source, {stem: part / f"{stem}.wav" for stem in separator.stems}, part / batch.MANIFEST)
    settings = batch.BatchSettings(part, OutputSettings(audio.named_format("wav")))
    with contextlib.closing(TakeWriter(folder, take)) as writer:
        result = batch.separate_file(_RecordedSeparator(separator, writer, report, rate_hz), task, settings)  # type: ignore[arg-type]
    if result.output is None:
        raise AudioError(result.error)
    report(writer.frames, rate_hz, last=True)
    send({"event": "progress", "phase": "finishing", "done_s": 0.0, "total_s": None})
    set_source_name(task.manifest, name)
    _publish(folder, part, take, separator.stems, result.output.gain)
    analysis = _analyse(folder, separator.stems, rate_hz)
    warnings = [] if separator.trained else ["this model is untrained: its stems are not a separation"]
    return {
        "take": take,
        "frames": result.output.frames,
        "gain": result.output.gain,
        "warnings": result.warnings + warnings,
        "analysed": analysis is not None,
        "tempo_bpm": analysis.tempo_bpm if analysis else None,
        "key": analysis.key if analysis else None,
    }


def _analyse(folder: Path, stems: Sequence[str], rate_hz: int) -> Analysis | None:
    """Finds tempo, beats, key and chords and saves them; None if that fails."""
    finished = {stem: wav_sound(folder / STEMS / f"{stem}.wav") for stem in stems}
    channels = next(iter(finished.values())).channels
    try:
        analysis = analyse({ORIGINAL: raw_sound(folder, ORIGINAL, ORIGINAL, channels), **finished}, rate_hz)
    except Exception:  # the stems are complete: a failed analysis must not lose them
        log.exception("tempo and chords")
        return None
    write_text(folder / ANALYSIS, json.dumps(dataclasses.asdict(analysis)) + "\n")
    return analysis


def set_source_name(manifest: Path, name: str) -> None:
    """Replaces the studio's file name in a manifest by the song's name."""
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    facts["source"]["name"] = name
    write_manifest(manifest, facts)


def write_manifest(path: Path, facts: dict[str, Any]) -> None:
    """Writes a manifest as the command line does."""
    write_text(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _publish(folder: Path, part: Path, take: str, stems: Sequence[str], gain: float) -> None:
    """Moves the finished files into place and deletes the raw take; its peaks stay, recomputed if the gain changed."""
    (folder / STEMS).mkdir(exist_ok=True)
    for path in [*(part / f"{stem}.wav" for stem in stems), part / batch.MANIFEST]:
        path.replace(folder / STEMS / path.name)
    part.rmdir()
    for stem in stems:
        peaks = folder / "takes" / take / f"{stem}.peaks"
        if gain < 1:
            _write_peaks(wav_sound(folder / STEMS / f"{stem}.wav"), peaks)
        peaks.with_suffix(".s16").unlink()


def _write_peaks(sound: Sound, path: Path) -> None:
    builder = PeakBuilder()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for start in range(0, sound.frames, BLOCK_FRAMES):
            file.write(builder.add(sound.read(start, BLOCK_FRAMES)).tobytes())
        file.write(builder.finish().tobytes())
