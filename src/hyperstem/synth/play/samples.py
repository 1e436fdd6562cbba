"""Sampled drum kits in Hydrogen's format (a folder with drumkit.xml and sound files)."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import resample
from hyperstem.errors import DataError, HyperstemError
from hyperstem.synth import dsp
from hyperstem.synth.compose.score import METAL, Hit

FOLDERS = (Path("/usr/share/hydrogen/data/drumkits"),)
_NAMES = (  # the first pattern that fits an instrument's name tells what it is
    ("rim", r"side|rim|stick|click"),
    ("kick", r"kick|bass ?drum|^bd"),
    ("clap", r"clap"),
    ("snare", r"snare"),
    ("open", r"(hat|hh|hi-?hat).*(op|free|swish)|open|ohh"),
    ("hat", r"hat|hh"),
    ("china", r"china|splash"),
    ("crash", r"crash"),
    ("ride", r"ride|bell|cymbal"),
    ("floor", r"floor|tom.*low|low.*tom|drum 1|bass$"),
    ("mid", r"tom.*(mid|2)|mid.*tom|drum 2"),
    ("tom", r"tom"),
    ("tambourine", r"tambo"),
    ("cowbell", r"cowbell|agogo|wood|clave"),
    ("conga", r"conga|bongo|cajon|tone|slap"),
    ("shaker", r"shak|marac"),
)


_MUTES = {
    "hat": ("hat", "open"),
    "open": ("hat", "open"),
    "ride": ("ride",),
    "tambourine": ("tambourine",),
    "shaker": ("shaker",),
}
"""Which strokes end which: cymbals that ring into one another drown the rest."""


class Layer(NamedTuple):
    """A sound file and the velocities it is for."""

    path: Path
    low: float
    high: float


class Kit(NamedTuple):
    """A kit's name, its licence as it states it, and the layers of every piece."""

    name: str
    licence: str
    pieces: dict[str, tuple[tuple[Layer, ...], ...]]


def find_kits(folders: Sequence[Path] = FOLDERS) -> list[Kit]:
    """Kits that have at least kick, snare and hat, sorted by name."""
    kits = []
    for folder in folders:
        for path in sorted(folder.glob("*/drumkit.xml")):
            try:
                kit = read_kit(path)
            except DataError:
                continue
            if {"kick", "snare", "hat"} <= kit.pieces.keys():
                kits.append(kit)
    return kits


def read_kit(path: Path) -> Kit:
    """Reads a drumkit.xml; files that are missing are left out.

    Raises:
        DataError: it is not XML, or a loudness in it is no number.
    """
    try:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8", errors="replace"))
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not a drum kit: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without its namespace
    pieces: dict[str, list[tuple[Layer, ...]]] = {}
    for instrument in root.iter("instrument"):
        name = (instrument.findtext("name") or "").lower()
        piece = next((piece for piece, pattern in _NAMES if re.search(pattern, name)), None)
        layers = []
        for layer in [*instrument.iter("layer")] or [instrument]:
            file = path.parent / (layer.findtext("filename") or "")
            if file.is_file():
                low, high = (
                    _number(layer.findtext(name) or default, path) for name, default in (("min", "0"), ("max", "1"))
                )
                layers.append(Layer(file, low, high))
        if piece and layers:
            pieces.setdefault(piece, []).append(tuple(sorted(layers, key=lambda layer: layer.low)))
    licence = (root.findtext("license") or "see the package's copyright file").strip()
    name = root.findtext("name") or path.parent.name
    return Kit(name, licence, {piece: tuple(found) for piece, found in pieces.items()})


def _number(text: str, path: Path) -> float:
    """A number as kits hold it: some were saved where the decimal sign is a comma."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise DataError(f"{path}: {text!r} is no number") from None


def render_kit(hits: Sequence[Hit], kit: Kit, samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Plays strokes with the kit's sounds; a piece the kit lacks is played on a kindred one or left out.

    Returns:
        float32 (2, samples).
    """
    kin = {
        "rim": "snare",
        "clap": "snare",
        "open": "hat",
        "china": "crash",
        "crash": "ride",
        "ride": "hat",
        "floor": "tom",
        "mid": "tom",
        "tom": "mid",
        "conga": "mid",
        "tambourine": "hat",
        "shaker": "hat",
        "cowbell": "rim",
    }
    chosen: dict[str, tuple[Layer, ...]] = {}
    tune = {piece: float(2.0 ** rng.normal(0, 0.05)) for piece in kin} | {"kick": float(2.0 ** rng.normal(0, 0.07))}
    levels: dict[str, float] = {}
    sounds: dict[tuple[Path, float], np.ndarray] = {}
    track = np.zeros((2, samples), np.float32)
    strokes = {piece: [hit.start_s for hit in hits if hit.piece == piece] for piece in {hit.piece for hit in hits}}
    for hit in hits:
        name = hit.piece if hit.piece in kit.pieces else kin.get(hit.piece, "")
        if name not in kit.pieces:
            continue
        if hit.piece not in chosen:
            options = kit.pieces[name]
            chosen[hit.piece] = options[int(rng.integers(len(options)))]
            soft_db = -6.0 if hit.piece in METAL else 0.0
            levels[hit.piece] = dsp.db(soft_db + float(rng.normal(0, 2.0)))
        layers = chosen[hit.piece]
        fitting = [layer for layer in layers if layer.low <= hit.velocity <= layer.high] or list(layers)
        layer = fitting[int(rng.integers(len(fitting)))]
        wave = _sound(layer.path, rate_hz, tune.get(hit.piece, 1.0), sounds)
        length = wave.shape[1]
        for piece in _MUTES.get(hit.piece, ()):
            later = strokes.get(piece, [])
            if (after := bisect_right(later, hit.start_s + 0.02)) < len(later):
                length = min(length, int((later[after] - hit.start_s) * rate_hz))
        if length < wave.shape[1]:
            wave = wave[:, :length] * dsp.envelope(length, 0.0, 0.02, rate_hz)
        loud = hit.velocity if len(layers) == 1 else 0.4 + 0.6 * hit.velocity
        dsp.add_at(track, wave, int(hit.start_s * rate_hz), loud * levels[hit.piece])
    return track


def _sound(path: Path, rate_hz: int, tune: float, sounds: dict[tuple[Path, float], np.ndarray]) -> np.ndarray:
    """A sound file as stereo at `rate_hz`, at most four seconds, tuned; a broken one is silent."""
    if (path, tune) not in sounds:
        try:
            wave, from_hz = audio.read(path, duration_s=4.0)
            wave = resample(wave[:2], round(from_hz * tune / 100) * 100, rate_hz)
        except (HyperstemError, OSError):
            wave = np.zeros((2, 16), np.float32)
        wave = np.broadcast_to(wave, (2, wave.shape[1])) if wave.shape[0] == 1 else wave
        sounds[path, tune] = np.ascontiguousarray(wave * dsp.envelope(wave.shape[1], 0.0, 0.02, rate_hz), np.float32)
    return sounds[path, tune]
