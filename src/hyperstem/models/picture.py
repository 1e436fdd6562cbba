"""A picture of what a network has learned: its embeddings, their similarity, and its masks for a song."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperstem.errors import ModelError
from hyperstem.files import replacing

MASK_S = 6.0
"""Most seconds of a song for which masks are drawn."""


class StageMasks(NamedTuple):
    """Masks of one stage for an excerpt of a song."""

    title: str
    values: np.ndarray
    """(stem, latent channel or row, frame), 0 to 1."""
    seconds: float
    rows: bool = False
    """Whether the masks are those of rows of a spectrum, the lowest first, not of channels of a latent."""


def embeddings(network: Any) -> dict[str, np.ndarray]:
    """Every stage's embeddings (stem, embedding_dim) by name; empty where a network has none."""
    named = dict(network.named_parameters())
    return {name: tensor.detach().numpy() for name, tensor in named.items() if name.rpartition(".")[2] == "embedding"}


def masks(network: Any, wave: np.ndarray, rate_hz: int) -> list[StageMasks]:
    """The masks of a network for the first seconds of a song: of each stage of a MetaTasNet, and of a MetaUNet.

    Args:
        network: in evaluation mode.
        wave: (channel, time).
        rate_hz: its sample rate.

    Raises:
        ModelError: the network is of another kind.
    """
    import torch

    from hyperstem.dsp.resample import normalise, pyramid
    from hyperstem.network import MetaTasNet, MetaUNet

    if not isinstance(network, MetaTasNet | MetaUNet):
        raise ModelError("masks of this kind of network cannot be drawn")
    config = network.config
    wave = wave[:, : round(MASK_S * rate_hz)]
    if config.audio_channels != wave.shape[0]:
        wave = np.repeat(wave.mean(axis=0, keepdims=True), config.audio_channels, axis=0)
    inputs = normalise(pyramid(wave, rate_hz, config.rates_hz)).waves
    waves = [torch.from_numpy(np.ascontiguousarray(each if config.audio_channels > 1 else each[0])) for each in inputs]
    given, seconds = [each.unsqueeze(0) for each in waves], wave.shape[-1] / rate_hz
    found, stems = [], None
    with torch.no_grad():
        if tasnet := network if isinstance(network, MetaTasNet) else network.draft:
            found, stems = _stage_masks(tasnet, given, seconds)
        if isinstance(network, MetaUNet):
            spectrum = network.spectrum(given[0])
            draft = None if stems is None else network.draft_spectra(stems, spectrum)
            values = network.refinement(spectrum, draft).masks.norm(dim=-1).mean(2)[0].clamp(max=1.0)
            title = f"U-Net, up to {network.config.rate_hz // 2} Hz"
            found.append(StageMasks(title, values.numpy(), seconds, rows=True))
    return found


def _stage_masks(network: Any, given: list[Any], seconds: float) -> tuple[list[StageMasks], Any]:
    """The masks of each stage of a MetaTasNet, and the first stage's stems."""
    caught: list[Any] = []
    hooks = [
        stage.masking.register_forward_hook(lambda module, given, found: caught.append(found[0].numpy()))
        for stage in network.stages
    ]
    try:
        stems = network(given)[0].stems
    finally:
        for hook in hooks:
            hook.remove()
    titles = (f"stage {i}, {rate} Hz" for i, rate in enumerate(network.config.rates_hz))
    return [StageMasks(title, values, seconds) for title, values in zip(titles, caught, strict=True)], stems


def draw(path: Path, network: Any, wave: np.ndarray | None = None, rate_hz: int = 0) -> None:
    """Draws the embeddings and, if a song is given, its masks.

    Args:
        path: the picture, ``.png``, ``.svg`` or ``.pdf``.
        network: in evaluation mode.
        wave: (channel, time) of a song; None draws no masks.
        rate_hz: its sample rate.

    Raises:
        ModelError: matplotlib is not installed, the extension is unknown, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModelError("matplotlib is not installed; `pip install 'hyperstem[plot]'`") from None
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ModelError(f"{path} ends in {path.suffix or 'nothing'}; pictures are .png, .svg or .pdf")
    rows = embeddings(network)
    made = [] if wave is None else masks(network, wave, rate_hz)
    if not rows and not made:
        raise ModelError("this network has no embeddings; give a song to draw its masks")
    stems = network.config.stems
    figure = Figure(figsize=(3 + 3 * len(stems), 2.6 * len(rows) + 2.2 * len(made)), layout="constrained")
    parts = figure.subfigures(len(rows) + len(made), 1, squeeze=False)[:, 0]
    for part, (name, values) in zip(parts, rows.items(), strict=False):
        _draw_embeddings(part, name, values, stems)
    for part, stage in zip(parts[len(rows) :], made, strict=True):
        _draw_masks(part, stage, stems)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=110)


def _draw_embeddings(figure: Any, name: str, values: np.ndarray, stems: tuple[str, ...]) -> None:
    """The embedding of every stem, and the cosine similarities between stems."""
    numbers, cosines = figure.subplots(1, 2, width_ratios=(2, 1))
    limit = np.abs(values).max()
    shown = numbers.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    numbers.set_title(name)
    numbers.set_yticks(range(len(stems)), stems)
    numbers.set_xlabel("number of the embedding")
    figure.colorbar(shown, ax=numbers)
    directions = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    shown = cosines.imshow(directions @ directions.T, cmap="RdBu_r", vmin=-1, vmax=1)
    cosines.set_title("cosine between stems")
    cosines.set_yticks(range(len(stems)), stems)
    cosines.set_xticks(range(len(stems)), stems, rotation=45)
    figure.colorbar(shown, ax=cosines)


def _draw_masks(figure: Any, stage: StageMasks, stems: tuple[str, ...]) -> None:
    """Every stem's mask: rows, the lowest at the bottom, or latent channels by the stem with the largest mask."""
    axes = figure.subplots(1, len(stems), sharey=True, squeeze=False)[0]
    order = np.argsort(stage.values.mean(axis=2).argmax(axis=0), kind="stable")
    if stage.rows:
        order = np.arange(stage.values.shape[1])[::-1]
    shown = None
    for axis, stem, values in zip(axes, stems, stage.values, strict=True):
        extent = (0.0, stage.seconds, *((0.0, len(values)) if stage.rows else (len(values), 0.0)))
        shown = axis.imshow(values[order], vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="nearest")
        axis.set_title(f"{stem}, {stage.title}", fontsize="small")
        axis.set_xlabel("seconds")
    axes[0].set_ylabel("row, lowest at the bottom" if stage.rows else "latent channel, by stem")
    figure.colorbar(shown, ax=axes)
