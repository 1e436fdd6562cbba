"""Names of the files that are written: templates and what fills them."""

from pathlib import Path
from string import Formatter

from hyperstem.errors import ConfigError
from hyperstem.separation.manifest import MANIFEST

FIELDS = ("track", "stem", "ext", "folder")
"""What a template may hold in braces."""
_LONGEST_TRACK = 200
"""Bytes of a track's name that go into paths; file systems hold 255 with the stem and the ending."""


def check_template(template: str, one_file: bool) -> None:
    """Refuses templates whose files would be one, or lie outside the output folder.

    Args:
        template: of paths below the output folder.
        one_file: a song has one file only, so that no field for the stem is needed.

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
    """Names of the fields in a template, which stand alone in their braces: a format could make two stems one file.

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


def filled(template: str, track: str, stem: str, ext: str, folder: str = "") -> Path:
    """A template's path for one file, below the output folder."""
    text = template.format(track=track, stem=stem, ext=ext, folder=folder)
    return Path(*(part for part in text.split("/") if part))


def track_name(source: Path) -> str:
    """What a song is called in paths: its file's name without the ending."""
    name = source.name.removesuffix(source.suffix) or source.name
    if name.lower().endswith(".stem"):
        name = name[:-5] or name
    if not name.strip("."):
        name = source.name  # "." and ".." are folders of their own
    return name.encode(errors="surrogateescape")[:_LONGEST_TRACK].decode(errors="ignore") or "track"
