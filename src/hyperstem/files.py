"""Files that appear whole or not at all: written under a temporary name beside their own, which they then take."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".hyperstem-*.part"
"""Pattern of the temporary names, by which what a killed program left behind is known."""


def temporary_beside(path: Path) -> Path:
    """A free name in the same folder, short whatever `path` is called."""
    return path.with_name(TEMPORARY.replace("*", secrets.token_hex(6)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
