"""Samples as fixed-point steps, which sum to the steps of the mixture."""

import numpy as np

_LOUDEST_OVER = 512


def whole_steps(groups: np.ndarray, gain: float, bits: int, mixture: np.ndarray | None) -> np.ndarray:
    """Samples as whole steps of fixed point, still as floats.

    Args:
        groups: (file, channel, time) float32, full scale 1.
        gain: what they are multiplied by.
        bits: 16 or 24.
        mixture: (channel, time) float32 that the files sum to, so that their steps sum to its steps; None: they do not.
    """
    kind = np.float32 if bits == 16 else np.float64  # float32 holds 24 bits, but not their products
    factor = kind(gain * (1 << (bits - 1)))
    steps = groups * factor
    np.rint(steps, out=steps)
    if mixture is not None:
        keep_sum(steps, np.rint(mixture * factor))
    return steps


def as_integers(steps: np.ndarray, bits: int) -> np.ndarray:
    """(file, channel, time) as integers, laid out in memory as in files: (file, time, channel)."""
    files, channels, time = steps.shape
    integers = np.empty((files, time, channels), np.int16 if bits == 16 else np.int32)
    result = integers.transpose(0, 2, 1)
    for row in np.ndindex(files, channels):  # at once, numpy would not loop over time innermost: six times slower
        np.copyto(result[row], steps[row], casting="unsafe")
    return result


def keep_sum(steps: np.ndarray, target: np.ndarray) -> None:
    """Makes (file, channel, time) steps sum to (channel, time) in place: the loudest file gets the rounding error.

    The loudest is chosen anew every `_LOUDEST_OVER` samples. Whole steps are exact as floats.
    """
    missing = target - steps.sum(axis=0)
    _, channels, time = steps.shape
    whole = time // _LOUDEST_OVER * _LOUDEST_OVER
    for begin, end, span in ((0, whole, _LOUDEST_OVER), (whole, time, time - whole)):
        if begin == end:
            continue
        spans = steps[..., begin:end].reshape(*steps.shape[:2], -1, span)  # (file, channel, span, sample), a view
        loudest = np.einsum("fcnk,fcnk->fcn", spans, spans).argmax(axis=0)
        spans[loudest, *np.ogrid[:channels, : spans.shape[2]]] += missing[:, begin:end].reshape(channels, -1, span)
