"""Shards: equal parts of a catalogue, for machines that work on it without knowing of each other."""

import hashlib
import re
from typing import NamedTuple, Self

from hyperstem.errors import ConfigError


class Shard(NamedTuple):
    """Part `index`, from 1, of `count`."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that a text such as "2/8" names.

        Raises:
            ConfigError: it does not name one.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise ConfigError(f"shard is {text!r}; give I/N with I from 1 to N, such as 2/8")
        return shard

    def holds(self, name: str) -> bool:
        """Whether the song whose stems have this name belongs to this shard, and to no other on any machine."""
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


WHOLE = Shard()
"""The whole catalogue."""
