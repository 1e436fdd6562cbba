"""Keeps benchmarks/RESULTS.md: a section per benchmark, each written by its own script."""

import os
import platform
import re
from pathlib import Path

from hyperstem.files import write_text

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = "# Results\n\nEach section is written by the script that it names.\n"


def write_section(title: str, body: str, path: Path = RESULTS) -> None:
    """Puts `body` under the heading `title`, in place of what stood there; other sections stay as they are."""
    text = path.read_text(encoding="utf-8") if path.is_file() else HEAD
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    new = f"## {title}\n\n{body.strip()}\n"
    kept = [section.strip() + "\n" for section in sections if section.partition("\n")[0] != f"## {title}"]
    text = "\n".join([head.strip() + "\n", *sorted([*kept, new])])
    write_text(path, text)


def machine() -> str:
    """One line about the processor."""
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        name = found.group(1) if found else name
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"
