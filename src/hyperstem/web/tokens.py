"""Sources of the studio's token; not its arguments, which every user of the computer can read."""

import os
import secrets
from pathlib import Path

from hyperstem.errors import ConfigError

VARIABLE = "HYPERSTEM_TOKEN"
TOKEN_BYTES = 24
MAX_BYTES = 4096


def read_token(file: Path | None) -> str | None:
    """The token from `file` or else the environment, from which it is deleted, so that child processes do not see it.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    variable = os.environ.pop(VARIABLE, "").strip()
    if file is None:
        return variable or None
    try:
        with file.open(encoding="utf-8") as opened:
            token = opened.read(MAX_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token file {file}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    if not token:
        raise ConfigError(f"token file {file} is empty; it must contain only the token")
    return token


def new_token() -> str:
    """A new token."""
    return secrets.token_urlsafe(TOKEN_BYTES)
