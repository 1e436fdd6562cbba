"""The contents of a song's manifest."""

from pathlib import Path
from typing import Any

from hyperstem.separation import manifest
from hyperstem.separation.output import Output
from hyperstem.separation.separator import Separator
from hyperstem.separation.tasks import BatchSettings, Task


def work(separator: Separator, task: Task, settings: BatchSettings) -> dict[str, Any]:
    """The part of a song's manifest that is known before separation: model, settings and files."""
    chosen = settings.output
    return {
        "model": {
            "name": Path(separator.model_name).name,
            "sha256": separator.model_sha256,
            "trained": separator.trained,
        },
        "settings": {
            "quality": separator.quality,
            "segment_s": separator.segment_s,
            "overlap": separator.overlap,
            "format": chosen.format.name,
            "subtype": chosen.subtype if chosen.format.lossless else None,
            "bitrate": chosen.bitrate,
            "clip": chosen.clip,
            "rate_hz": chosen.rate_hz,
            "channels": chosen.channels,
            "stream": settings.stream,
            "start_s": settings.start_s,
            "duration_s": settings.duration_s,
        },
        "stems": manifest.relative(task.paths, task.manifest),
    }


def manifest_contents(
    separator: Separator,
    task: Task,
    settings: BatchSettings,
    output: Output,
    digest: str,
    seconds: float,
    warnings: list[str],
) -> dict[str, Any]:
    """The contents of the manifest, without times or absolute paths, so that the same work gives the same bytes."""
    from importlib.metadata import version  # slow to import, and not needed until the end

    return {
        "hyperstem": version("hyperstem"),
        "source": {"name": task.source.name, "sha256": digest},
        **work(separator, task, settings),
        "rate_hz": output.rate_hz,
        "frames": output.frames,
        "seconds": seconds,
        "gain": output.gain,
        "peak": output.peak,
        "warnings": warnings,
    }
