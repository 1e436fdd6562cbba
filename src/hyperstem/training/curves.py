"""Plots of a run: loss and its parts, validation scores, learning rate, gradient norm and speed by step."""

from pathlib import Path
from typing import Any

from hyperstem.files import replacing
from hyperstem.training import journal
from hyperstem.training.validation import Scores

_STYLES = ("-", "--", ":", "-.")


def draw(folder: Path) -> Path | None:
    """Draws ``curves.png`` from the log of a run, with legends beside the axes.

    Returns:
        Its path, or None if matplotlib is not installed or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    records = journal.read(folder)
    trained = [record for record in records if record["event"] == "train"]
    scored = [record for record in records if record["event"] == "validation"]
    if not trained:
        return None
    panels = _panels(trained, scored)
    figure = Figure(figsize=(16, 3.5 * -(-len(panels) // 2)), layout="constrained")
    axes = list(figure.subplots(-(-len(panels) // 2), 2, squeeze=False).flat)
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        for i, (label, points) in enumerate(lines.items()):
            style = _STYLES[i // 10 % len(_STYLES)]
            axis.plot(*zip(*points, strict=True), style, color=f"C{i % 10}", marker=".", linewidth=1, label=label)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="x-small", ncols=-(-len(lines) // 16))
    for axis in axes[len(panels) :]:
        axis.remove()
    path = folder / "curves.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return path


Lines = dict[str, list[tuple[int, float]]]
"""Points (step, value) by label."""


def _panels(trained: list[dict[str, Any]], scored: list[dict[str, Any]]) -> dict[str, Lines]:
    """Title and lines of every panel that has lines."""
    parts = sorted({name for record in trained for name in record.get("parts", {})})
    panels = {
        "loss": {"loss": _line(trained, "loss")},
        "parts of the loss": {name: _line(trained, "parts", name) for name in parts},
        **{f"validation: {kind}, dB": _by_stem(scored, kind) for kind in Scores._fields},
        "learning rate": {"learning rate": _line(trained, "learning_rate")},
        "norm of the gradient": {"norm": _line(trained, "gradient_norm")},
        "seconds of audio per second": {"speed": _line(trained, "audio_s_per_s")},
    }
    kept = {title: {label: points for label, points in lines.items() if points} for title, lines in panels.items()}
    return {title: lines for title, lines in kept.items() if lines}


def _by_stem(records: list[dict[str, Any]], kind: str) -> Lines:
    stems = dict.fromkeys(stem for record in records for stem in record.get(kind, {}))
    return {stem: _line(records, kind, stem) for stem in stems}


def _line(records: list[dict[str, Any]], *keys: str) -> list[tuple[int, float]]:
    """Step and value of every record that has a value under `keys`."""
    points = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            points.append((record["step"], value))
    return points
