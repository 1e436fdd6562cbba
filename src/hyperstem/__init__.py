"""hyperstem: vocals, drums, bass and other from any song."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Separator", "Stems", "__version__", "separate"]

if TYPE_CHECKING:
    from hyperstem.separation.separator import Separator, separate
    from hyperstem.separation.stems import Stems

    __version__: str
else:
    _HOMES = {
        "Separator": "hyperstem.separation.separator",
        "Stems": "hyperstem.separation.stems",
        "separate": "hyperstem.separation.separator",
    }

    def __getattr__(name: str) -> object:
        """Loads public names on first use (PEP 562), so that ``import hyperstem`` is instant."""
        if name == "__version__":
            from importlib.metadata import version

            return version("hyperstem")
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'hyperstem' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
