"""The quality settings, in a module that is quick to import."""

from typing import Literal, get_args

Quality = Literal["preview", "standard", "full"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)


def stages_of(quality: Quality, stages: int) -> int:
    """How many of a network's stages run at this quality."""
    return min(stages, {"preview": 1, "standard": 2, "full": stages}[quality])
