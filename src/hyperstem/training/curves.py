"""A picture of a run: loss, validation scores, learning rate and speed over the steps."""

from pathlib import Path
from typing import Any

from hyperstem.files import replacing
from hyperstem.training import journal


def draw(folder: Path) -> Path | None:
    """Draws ``curves.png`` from a run's log.

    Returns:
        The picture, or None where matplotlib is not installed or there is nothing to draw yet.
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
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    _line(axes[0, 0], trained, "loss", "loss")
    _scores(axes[0, 1], scored)
    _line(axes[1, 0], trained, "learning_rate", "learning rate")
    _line(axes[1, 1], trained, "audio_s_per_s", "seconds of audio per second")
    for axis in axes.flat:
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    path = folder / "curves.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return path


def _line(axis: Any, records: list[dict[str, Any]], key: str, title: str) -> None:
    points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    axis.plot(*zip(*points, strict=True), linewidth=1) if points else None
    axis.set_title(title)


def _scores(axis: Any, records: list[dict[str, Any]]) -> None:
    """Solid lines: SDR of each stem; dashed: SI-SNR."""
    axis.set_title("validation, dB (solid: SDR, dashed: SI-SNR)")
    for i, stem in enumerate(records[0]["sdr"] if records else ()):
        for kind, style in (("sdr", "-"), ("si_snr", "--")):
            points = [(record["step"], record[kind][stem]) for record in records if record[kind].get(stem) is not None]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    style,
                    color=f"C{i}",
                    marker=".",
                    linewidth=1,
                    label=stem if kind == "sdr" else None,
                )
    if records:
        axis.legend(loc="best", fontsize="small")
