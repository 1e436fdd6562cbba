"""Files that appear whole or not at all: written under a temporary name beside their own, which they then take."""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".hyperstem-*.part"
"""Pattern of the temporary names, by which what a killed program left behind is known."""
LEFTOVER_S = 3600
"""Age at which what has a temporary name is a killed program's."""


def temporary_beside(path: Path) -> Path:
    """A free name in the same folder, short whatever `path` is called."""
    return path.with_name(TEMPORARY.replace("*", secrets.token_hex(6)))


def remove_leftovers(folder: Path) -> None:
    """Removes what killed programs left in a folder; what is new may belong to one at work."""
    for left in folder.glob(TEMPORARY):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


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
