"""Limits that a song's process sets on itself before it touches the song, its end with its parent's, and its causes."""

import contextlib
import os
import signal
import sys
import threading

from hyperstem.web.settings import StudioSettings

_WATCH_BYTES = 4096
NICE = 5
"""How much the studio's own process, which answers the page, goes before those of songs."""


def limit(memory_bytes: int, time_s: float, file_bytes: int) -> None:
    """Limits this process's memory, processor time and the size of its files, where the system can, and steps back.

    Args:
        memory_bytes: address space.
        time_s: wall-clock limit; the processor time allowed is that on every core.
        file_bytes: the largest file it may write.
    """
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(NICE)
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


def too_slow(settings: StudioSettings) -> str:
    """Why a song was stopped that took too long."""
    return f"this song took longer than the studio allows one song ({settings.time_limit_s / 60:.0f} minutes)"


def cause_of(status: int, settings: StudioSettings) -> str:
    """What a process that ended without a word died of, by its exit status."""
    if status == -getattr(signal, "SIGXCPU", 24):
        return too_slow(settings)
    if status == -getattr(signal, "SIGXFSZ", 25):
        return "the separated song would be larger than the studio's disk quota"
    if status < 0:
        name = signal.Signals(-status).name
        return f"the process that separated this song was ended by {name}: a damaged file, or too little memory"
    return f"the process that separated this song ended unexpectedly (status {status}); its log says why"
