"""What the studio says about itself while it runs: lines for people, or JSON for machines, on standard error."""

import json
import logging
import time
from typing import Any, Literal

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields that came with the record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        values: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def set_up(level: str, style: Literal["text", "json"]) -> None:
    """Has every log of this process written to standard error.

    Args:
        level: the least that is written, of `LEVELS`. Requests and the life of songs are "info".
        style: how.
    """
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.INFO))
