"""Receives an upload: streams it to disk within a size limit, and checks its first bytes before it is accepted."""

import asyncio
import contextlib
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from hyperstem.audio import READABLE

IDLE_S = 60.0
DRAIN_BYTES, DRAIN_S = 32 << 20, 2.0
"""How much of a refused upload is still read, and for how long."""
FIELD_BYTES = 1000
OVERHEAD_BYTES = 64 << 10
"""Allowed size of a request beyond the file itself."""

NOT_AUDIO = {
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a compressed archive",
    b"7z\xbc\xaf": "a compressed archive",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"SQLite format": "a database",
}


class UploadError(Exception):
    """The upload is refused with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Upload(NamedTuple):
    """An upload on disk: the client's name for it, its size, and the form's other fields."""

    name: str
    size: int
    fields: dict[str, str]


Reserve = Callable[[int], Awaitable[None]]
"""Reserves disk space for this many bytes in total; raises an UploadError if there is not enough."""


async def receive(request: Request, path: Path, max_bytes: int, reserve: Reserve) -> Upload:
    """Streams the form's ``file`` to `path`.

    Raises:
        UploadError: 413 too large, 415 not a multipart form or clearly not audio, 422 no file, 400 malformed,
            408 stalled, 507 the disk is full.
    """
    chunks = aiter(request.stream())
    try:
        return await _received(request, chunks, path, max_bytes, reserve)
    except UploadError:
        await _drain(chunks)
        raise


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads more of a refused upload: a client that is still sending would lose the response with the connection."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError, StopAsyncIteration, ClientDisconnect):
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                left -= len(await anext(chunks))


async def _received(
    request: Request, chunks: AsyncIterator[bytes], path: Path, max_bytes: int, reserve: Reserve
) -> Upload:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise UploadError(415, "send the song as multipart/form-data in a field named 'file'")
    if not options.get(b"boundary"):
        raise UploadError(400, "the multipart form names no boundary")
    too_large = UploadError(413, f"this file is larger than the studio accepts ({_size(max_bytes)})")
    length = request.headers.get("content-length", "")
    length = int(length) if length.isdecimal() else 0
    if length > max_bytes + OVERHEAD_BYTES:
        raise too_large
    await reserve(length)
    try:
        with path.open("wb") as file:
            form = _Form(file, max_bytes, too_large)
            parser = MultipartParser(options[b"boundary"], form.callbacks())
            await _feed(chunks, parser, max_bytes + OVERHEAD_BYTES, too_large, reserve)
            parser.finalize()
    except MultipartParseError as error:
        raise UploadError(400, f"the multipart form is malformed: {error}") from None
    except OSError as error:
        raise UploadError(507, f"the studio cannot store this song: {error.strerror}") from None
    if not form.complete:
        raise UploadError(400, "the upload ends in the middle of the form")
    if form.name is None:
        raise UploadError(422, "the form has no file in a field named 'file'")
    check_kind(path)
    return Upload(clean_name(form.name), form.size, form.fields)


async def _feed(
    chunks: AsyncIterator[bytes], parser: MultipartParser, max_bytes: int, too_large: UploadError, reserve: Reserve
) -> None:
    total = 0
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), IDLE_S)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadError(408, f"the upload stalled for {IDLE_S:.0f} seconds") from None
        except ClientDisconnect:
            raise UploadError(400, "the upload was interrupted") from None
        total += len(chunk)
        if total > max_bytes:
            raise too_large
        await reserve(total)
        parser.write(chunk)


class _Form:
    """Receives the parser's events: writes the part named ``file`` to disk, and collects other short fields."""

    def __init__(self, file: BinaryIO, max_bytes: int, too_large: UploadError) -> None:
        self._file, self._max_bytes, self._too_large = file, max_bytes, too_large
        self.name: str | None = None
        self.size = 0
        self.fields: dict[str, str] = {}
        self.complete = False
        self._header, self._value, self._headers = b"", b"", {}
        self._field: str | None = None
        self._data = b""

    def callbacks(self) -> Any:
        """The parser's callbacks."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._field, self._data = {}, None, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == "file":
            if self.name is not None:
                raise UploadError(422, "the form has more than one file; send one song at a time")
            if b"filename" not in options:
                raise UploadError(422, "the field 'file' is not a file")
            # Source: HTML Standard, "multipart/form-data encoding algorithm": a quotation mark is sent as %22.
            self.name = options[b"filename"].decode("utf-8", "replace").replace("%22", '"')

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == "file":
            self.size += end - start
            if self.size > self._max_bytes:
                raise self._too_large
            self._file.write(data[start:end])
        else:
            self._data += data[start:end]
            if len(self._data) > FIELD_BYTES:
                raise UploadError(413, f"the form's field {self._field!r} is longer than {FIELD_BYTES} bytes")

    def _part_end(self) -> None:
        if self._field != "file" and self._field is not None:
            self.fields[self._field] = self._data.decode("utf-8", "replace")

    def _end(self) -> None:
        self.complete = True


def check_kind(path: Path) -> None:
    """Refuses a file whose first bytes show that it is not audio.

    Raises:
        UploadError: 415.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise UploadError(415, "this file is empty")
    for magic, what in NOT_AUDIO.items():
        if head.startswith(magic):
            raise UploadError(415, f"this file is {what}, not sound")
    if re.fullmatch(rb"[\t\n\r\x20-\x7e]+", head) and not head.startswith((b"RIFF", b"FORM", b"OggS", b"fLaC", b"ID3")):
        raise UploadError(415, "this file is text, not sound")


def clean_name(name: str) -> str:
    """The client's file name for display: no folders, no control characters, 200 characters at most."""
    last = PurePosixPath(name.replace("\\", "/")).name
    visible = "".join(char for char in unicodedata.normalize("NFC", last) if unicodedata.category(char)[0] != "C")
    return visible.strip()[:200] or "song"


def suffix_of(name: str) -> str:
    """The name's extension if it is a known audio one, else empty."""
    return next((suffix for suffix in READABLE if name.lower().endswith(suffix)), "")


def _size(count: int) -> str:
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count} bytes"
