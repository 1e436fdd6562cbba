"""Folders that exist only as long as a song needs them."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


class Folders:
    """Creates folders for songs, and removes those that are still empty once no song needs them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: set[Path] = set()
        self._songs: Counter[Path] = Counter()

    @contextlib.contextmanager
    def held(self, folders: set[Path]) -> Iterator[None]:
        """Keeps the folders in place until the block ends."""
        above = {parent for folder in folders for parent in (folder, *folder.parents)}
        try:
            with self._lock:
                self._songs.update(above)
                self._made |= {folder for folder in above if not folder.exists()}
                for folder in folders:
                    folder.mkdir(parents=True, exist_ok=True)
            yield
        finally:
            with self._lock:
                self._songs.subtract(above)
                for folder in sorted(above & self._made, reverse=True):
                    if not self._songs[folder]:
                        with contextlib.suppress(OSError):
                            folder.rmdir()
