"""Names of the output files: templates and their fields."""

import os
import re
from pathlib import Path, PurePath
from string import Formatter

from hyperstem.errors import ConfigError
from hyperstem.separation.manifest import MANIFEST

FIELDS = ("track", "stem", "ext", "folder")
"""The fields that a template may have, in braces."""
_NOT_ON_WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICE = re.compile("con|prn|aux|nul|conin\\$|conout\\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]", re.IGNORECASE)
_LONGEST_TRACK = 200
"""Most bytes of a track's name in paths; file systems allow 255 with the stem and the extension."""


def check_template(template: str, one_file: bool) -> None:
    """Refuses templates that name several files alike, or files outside the output folder.

    Args:
        template: for paths below the output folder.
        one_file: each song has a single file, so the template needs no {stem}.

    Raises:
        ConfigError: naming the fault.
    """
    if "stem" not in fields(template) and not one_file:
        raise ConfigError(f"template {template!r} has no {{stem}}; all stems would be one file")
    if Path(template).is_absolute() or ".." in Path(template).parts:
        raise ConfigError(f"template {template!r} leads out of the output folder")
    if Path(template).name.casefold() == MANIFEST:
        raise ConfigError(f"template {template!r} names the files {MANIFEST}, which is written beside them")


def fields(template: str) -> list[str]:
    """Names of the fields in a template. Format specs and conversions are refused: they could name two stems alike.

    Raises:
        ConfigError: there are other fields, or the braces do not match.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ConfigError(f"template {template!r}: {error}") from None
    for _, name, form, conversion in parts:
        if name not in FIELDS or form or conversion:
            given = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise ConfigError(f"template {template!r} has {{{given}}}; allowed are {', '.join(FIELDS)}")
    return [name for _, name, _, _ in parts if name is not None]


def filled(
    template: str, track: str, stem: str, ext: str, folder: str = "", windows: bool = os.name == "nt"
) -> PurePath:
    """A template's path for one file, below the output folder, in names that the system allows."""
    if windows:
        folder = "/".join(windows_name(part) for part in folder.split("/") if part)
    text = template.format(track=track, stem=stem, ext=ext, folder=folder)
    return PurePath(*(part for part in text.split("/") if part))


def track_name(source: PurePath, windows: bool = os.name == "nt") -> str:
    """A song's name in paths: its file's name without the extension, as the system allows it."""
    name = source.name.removesuffix(source.suffix) or source.name
    if name.lower().endswith(".stem"):
        name = name[:-5] or name
    if not name.strip("."):
        name = source.name  # "." and ".." would be folders
    name = name.encode(errors="surrogateescape")[:_LONGEST_TRACK].decode(errors="ignore") or "track"
    return windows_name(name) if windows else name


def windows_name(name: str) -> str:
    """A file's or folder's name as Windows allows it: no dot or space at its end, and no device name.

    Source: Microsoft, "Naming Files, Paths, and Namespaces".
    """
    name = _NOT_ON_WINDOWS.sub("_", name).rstrip(". ") or "_"
    head, dot, rest = name.partition(".")
    return f"{head}_{dot}{rest}" if _DEVICE.fullmatch(head.strip()) else name
