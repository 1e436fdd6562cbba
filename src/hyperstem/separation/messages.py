"""Errors of a song as one line and as a kind; results as JSON lines."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperstem.errors import ExistsError, HyperstemError


def error_line(source: Path | str, error: Exception) -> str:
    """The file and the error, in one line."""
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(source) else ""
        text = f"{error.strerror or error}{where}"
    else:
        text = str(error)
    text = text if text.startswith(str(source)) else f"{source}: {text}"
    return " ".join(text.splitlines())


def reason_of(error: Exception) -> str:
    """The kind of an error, by which failures are counted."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "disk full"
        kinds = {FileNotFoundError: "missing", PermissionError: "not allowed"}
        return next((word for kind, word in kinds.items() if isinstance(error, kind)), "system")
    if isinstance(error, HyperstemError):
        return "exists" if isinstance(error, ExistsError) else "audio"
    return "out of memory" if isinstance(error, MemoryError) else "internal error"


def json_line(values: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, so that it is valid in any encoding of the terminal."""
    return json.dumps(values)
