"""Files that appear complete or not at all: they are written under a temporary name beside their own, then renamed."""

import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".hyperstem-*.part"
"""Pattern of the temporary names."""
LEFTOVER_S = 3600
"""Age at which a temporary file of another machine counts as left behind; on this machine, when its process ends."""
_OWNER = re.compile(r"\.hyperstem-([0-9a-f]{8})-([0-9]+)-([0-9]+)-[0-9a-f]+\.part")
_WINDOWS_LONGEST = 259 - 64
"""Most characters of a path that leave room for a temporary name in the same folder."""
_MOST_FOLDERS = 2000
"""Most folders that a search for leftovers visits."""


def temporary_beside(path: Path) -> Path:
    """An unused name in the same folder: short, and naming the process that it belongs to."""
    pid = os.getpid()
    owner = f"{_machine()}-{pid}-{_started(pid)}-{secrets.token_hex(6)}"
    return path.with_name(TEMPORARY.replace("*", owner))


@functools.cache
def _machine() -> str:
    """Identifies the processes that this one can see: those since the machine booted, or of the same container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:8]


def _started(pid: int) -> int:
    """When a process started, in ticks since the machine booted; 0 if the system does not say.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            raise ProcessLookupError(f"no process {pid}") from None
        return 0
    except OSError:
        return 0
    return int(fields[19])


def _is_living(pid: int, started: int) -> bool:
    """Whether this process, and not a later one with the same number, is still running."""
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x0010_0000, False, pid)  # SYNCHRONIZE
        waited = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) if handle else 0
        ctypes.windll.kernel32.CloseHandle(handle)
        return waited == 0x102  # WAIT_TIMEOUT: it has not ended
    try:
        os.kill(pid, 0)
        return _started(pid) == started
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True


def _is_left(path: Path) -> bool:
    """Whether a temporary file's process has ended; files of other machines are judged by their age."""
    owner = _OWNER.fullmatch(path.name)
    if owner and owner[1] == _machine():
        return not _is_living(int(owner[2]), int(owner[3]))
    return time.time() - path.stat().st_mtime > LEFTOVER_S


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files in a folder whose processes have ended."""
    with suppress(OSError):
        for path in folder.glob(TEMPORARY):
            with suppress(OSError):
                if _is_left(path):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def remove_leftovers_below(folder: Path) -> None:
    """The same in the folder and those below it, nearest first, up to `_MOST_FOLDERS`."""
    waiting = deque([folder])
    for _ in range(_MOST_FOLDERS):
        if not waiting:
            return
        here = waiting.popleft()
        remove_leftovers(here)
        with suppress(OSError), os.scandir(here) as entries:
            waiting += [
                Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."
            ]


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path with ~ and ~name expanded to home folders; unchanged if there is no such user."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def extended(path: str) -> str:
    """An absolute Windows path in its extended form, which may have any length."""
    if path.startswith("\\\\?\\"):
        return path
    return "\\\\?\\UNC" + path[1:] if path.startswith("\\\\") else "\\\\?\\" + path


def without_extension(path: str) -> str:
    """The inverse of `extended`."""
    if path.startswith("\\\\?\\UNC\\"):
        return "\\\\" + path[8:]
    return path.removeprefix("\\\\?\\")


def name_in(folder: Path, path: Path) -> str:
    """A path as seen from the folder that it is in, with slashes; both may have the extended form."""
    plain, start = without_extension(str(path)), without_extension(str(folder))
    return Path(os.path.relpath(plain, start)).as_posix()


def reachable(folder: Path, below: int, windows: bool = os.name == "nt") -> Path:
    """A folder in the form that paths below it need to be opened.

    Args:
        folder: the folder.
        below: the most characters that follow the folder.
        windows: whether paths longer than 260 characters need the extended form.
    """
    absolute = os.path.abspath(folder)  # noqa: PTH100 (links are not followed)
    too_long = windows and len(absolute) + 1 + below > _WINDOWS_LONGEST
    return Path(extended(absolute)) if too_long else folder


def sha256(path: Path) -> str:
    """A file's SHA-256 as hexadecimal text.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block succeeds and is deleted otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, which appears complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
