"""Limits that a song's process sets on itself before it touches the song, and its end with its parent's."""

import contextlib
import os
import sys
import threading

_WATCH_BYTES = 4096


def limit(memory_bytes: int, time_s: float, file_bytes: int) -> None:
    """Limits this process's memory, processor time and the size of its files, where the system can.

    Args:
        memory_bytes: address space.
        time_s: wall-clock limit; the processor time allowed is that on every core.
        file_bytes: the largest file it may write.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    seconds = int(time_s * (os.cpu_count() or 1)) + 1
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 512,
    }
    for what, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            _, hard = resource.getrlimit(what)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(what, (value, value))


def end_with_parent() -> None:
    """Ends this process as soon as its standard input closes: when the studio stops, however that happens."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), _WATCH_BYTES):
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True, name="parent-watch").start()
