from itertools import chain

import pytest

from hyperstem.errors import ConfigError
from hyperstem.separation.sharding import WHOLE, Shard


def test_each_song_belongs_to_one_part_of_about_the_same_size():
    names = [f"band/{number}/manifest.json" for number in range(2000)] + ["\udcff.json"]
    parts = [[name for name in names if Shard(index, 4).holds(name)] for index in range(1, 5)]
    assert sorted(chain(*parts)) == sorted(names)
    assert all(400 < len(part) < 600 for part in parts)
    assert all(WHOLE.holds(name) for name in names)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", "", "1 / 2", "١/٢"])
def test_parts_that_are_none(text):
    with pytest.raises(ConfigError, match="give I/N"):
        Shard.parse(text)


def test_parts():
    assert Shard.parse("2/8") == (2, 8)
