"""Reading objects from web servers."""

import errno
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_TIMEOUT_S = 60


class TransferError(OSError):
    """A server does not answer, or not correctly; a retry may succeed."""

    def __init__(self, text: str, url: str) -> None:
        super().__init__(None, text, url)


def size_and_stamp(url: str) -> tuple[int | None, str]:
    """Size and stamp (ETag or date) of an object, as far as the server says.

    Raises:
        OSError: it does not exist, or the server does not answer.
    """
    with _opened(url) as page:  # signed URLs do not allow HEAD requests
        stamp = page.headers.get("ETag") or page.headers.get("Last-Modified") or ""
        return _length(page), stamp


def download(url: str, path: Path, block_bytes: int) -> None:
    """Copies an object to a file.

    Raises:
        OSError: it does not exist, did not arrive completely, or cannot be written.
    """
    with _opened(url) as page, path.open("wb") as file:
        try:
            shutil.copyfileobj(page, file, block_bytes)
        except http.client.HTTPException as error:
            raise TransferError(f"the server broke off: {first_line(error)}", url) from None
        size = _length(page)
    check_size(url, path, size)


def _length(page: Any) -> int | None:
    length = page.headers.get("Content-Length") or ""
    return int(length) if length.isdecimal() else None


def _opened(url: str) -> Any:
    try:
        return urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(errno.ENOENT, "no such page", url) from None
        if error.code in (401, 403):
            raise PermissionError(errno.EACCES, f"the server refuses it ({error.code})", url) from None
        raise TransferError(f"the server answers {error.code}", url) from None
    except http.client.HTTPException as error:
        raise TransferError(first_line(error), url) from None
    except urllib.error.URLError as error:
        raise TransferError(str(error.reason), url) from None


def check_size(url: str, path: Path, size: int | None) -> None:
    """Raises a TransferError unless the file has `size` bytes; None is not checked."""
    got = path.stat().st_size
    if size is not None and got != size:
        raise TransferError(f"{got} of {size} bytes arrived", url)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 300 characters."""
    text = str(error).strip().partition("\n")[0]
    return text[:300] or type(error).__name__
