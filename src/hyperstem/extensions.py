"""What others add to hyperstem by name: layouts of recordings, and losses.

A name is known once it was registered in this process, or is an entry point of an installed package:

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
    """Makes `thing` known by `name` in this process; a later one of the same name replaces it.

    Args:
        group: LAYOUTS or LOSSES.
        name: how configs call it.
        thing: what `hyperstem.data.tracks` says of layouts, `hyperstem.training.losses` of losses.
    """
    _registered[group][name] = thing


def names(group: str) -> list[str]:
    """All names that were added to a group, sorted."""
    return sorted({*_registered[group], *_installed(group)})


def find(group: str, name: str) -> Any:
    """What was added to a group by that name.

    Raises:
        ConfigError: nothing was, or its package cannot be imported.
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
    """Checks a name in a config.

    Args:
        name: what the config says.
        own: the names that hyperstem itself knows.
        group: of those that others add.
        what: the setting, named in the error.

    Raises:
        ConfigError: nobody knows the name.
    """
    if name not in own and name not in (added := names(group)):
        raise ConfigError(f"{what} is {name!r}; allowed are {', '.join(map(repr, (*own, *added)))}")
