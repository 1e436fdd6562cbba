"""Extensions that other packages add by name: layouts of recordings, and losses.

A name is known if it was registered in this process, or is an entry point of an installed package:

    [project.entry-points."hyperstem.losses"]
    log_cosh = "mypackage:log_cosh"
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hyperstem.errors import ConfigError

LAYOUTS = "hyperstem.layouts"
LOSSES = "hyperstem.losses"

_registered: dict[str, dict[str, Any]] = {LAYOUTS: {}, LOSSES: {}}


def register(group: str, name: str, thing: Any) -> None:
    """Makes `thing` known by `name` in this process; registering the name again replaces it.

    Args:
        group: LAYOUTS or LOSSES.
        name: its name in configs.
        thing: as `hyperstem.data.tracks` describes layouts, and `hyperstem.training.losses` losses.
    """
    _registered[group][name] = thing


def names(group: str) -> list[str]:
    """All names that were added to a group, sorted."""
    return sorted({*_registered[group], *_installed(group)})


def find(group: str, name: str) -> Any:
    """The extension of that name in a group.

    Raises:
        ConfigError: there is none, or its package cannot be imported.
    """
    if name in _registered[group]:
        return _registered[group][name]
    point = _installed(group).get(name)
    if point is None:
        raise ConfigError(
            f"nothing is registered as {name!r} in {group}; there are {', '.join(names(group)) or 'none'}"
        )
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name!r} in {group} is {point.value}, which cannot be imported: {error}") from None


def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def require_known(name: str, own: tuple[str, ...], group: str, what: str) -> None:
    """Checks that a name in a config is known.

    Args:
        name: what the config says.
        own: the built-in names.
        group: the group of extensions.
        what: the setting, named in the error.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in own and name not in (added := names(group)):
        raise ConfigError(f"{what} is {name!r}; allowed are {', '.join(map(repr, (*own, *added)))}")
