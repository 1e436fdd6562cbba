"""Decodes every track once into memory-mapped 16-bit files at one rate, with a manifest.

``<prepared>/<rate>/<source>/<track>.npy`` holds int16 (row, time, channel), one row per stem; ``<track>.json`` beside
it, written last, describes it and the files it was made from; ``manifest.json`` lists the tracks of the source.
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


class _Prepared(NamedTuple):
    """A prepared track."""

    entry: dict[str, Any]
    """Its entry in the manifest."""
    kept: bool
    """Whether it was already prepared."""
    warnings: tuple[str, ...]


def source_folder(config: DataConfig, source: SourceConfig, rate_hz: int) -> Path:
    """The folder of the prepared `source`; `config` has absolute folders."""
    return Path(config.prepared) / str(rate_hz) / source.name


def settings(source: SourceConfig) -> dict[str, Any]:
    """The settings of a source that its prepared files depend on, as JSON values."""
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
    """Prepares all sources and validation sets of `config`; keeps tracks that are prepared and unchanged.

    After an interruption, another call continues; the result is the same.

    Args:
        config: settings with absolute folders (`DataConfig.resolved`).
        stems: the model's stems, in order.
        rate_hz: the model's top rate.
        jobs: number of tracks to decode at the same time.
        progress: called after each track with the number of tracks done and in all, and its name.
        strict: leave out songs with damaged files; otherwise use what can be decoded, with a warning.

    Returns:
        Counts, and one line for each song that could not be prepared.

    Raises:
        ConfigError: the folder of the recordings contains an environment variable that is not set.
        DataError: a source's folder is missing, empty or lacks the subset.
    """
    sources = config.sources + config.validation
    root = config.recordings()
    listings = [find_tracks(source, root, stems) for source in sources]
    total, done = sum(len(each.tracks) for each in listings), 0
    problems, warnings, kept, prepared, seconds = [], [], 0, 0, 0.0
    for source, (tracks, unusable) in zip(sources, listings, strict=True):
        problems += unusable
        folder = source_folder(config, source, rate_hz)
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        entries, names_by_warning = [], {}
        for track, outcome in _outcomes(tracks, root, folder, stems, rate_hz, jobs, strict):
            done += 1
            if isinstance(outcome, _Prepared):
                entries.append(outcome.entry)
                for warning in outcome.warnings:
                    warning = warning.removeprefix(f"{source.name}: {track.name}: ")
                    names_by_warning.setdefault(warning, []).append(track.name)
                kept, prepared = kept + outcome.kept, prepared + (not outcome.kept)
                seconds += outcome.entry["frames"] / rate_hz
            else:
                problems.append(f"{source.name}: {track.name}: {outcome}")
            if progress:
                progress(done, total, f"{source.name}: {track.name}")
        warnings += [_joined(source.name, warning, names) for warning, names in names_by_warning.items()]
        manifest = {"format": FORMAT, "source": source.name, "settings": settings(source), "rate_hz": rate_hz}
        _write_json(folder / MANIFEST, manifest | {"stems": list(stems), "tracks": entries})
    return Report(prepared, kept, seconds / 60, tuple(problems), tuple(warnings))


def _joined(source: str, warning: str, names: list[str]) -> str:
    """One line for a warning about several tracks of a source."""
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{source}: {names[0]}{others}: {warning}"


def _outcomes(
    tracks: Sequence[Track], root: Path, folder: Path, stems: Sequence[str], rate_hz: int, jobs: int, strict: bool
) -> Iterator[tuple[Track, "_Prepared | Exception"]]:
    """Each track with its result or error, in order, in threads: decoding releases the GIL."""

    def attempt(track: Track) -> _Prepared | Exception:
        try:
            return _prepare_track(track, root, folder, stems, rate_hz, strict)
        except (ValueError, OSError) as error:
            return error

    return zip(tracks, in_threads(attempt, tracks, jobs), strict=True)


def _prepare_track(
    track: Track, root: Path, folder: Path, stems: Sequence[str], rate_hz: int, strict: bool
) -> _Prepared:
    key = track_key(track.name)
    sidecar, target = folder / f"{key}.json", folder / f"{key}.npy"
    identity = _identity(track, root, stems, rate_hz)
    entry = _kept_entry(sidecar, target, identity, track)
    if entry is not None and not (strict and entry.get("damaged")):
        return _Prepared(entry, True, tuple(entry["warnings"]))
    (folder / MANIFEST).unlink(missing_ok=True)  # its scales are those of the replaced file
    damage: list[str] = []
    rows, warnings = decode(track, stems, rate_hz, strict, damage)
    warnings += damage
    entry = identity | measure(rows, identity["stems"], rate_hz)
    entry |= {"file": target.name, "warnings": warnings, "damaged": bool(damage)}
    entry["files"] = [_fingerprint(path, root) for path in track.files]
    write_rows(target, rows, stems, entry)
    _write_json(sidecar, entry)
    return _Prepared(entry, False, tuple(warnings))


def track_key(name: str) -> str:
    """A unique file name for the track `name`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:60]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _identity(track: Track, root: Path, stems: Sequence[str], rate_hz: int) -> dict[str, Any]:
    """All that the prepared files depend on, except the content of the recordings."""
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


def _kept_entry(sidecar: Path, target: Path, identity: dict[str, Any], track: Track) -> dict[str, Any] | None:
    """The entry of an earlier call, if it is still valid."""
    try:
        entry = json.loads(sidecar.read_text(encoding="utf-8"))
        rows, channels = len(entry["stems"]), entry["channels"]
        complete = target.stat().st_size >= rows * channels * entry["frames"] * 2
        same = all(entry.get(key) == value for key, value in identity.items())
        unchanged = len(entry["files"]) == len(track.files) and all(
            _unchanged(path, known) for path, known in zip(track.files, entry["files"], strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if complete and same and unchanged else None


def _unchanged(path: Path, known: dict[str, Any]) -> bool:
    status = path.stat()
    return status.st_size == known["bytes"] and (
        status.st_mtime_ns == known["mtime_ns"] or sha256(path) == known["sha256"]
    )


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
