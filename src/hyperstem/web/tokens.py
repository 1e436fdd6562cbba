"""Where the studio's token comes from: never from its arguments, which every user of the computer can read."""

import os
import secrets
from pathlib import Path

from hyperstem.errors import ConfigError

VARIABLE = "HYPERSTEM_TOKEN"
MADE_BYTES = 24
MAX_BYTES = 4096


def given(file: Path | None) -> str | None:
    """The token in `file`, else that in the environment, where the processes of songs do not find it any more.

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
        raise ConfigError(f"token file {file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if not token:
        raise ConfigError(f"token file {file} is empty; it must hold the token and nothing else")
    return token


def made() -> str:
    """A new token."""
    return secrets.token_urlsafe(MADE_BYTES)
