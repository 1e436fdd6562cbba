"""Scores separated stems against the true ones: BSS Eval v4, SI-SDR, SDR and listening measures, with baselines.

It uses models only through Separator, and scores the stems of other programs in the same way.
"""

from hyperstem.evaluate.evaluation import Evaluation, Progress, Settings, score_dataset, summary

__all__ = ["Evaluation", "Progress", "Settings", "score_dataset", "summary"]
