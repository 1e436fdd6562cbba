"""Fourier transforms."""


def fast_length(least: int) -> int:
    """The smallest length of at least `least` that has no prime factor above 5, so that its transforms are fast."""
    best = 1 << (least - 1).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << (-(-least // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best
