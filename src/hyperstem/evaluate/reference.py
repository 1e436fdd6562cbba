"""museval's own BSS Eval, for comparison with ours."""

import importlib.util
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from hyperstem.errors import DataError
from hyperstem.evaluate.bss import WINDOW_S, FrameScores, frame_count, silent


def museval_metrics() -> ModuleType:
    """museval's module with the formulas.

    Only this file is loaded: importing the package needs the ffmpeg program, pandas and musdb, the formulas do not.

    Raises:
        DataError: museval is not installed.
    """
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        raise DataError("museval is not installed; `pip install 'hyperstem[eval]'`, or run without --engine museval")
    path = f"{package.submodule_search_locations[0]}/metrics.py"
    spec = importlib.util.spec_from_file_location("hyperstem_museval_metrics", path)
    if spec is None or spec.loader is None:
        raise DataError(f"museval has no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def museval_scores(references: np.ndarray, estimates: Sequence[np.ndarray], rate_hz: int) -> list[FrameScores]:
    """Like `bss.bss_eval`, computed by museval.

    Raises:
        DataError: museval is not installed.
    """
    metrics = museval_metrics()
    window = int(WINDOW_S * rate_hz)
    results = []
    for estimate in estimates:
        sounding = ~silent(references) & ~silent(estimate)
        scores = np.full((4, len(references), frame_count(references.shape[-1], rate_hz)), np.nan)
        if sounding.any():
            pair = (np.moveaxis(wave[sounding].astype(np.float64), 1, 2) for wave in (references, estimate))
            scores[:, sounding] = metrics.bss_eval(*pair, window=window, hop=window)[:4]
        results.append(FrameScores(*np.where(np.isfinite(scores), scores, np.nan)))
    return results
