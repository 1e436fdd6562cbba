"""The box plot of an evaluation, if matplotlib is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperstem.evaluate.report import song_medians
from hyperstem.evaluate.scores import SongScores
from hyperstem.files import replacing


def box_plot(
    path: Path,
    scored: Mapping[str, Sequence[SongScores]],
    stems: Sequence[str],
    marks: Mapping[str, float] | None = None,
) -> bool:
    """Writes a box plot of the songs' SDR: one group of boxes per stem, one box per method.

    Args:
        path: the ``.png`` file.
        scored: scores of the songs by method.
        stems: names of the stems.
        marks: a published SDR for each stem, drawn as a line across its group.

    Returns:
        Whether the picture was written: False if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(2 + 1.8 * len(stems), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(scored)
    for i, (label, songs) in enumerate(scored.items()):
        positions = [group - 0.4 + (i + 0.5) * width for group in range(len(stems))]
        boxes = axes.boxplot(
            [song_medians(songs, stem) for stem in stems],
            positions=positions,
            widths=0.85 * width,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black"},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(f"C{i}")
        axes.plot([], [], color=f"C{i}", linewidth=8, label=label)
    for group, stem in enumerate(stems):
        if marks and stem in marks:
            axes.hlines(
                marks[stem],
                group - 0.45,
                group + 0.45,
                colors="black",
                linestyles="dotted",
                label="published, Meta-TasNet" if group == 0 else "",
            )
    axes.set_xticks(range(len(stems)), stems)
    axes.set_ylabel("SDR (BSS Eval v4), dB; one value per song")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
