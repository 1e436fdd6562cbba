"""The SHA-256 of a song, computed while it is separated."""

import hashlib
import threading
from pathlib import Path
from typing import Self

_BLOCK_BYTES = 1 << 20


class Digest:
    """Computes a file's SHA-256 in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._value: str | OSError = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(path,), daemon=True)
        self._thread.start()

    def _run(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while not self._stopped.is_set() and (block := file.read(_BLOCK_BYTES)):
                    digest.update(block)
            self._value = digest.hexdigest()
        except OSError as error:
            self._value = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def result(self) -> str:
        """The digest in hexadecimal digits; waits until it is complete.

        Raises:
            OSError: the file cannot be read.
        """
        self._thread.join()
        if isinstance(self._value, OSError):
            raise self._value
        return self._value
