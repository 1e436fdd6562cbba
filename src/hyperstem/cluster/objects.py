"""Songs and stems at URLs: object stores (``s3://``, ``gs://``, ``az://``) by obstore, and reading from the web.

An object appears complete or not at all: object stores have no other way to write one.
"""

import contextlib
import errno
import functools
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hyperstem.cluster import web
from hyperstem.cluster.web import TransferError, check_size, first_line
from hyperstem.errors import ClusterError, ConfigError, HyperstemError

STORES = ("s3", "gs", "az")
WEB = ("http", "https")
_PART_BYTES = 1 << 20


class Entry(NamedTuple):
    """One object."""

    url: str
    size: int | None
    stamp: str
    """Changes when the object changes; empty if the server does not say."""


def scheme(place: str) -> str:
    """The scheme of a URL; empty for a path."""
    head, found, _ = place.partition("://")
    return head.lower() if found and head.isalnum() else ""


def is_url(place: str) -> bool:
    """Whether a place is a URL, not a local path."""
    return bool(scheme(place))


def check(place: str, writable: bool = False) -> None:
    """Refuses URLs that cannot be read, or written.

    Raises:
        ConfigError: the scheme is unknown, there is no bucket, or obstore is not installed.
    """
    kind = scheme(place)
    allowed = STORES if writable else (*STORES, *WEB)
    if kind not in allowed:
        what = "written" if writable else "read"
        raise ConfigError(f"{place} cannot be {what}; allowed are paths and {', '.join(f'{s}://' for s in allowed)}")
    if not _split(place)[0].partition("://")[2]:
        raise ConfigError(f"{place} names no bucket or host")
    if kind in STORES and find_spec("obstore") is None:
        raise ConfigError(f"{kind}:// needs obstore, which is not installed: pip install 'hyperstem[ray]'")


def bucket(url: str) -> str:
    """Scheme and bucket, or host."""
    return _split(url)[0]


def join(place: str, *parts: str) -> str:
    """A place below another."""
    return "/".join([place.rstrip("/"), *parts])


def entries(url: str) -> Iterator[Entry]:
    """What a URL names: the object itself, or else all objects below it, in pages and in the store's order.

    Raises:
        OSError: nothing exists there, or the store does not answer.
    """
    if scheme(url) in WEB:
        yield Entry(url, None, "")  # not checked until it is downloaded: lists may have millions
        return
    import obstore

    root, path = _split(url)
    with _one_line_errors(url):
        if path and not path.endswith("/"):
            try:
                meta = obstore.head(_store(root), path)
            except FileNotFoundError:
                pass
            else:
                yield _entry(root, meta)
                return
        found = False
        for page in obstore.list(_store(root), path.rstrip("/") or None, chunk_size=1000):
            for meta in page:
                found = True
                yield _entry(root, meta)
        if not found:
            raise FileNotFoundError(errno.ENOENT, "nothing there", url)


def stat(url: str) -> Entry:
    """Current size and stamp of one object.

    Raises:
        OSError: it does not exist, or the server does not answer.
    """
    if scheme(url) in WEB:
        return Entry(url, *web.size_and_stamp(url))
    import obstore

    root, path = _split(url)
    with _one_line_errors(url):
        return _entry(root, obstore.head(_store(root), path))


def exists(url: str) -> bool:
    """Whether there is an object of this name."""
    import obstore

    root, path = _split(url)
    with _one_line_errors(url):
        try:
            obstore.head(_store(root), path)
        except FileNotFoundError:
            return False
    return True


def read(url: str) -> bytes | None:
    """A small object's bytes; None if there is none.

    Raises:
        OSError: the store does not answer.
    """
    import obstore

    root, path = _split(url)
    with _one_line_errors(url):
        try:
            return bytes(obstore.get(_store(root), path).bytes())
        except FileNotFoundError:
            return None


def download(url: str, path: Path) -> None:
    """Copies an object to a file.

    Raises:
        OSError: it does not exist, did not arrive completely, or cannot be written.
    """
    if scheme(url) in WEB:
        web.download(url, path, _PART_BYTES)
        return
    import obstore

    root, name = _split(url)
    with _one_line_errors(url), path.open("wb") as file:
        found = obstore.get(_store(root), name)
        for part in found.stream(min_chunk_size=_PART_BYTES):
            file.write(part)
        size = found.meta["size"]
    check_size(url, path, size)


def upload(path: Path, url: str) -> None:
    """Copies a file to an object, which appears once it is complete.

    Raises:
        OSError: the store does not accept it.
    """
    import obstore

    root, name = _split(url)
    with _one_line_errors(url):
        obstore.put(_store(root), name, path)


def write(data: bytes, url: str) -> None:
    """Creates or replaces a small object.

    Raises:
        OSError: the store does not accept it.
    """
    import obstore

    root, name = _split(url)
    with _one_line_errors(url):
        obstore.put(_store(root), name, data)


def delete(url: str) -> None:
    """Removes an object, if it exists.

    Raises:
        OSError: the store does not answer.
    """
    import obstore

    root, name = _split(url)
    with _one_line_errors(url):
        try:
            obstore.delete(_store(root), name)
        except FileNotFoundError:
            return


def _split(url: str) -> tuple[str, str]:
    """Scheme with bucket, and the path below it."""
    head, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{head.lower()}://{bucket}", path


@functools.cache
def _store(root: str) -> Any:
    """The client of a bucket; keys, region and endpoint come from the environment or the machine's role."""
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    plain = any(os.environ.get(name, "").startswith("http://") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    try:
        return from_url(root, client_options={"allow_http": plain})
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{root}: {first_line(error)}") from None


def _entry(root: str, meta: Any) -> Entry:
    stamp = meta["e_tag"] or meta["last_modified"].isoformat()
    return Entry(f"{root}/{meta['path']}", meta["size"], stamp)


@contextlib.contextmanager
def _one_line_errors(url: str) -> Iterator[None]:
    """Turns the client's errors, whose messages are pages long, into errors of one line."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError):
        raise PermissionError(errno.EACCES, "the store refuses it", url) from None
    except BaseError as error:
        raise TransferError(first_line(error), url) from None
    except FileNotFoundError as error:
        raise (error if error.errno else FileNotFoundError(errno.ENOENT, "no such object", url)) from None
    except HyperstemError:
        raise
    except ValueError as error:  # a name that stores do not allow
        raise ClusterError(f"{url}: {first_line(error)}") from None


def file_name(url: str) -> str:
    """The last part of a URL, as a valid file name."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path) if scheme(url) in WEB else _split(url)[1]
    return path.rstrip("/").rpartition("/")[2].replace("\\", "_").replace("\0", "_") or "song"


def folder(url: str) -> str:
    """The folder in a URL's path, such as "a/b"."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path) if scheme(url) in WEB else _split(url)[1]
    parts = [part for part in path.split("/")[:-1] if part not in ("", ".", "..")]
    return "/".join(parts)
