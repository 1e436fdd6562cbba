"""The manifest beside a song's stems: what they were made from and how, and so whether they are up to date.

A manifest holds no times and no absolute paths: the same work gives the same bytes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def read(path: Path) -> dict[str, Any]:
    """The contents of a manifest, empty if there is none or it is not one of ours."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) and "hyperstem" in contents else {}


def is_ours(path: Path) -> bool:
    """Whether the manifest exists and is one of ours."""
    return bool(read(path))


def files(path: Path) -> list[Path]:
    """The files that the manifest at `path` lists as its stems."""
    stems = read(path).get("stems")
    names = stems.values() if isinstance(stems, dict) else ()
    return [path.parent / name for name in names if isinstance(name, str)]


def relative(paths: Mapping[str, Path], manifest: Path) -> dict[str, str]:
    """Files as a manifest names them, relative to its own folder."""
    return {name: Path(os.path.relpath(path, manifest.parent)).as_posix() for name, path in paths.items()}


def agrees(contents: Mapping[str, Any], work: Mapping[str, Any]) -> bool:
    """Whether a manifest describes this work, that is its model, settings and files, for any song.

    Args:
        contents: of a manifest, from `read` or from elsewhere.
        work: what `contents.work` gives. Settings that are None may be missing, as in older manifests.
    """
    try:
        same_model = contents["model"]["sha256"] == work["model"]["sha256"]
        return same_model and contents["stems"] == work["stems"] and _set(contents) == _set(work)
    except (KeyError, TypeError, AttributeError):
        return False


def _set(contents: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in contents["settings"].items() if value is not None}


def is_of(contents: Mapping[str, Any], digest: str) -> bool:
    """Whether a manifest belongs to the song with this SHA-256."""
    source = contents.get("source")
    return isinstance(source, dict) and source.get("sha256") == digest != ""
