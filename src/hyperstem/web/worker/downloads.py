"""Renders a download: separates the song again into another format, or mixes its stems."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import Resampler
from hyperstem.errors import AudioError
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem.web.sound.mix import BLOCK_FRAMES, Lane, blocks, out_channels
from hyperstem.web.sound.orders import SONG, Order, Part
from hyperstem.web.sound.takes import ORIGINAL, STEMS, Sound, raw_sound, wav_sound
from hyperstem.web.worker.separation import Send, set_source_name, write_manifest

REPORT_EVERY = 0.01
Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


def make_download(
    order: Order, separator: Any, source: Path, name: str, folder: Path, target: Path, send: Send
) -> None:
    """Renders the files of `order` into `target`.

    Args:
        order: what to render.
        separator: None if the order needs no separation.
        source: the song's file.
        name: the song's name.
        folder: the job's folder, with its stems.
        target: an empty folder, or one to create.
        send: called with the reports.

    Raises:
        AudioError: the format does not support this song, or it cannot be separated.
    """
    last = 0.0

    def report(done: float) -> None:
        nonlocal last
        if done - last >= REPORT_EVERY:
            last = done
            send({"event": "progress", "done": min(1.0, done)})

    target.mkdir(parents=True, exist_ok=True)
    if order.separated and _is_copy(order, source):
        _copy(order, source, folder, target, report)
    elif order.separated:
        _separate(order, separator, source, name, target, report)
    elif audio.named_format(order.format).multitrack:
        _mix_tracks(order, source, folder, target, report)
    else:
        for number, part in enumerate(order.parts):
            _mix(order, part, source, folder, target, lambda done, n=number: report((n + done) / len(order.parts)))
    send({"event": "done", "files": sorted(path.name for path in target.iterdir())})


def _is_copy(order: Order, source: Path) -> bool:
    """Whether the command line would write the stems' 16-bit samples unchanged."""
    rate_hz = audio.probe(source).rate_hz
    fits = audio.named_format(order.format).rate_for(rate_hz) == rate_hz
    return fits and order.subtype == "pcm16" and all(part.is_stem for part in order.parts)


def _copy(order: Order, source: Path, folder: Path, target: Path, report: Progress) -> None:
    facts = json.loads((folder / STEMS / batch.MANIFEST).read_text(encoding="utf-8"))
    facts["settings"]["format"] = order.format
    facts["stems"] = {part.name: f"{part.name}.{order.format}" for part in order.parts}
    write_manifest(target / batch.MANIFEST, facts)
    for number, part in enumerate(order.parts):
        path, stem = target / f"{part.name}.{order.format}", folder / STEMS / f"{part.lanes[0].stem}.wav"
        if order.format == "wav":
            shutil.copyfile(stem, path)
        else:
            _encode(wav_sound(stem), audio.probe(source).rate_hz, audio.read_tags(source).of_stem(part.name), path)
        report((number + 1) / len(order.parts))


def _encode(sound: Sound, rate_hz: int, tags: audio.Tags, path: Path) -> None:
    with audio.Writer(path, rate_hz, sound.channels, tags=tags) as writer:
        for start in range(0, sound.frames, BLOCK_FRAMES):
            writer.write(sound.read(start, BLOCK_FRAMES).T)


def _separate(order: Order, separator: Any, source: Path, name: str, target: Path, report: Progress) -> None:
    known = {lane.stem for part in order.parts for lane in part.lanes}
    if not known <= set(separator.stems):
        raise AudioError("the studio's model has changed since this song was separated; separate it again first")
    format_ = audio.named_format(order.format)
    groups = tuple((part.name, tuple(lane.stem for lane in part.lanes)) for part in order.parts)
    names = [SONG] if format_.multitrack else [part.name for part in order.parts]
    task = batch.Task(source, {file: target / f"{file}.{order.format}" for file in names}, target / batch.MANIFEST)
    settings = batch.BatchSettings(target, OutputSettings(format_, order.subtype or "pcm16", groups=groups))

    def progress(done_s: float, total_s: float | None) -> None:
        report(done_s / total_s if total_s else 0.0)

    result = batch.separate_file(separator, task, settings, progress)
    if result.output is None:
        raise AudioError(result.error)
    set_source_name(task.manifest, name)


def _tags(order: Order, source: Path, from_hz: int, to_hz: int) -> audio.Tags:
    return audio.read_tags(source).of_part(order.start_s, from_hz, to_hz)


def _lanes(part: Part, folder: Path) -> list[Lane]:
    return [Lane(wav_sound(folder / STEMS / f"{lane.stem}.wav"), lane.volume, lane.pan) for lane in part.lanes]


def _mix(order: Order, part: Part, source: Path, folder: Path, target: Path, report: Progress) -> None:
    """Renders one file in two passes: the first finds the peak and so the gain; float samples need none."""
    info, format_ = audio.probe(source), audio.named_format(order.format)
    lanes = _lanes(part, folder)
    channels = lanes[0].sound.channels
    start, frames = order.frames(min(lane.sound.frames for lane in lanes), info.rate_hz)
    unlimited = order.subtype == "float"
    scale = (
        1.0
        if unlimited
        else _gain_for(_with_progress(blocks(lanes, channels, frames, start), frames, report, 0.0, 0.5))
    )
    rate_hz = format_.rate_for(info.rate_hz)
    sound = blocks(lanes, channels, frames, start)
    resampler = Resampler(out_channels(lanes, channels), info.rate_hz, rate_hz)
    path = target / f"{part.name}.{order.format}"
    tags = _tags(order, source, info.rate_hz, rate_hz).of_stem(part.name)
    subtype = order.subtype or "pcm16"
    with audio.Writer(path, rate_hz, resampler.channels, subtype=subtype, tags=tags, format=format_) as writer:
        for block in _with_progress(sound, frames, report, 0.0 if unlimited else 0.5, 1.0):
            writer.write(resampler.push(np.ascontiguousarray(block.T * np.float32(scale))))
        writer.write(resampler.push(np.zeros((resampler.channels, 0), np.float32), last=True))


def _with_progress(
    sound: Iterator[np.ndarray], frames: int, report: Progress, begun: float, ended: float
) -> Iterator[np.ndarray]:
    """Passes on blocks and reports progress, from `begun` to `ended`."""
    done = 0
    for block in sound:
        yield block
        done += len(block)
        report(begun + (ended - begun) * done / frames)


def _gain_for(sound: Iterator[np.ndarray]) -> float:
    """The gain, 1 at most, that keeps (frame, channel) blocks within 16-bit full scale."""
    peak = max((float(np.abs(block).max(initial=0.0)) for block in sound), default=0.0)
    return min(1.0, 32767 / 32768 / peak) if peak else 1.0


def _mix_tracks(order: Order, source: Path, folder: Path, target: Path, report: Progress) -> None:
    """Renders the song and its stems, or a section of them, as one multitrack file."""
    info, format_ = audio.probe(source), audio.named_format(order.format)
    stems = [_lanes(part, folder)[0].sound for part in order.parts]
    channels = stems[0].channels
    tracks = [raw_sound(folder, ORIGINAL, ORIGINAL, channels), *stems]
    start, frames = order.frames(min(sound.frames for sound in tracks), info.rate_hz)
    rate_hz = format_.rate_for(info.rate_hz)
    names = ("mixture", *(part.name for part in order.parts))
    tags = _tags(order, source, info.rate_hz, rate_hz)
    with contextlib.ExitStack() as stack:
        path = target / f"{SONG}.{order.format}"
        writer = stack.enter_context(audio.MultitrackWriter(path, rate_hz, channels, names, tags))
        resampler = Resampler(channels * len(tracks), info.rate_hz, rate_hz)
        for at in range(0, frames, BLOCK_FRAMES):
            count = min(BLOCK_FRAMES, frames - at)
            rows = np.concatenate([sound.read(start + at, count).T for sound in tracks]).astype(np.float32) / 32768
            ready = resampler.push(rows, last=at + count == frames)
            writer.write(list(ready.reshape(len(tracks), channels, -1)))
            report((at + count) / frames)
