from hypothesis import given
from hypothesis import strategies as st

from hyperstem.dsp.fourier import fast_length


def is_smooth(number: int) -> bool:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number == 1


@given(st.integers(1, 3000))
def test_the_next_length_with_small_factors(least):
    assert fast_length(least) == next(length for length in range(least, 2 * least + 1) if is_smooth(length))


@given(st.integers(1, 2**40))
def test_large_lengths_are_at_most_a_little_longer(least):
    length = fast_length(least)
    assert is_smooth(length)
    assert least <= length <= 2 * least
