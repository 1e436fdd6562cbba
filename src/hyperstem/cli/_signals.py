"""Signals that end a program cleanly."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closing terminal (SIGHUP) raise KeyboardInterrupt in the block.

    A second signal is ignored until the process ends: it must not interrupt the clean-up. Signals that were ignored, as
    under nohup, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]

    def interrupt(*_: object) -> None:
        for number in ours:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is interrupt:
                signal.signal(number, before[number])
