"""The limits of one song's process, and messages for processes that exceed them."""

import contextlib
import os
import signal
import sys
import threading

from hyperstem.web.settings import StudioSettings

_READ_BYTES = 4096
NICE = 5
"""Added niceness, so that the studio itself, which serves the page, has precedence."""


def limit_process(memory_bytes: int, time_s: float, file_bytes: int) -> None:
    """Limits this process's memory, processor time and file size, where the system allows, and lowers its priority.

    Args:
        memory_bytes: address space.
        time_s: wall-clock limit; the processor time allowed is this on every core.
        file_bytes: the largest file it may write.
    """
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(NICE)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: int(time_s * (os.cpu_count() or 1)) + 1,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 512,
    }
    for kind, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def end_with_parent() -> None:
    """Ends this process when its standard input closes: when the studio stops, for whatever reason."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), _READ_BYTES):
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True, name="parent-watch").start()


def time_limit_message(settings: StudioSettings) -> str:
    """The error of a song that was stopped at the time limit."""
    return f"this song took longer than the studio allows one song ({settings.time_limit_s / 60:.0f} minutes)"


def describe_exit(status: int, settings: StudioSettings) -> str:
    """The error of a process that ended without a report, from its exit status."""
    if status == -getattr(signal, "SIGXCPU", 24):
        return time_limit_message(settings)
    if status == -getattr(signal, "SIGXFSZ", 25):
        return "the separated song would be larger than the studio's disk quota"
    if status < 0:
        name = signal.Signals(-status).name
        return f"{name} ended the process that separated this song: a damaged file, or too little memory"
    return f"the process that separated this song ended unexpectedly (status {status}); its log says why"
