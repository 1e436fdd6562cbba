"""Notifies event streams of changes."""

import asyncio
import contextlib
from collections.abc import Iterator


class Subscribers:
    """The events of all who wait for changes. Used from one event loop."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    def __len__(self) -> int:
        return len(self._events)

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change of any job."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    def notify(self) -> None:
        """Sets all events."""
        for event in self._events:
            event.set()
