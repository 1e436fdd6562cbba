"""Decodes every track once into memory-mapped 16-bit files at one rate, with a manifest.

``<prepared>/<rate>/<source>/<track>.npy`` holds int16 (row, time, channel), one row per stem; ``<track>.json`` beside
it, written last, says what it is and what it was made from; ``manifest.json`` lists the tracks of the source.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hyperstem.config import DataConfig, SourceConfig
from hyperstem.data.rows import decode, measure, write_rows
from hyperstem.data.tracks import Track, find_tracks
from hyperstem.files import remove_leftovers, sha256, write_text
from hyperstem.parallel import in_threads

FORMAT = 1
MANIFEST = "manifest.json"


class Report(NamedTuple):
    """What `prepare` did."""

    prepared: int
    kept: int
    minutes: float
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


class _Done(NamedTuple):
    """One track's outcome: its manifest entry, whether it was already prepared, and warnings."""

    entry: dict[str, Any]
    kept: bool
    warnings: tuple[str, ...]


def source_folder(config: DataConfig, source: SourceConfig, rate_hz: int) -> Path:
    """The folder of the prepared `source`; `config` has absolute folders."""
    return Path(config.prepared) / str(rate_hz) / source.name


def settings(source: SourceConfig) -> dict[str, Any]:
    """The settings of a source that decide what is prepared, as JSON values."""
    names = ("layout", "path", "subset", "stem", "missing", "aliases", "sums", "exclude")
    return json.loads(json.dumps({name: getattr(source, name) for name in names}))


def prepare(
    config: DataConfig,
    stems: Sequence[str],
    rate_hz: int,
    *,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
    strict: bool = False,
) -> Report:
    """Prepares every source and validation set of `config`; keeps what is already there and unchanged.

    It may be interrupted at any time and run again: the result is the same as that of one run.

    Args:
        config: settings with absolute folders (`DataConfig.resolved`).
        stems: the model's stems, in order.
        rate_hz: the model's top rate.
        jobs: tracks that are decoded at the same time.
        progress: called with tracks done, tracks in all, and the name of the track just done.
        strict: leave out songs with damaged files; otherwise keep what can be decoded of them, with a warning.

    Returns:
        Counts, and one line for each song that could not be read; all others are prepared.

    Raises:
        ConfigError: the recordings' folder depends on an environment variable that is not set.
        DataError: a source's folder is missing, empty or lacks the subset.
    """
    sources = config.sources + config.validation
    root = config.recordings()
    found = [find_tracks(source, root, stems) for source in sources]
    total, done = sum(len(each.tracks) for each in found), 0
    problems, warnings, kept, prepared, seconds = [], [], 0, 0, 0.0
    for source, (tracks, unusable) in zip(sources, found, strict=True):
        problems += unusable
        folder = source_folder(config, source, rate_hz)
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        entries, told = [], {}
        for track, outcome in _outcomes(tracks, root, folder, stems, rate_hz, jobs, strict):
            done += 1
            if isinstance(outcome, _Done):
                entries.append(outcome.entry)
                for warning in outcome.warnings:
                    told.setdefault(warning.removeprefix(f"{source.name}: {track.name}: "), []).append(track.name)
                kept, prepared = kept + outcome.kept, prepared + (not outcome.kept)
                seconds += outcome.entry["frames"] / rate_hz
            else:
                problems.append(f"{source.name}: {track.name}: {outcome}")
            if progress:
                progress(done, total, f"{source.name}: {track.name}")
        warnings += [_together(source.name, warning, names) for warning, names in told.items()]
        _write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "source": source.name,
                "settings": settings(source),
                "rate_hz": rate_hz,
                "stems": list(stems),
                "tracks": entries,
            },
        )
    return Report(prepared, kept, seconds / 60, tuple(problems), tuple(warnings))


def _together(source: str, warning: str, names: list[str]) -> str:
    """One line for a warning that several tracks of a source share."""
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{source}: {names[0]}{others}: {warning}"


def _outcomes(
    tracks: Sequence[Track], root: Path, folder: Path, stems: Sequence[str], rate_hz: int, jobs: int, strict: bool
) -> Iterator[tuple[Track, "_Done | Exception"]]:
    """Each track with its outcome or error, in order. Decoding releases the GIL, so threads suffice."""

    def attempt(track: Track) -> _Done | Exception:
        try:
            return _prepare_track(track, root, folder, stems, rate_hz, strict)
        except (ValueError, OSError) as error:
            return error

    return zip(tracks, in_threads(attempt, tracks, jobs), strict=True)


def _prepare_track(track: Track, root: Path, folder: Path, stems: Sequence[str], rate_hz: int, strict: bool) -> _Done:
    key = track_key(track.name)
    sidecar, target = folder / f"{key}.json", folder / f"{key}.npy"
    wanted = _identity(track, root, stems, rate_hz)
    entry = _kept_entry(sidecar, target, wanted, track)
    if entry is not None and not (strict and entry.get("damaged")):
        return _Done(entry, True, tuple(entry["warnings"]))
    (folder / MANIFEST).unlink(missing_ok=True)  # it holds the scales of what is now replaced
    damage: list[str] = []
    rows, warnings = decode(track, stems, rate_hz, strict, damage)
    warnings += damage
    entry = (
        wanted
        | measure(rows, wanted["stems"], rate_hz)
        | {
            "file": target.name,
            "warnings": warnings,
            "damaged": bool(damage),
        }
    )
    entry["files"] = [_fingerprint(path, root) for path in track.files]
    write_rows(target, rows, stems, entry)
    _write_json(sidecar, entry)
    return _Done(entry, False, tuple(warnings))


def track_key(name: str) -> str:
    """A file name for the track `name`, unique to the name."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:60]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _identity(track: Track, root: Path, stems: Sequence[str], rate_hz: int) -> dict[str, Any]:
    """Everything but the files' contents that decides what is prepared."""
    return {
        "format": FORMAT,
        "name": track.name,
        "rate_hz": rate_hz,
        "solo": track.solo,
        "stems": [stem for stem in stems if stem in track.rows] if track.solo else list(stems),
        "sums": {first: list(members) for first, members in track.sums.items()},
        "parts": {
            stem: [[_relative(part.path, root), part.stream or 0] for part in parts]
            for stem, parts in track.rows.items()
        },
    }


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _kept_entry(sidecar: Path, target: Path, wanted: dict[str, Any], track: Track) -> dict[str, Any] | None:
    """The entry of an earlier run, if it is still valid."""
    try:
        entry = json.loads(sidecar.read_text(encoding="utf-8"))
        rows, channels = len(entry["stems"]), entry["channels"]
        whole = target.stat().st_size >= rows * channels * entry["frames"] * 2
        same = all(entry.get(key) == value for key, value in wanted.items())
        unchanged = len(entry["files"]) == len(track.files) and all(
            _unchanged(path, known) for path, known in zip(track.files, entry["files"], strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if whole and same and unchanged else None


def _unchanged(path: Path, known: dict[str, Any]) -> bool:
    status = path.stat()
    if status.st_size != known["bytes"]:
        return False
    return status.st_mtime_ns == known["mtime_ns"] or sha256(path) == known["sha256"]


def _fingerprint(path: Path, root: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "path": _relative(path, root),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256(path),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False))
