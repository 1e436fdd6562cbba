"""Scores separated stems against the true ones: BSS Eval v4, SI-SDR and plain SDR, with baselines beside them.

It knows only Separator, never the network, and scores somebody else's stems just as well.
"""

from hyperstem.evaluate.evaluation import BASELINES, Evaluation, Progress, Settings, score_dataset, summary

__all__ = ["BASELINES", "Evaluation", "Progress", "Settings", "score_dataset", "summary"]
