"""Problems found in a file while it is read: reported as warnings, or raised as errors if reading is strict."""

from collections.abc import Callable
from pathlib import Path

from hyperstem.errors import AudioError

Warn = Callable[[str], None]


class Findings:
    """Collects the problems of one file.

    Args:
        path: the file.
        strict: lost sound is an error.
    """

    def __init__(self, path: Path, strict: bool = False) -> None:
        self.path, self.strict = path, strict
        self.offset_s = 0.0
        """Start of the part that is being read, in concatenated files."""
        self.from_s = 0.0
        """Problems before this time are ignored."""
        self._notes: list[str] = []
        self._places: list[tuple[float, float]] = []

    def note(self, text: str) -> None:
        """Notes a problem that loses no sound."""
        if text not in self._notes:
            self._notes.append(text)

    def fault(self, text: str) -> None:
        """Notes a problem that has no single position.

        Raises:
            AudioError: reading is strict.
        """
        if self.strict:
            raise AudioError(f"{self.path} {text}; strict reading refuses it")
        self.note(text)

    def lost(self, at_s: float, lost_s: float) -> None:
        """Notes sound that cannot be decoded.

        Raises:
            AudioError: reading is strict.
        """
        at_s += self.offset_s
        if at_s + lost_s < self.from_s:
            return
        if self.strict:
            raise AudioError(
                f"{self.path} is damaged at {at_s:.2f} s: {lost_s:.2f} s cannot be decoded; strict reading refuses it"
            )
        self._places.append((at_s, lost_s))

    def foreign(self, at_s: float, size: int) -> None:
        """Notes foreign bytes within the sound.

        Raises:
            AudioError: reading is strict.
        """
        if at_s + self.offset_s >= self.from_s:
            self.fault(f"has {size} foreign bytes at {at_s + self.offset_s:.2f} s")

    def short(self, decoded_s: float, promised_s: float | None) -> None:
        """Notes that the file ends earlier than it says.

        Raises:
            AudioError: reading is strict.
        """
        of = "" if promised_s is None else f"of {promised_s:.2f} s "
        self.fault(f"is damaged or cut short: {decoded_s:.2f} s {of}can be decoded")

    def texts(self) -> list[str]:
        """One line per problem, in the order found; all places where sound is lost share one line."""
        if not self._places:
            return list(self._notes)
        total_s = sum(lost_s for _, lost_s in self._places)
        first_s, last_s = self._places[0][0], self._places[-1][0]
        where = f"at {first_s:.2f} s" if len(self._places) == 1 else f"in {len(self._places)} places from {first_s:.2f}"
        where += f" s to {last_s:.2f} s" if len(self._places) > 1 else ""
        return [f"is damaged {where}: {total_s:.2f} s cannot be decoded", *self._notes]
