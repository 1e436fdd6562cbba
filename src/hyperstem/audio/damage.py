"""What was found wrong with a file while it was read: told in words, or, to those who are strict, an error."""

from collections.abc import Callable
from pathlib import Path

from hyperstem.errors import AudioError

Warn = Callable[[str], None]


class Findings:
    """Collects what is wrong with one file.

    Args:
        path: of the file.
        strict: sound that is lost is an error.
    """

    def __init__(self, path: Path, strict: bool = False) -> None:
        self.path, self.strict = path, strict
        self.offset_s = 0.0
        """Where the part that is read begins, in files that were joined."""
        self.from_s = 0.0
        """What is wrong before this does not matter."""
        self._notes: list[str] = []
        self._places: list[tuple[float, float]] = []

    def note(self, text: str) -> None:
        """Something that costs no sound."""
        if text not in self._notes:
            self._notes.append(text)

    def fault(self, text: str) -> None:
        """Something wrong that is not at one place.

        Raises:
            AudioError: strict.
        """
        if self.strict:
            raise AudioError(f"{self.path} {text}; strict reading refuses it")
        self.note(text)

    def lost(self, at_s: float, lost_s: float) -> None:
        """Sound that cannot be decoded.

        Raises:
            AudioError: strict.
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
        """Bytes between the sound that are none of it.

        Raises:
            AudioError: strict.
        """
        if at_s + self.offset_s >= self.from_s:
            self.fault(f"has {size} foreign bytes at {at_s + self.offset_s:.2f} s")

    def short(self, decoded_s: float, promised_s: float | None) -> None:
        """The file ends earlier than it says.

        Raises:
            AudioError: strict.
        """
        of = "" if promised_s is None else f"of {promised_s:.2f} s "
        self.fault(f"is damaged or cut short: {decoded_s:.2f} s {of}can be decoded")

    def texts(self) -> list[str]:
        """One line each, in the order found; places where sound is lost are one line together."""
        if not self._places:
            return list(self._notes)
        total_s = sum(lost_s for _, lost_s in self._places)
        first_s, last_s = self._places[0][0], self._places[-1][0]
        where = f"at {first_s:.2f} s" if len(self._places) == 1 else f"in {len(self._places)} places from {first_s:.2f}"
        where += f" s to {last_s:.2f} s" if len(self._places) > 1 else ""
        return [f"is damaged {where}: {total_s:.2f} s cannot be decoded", *self._notes]
