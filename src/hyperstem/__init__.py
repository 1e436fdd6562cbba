"""hyperstem: vocals, drums, bass and other from any song."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Separator": "hyperstem.separation.separator",
    "Stems": "hyperstem.separation.separator",
    "separate": "hyperstem.separation.separator",
}

__all__ = ["Separator", "Stems", "__version__", "separate"]


def __getattr__(name: str) -> Any:
    """Loads public names on first use (PEP 562), so that ``import hyperstem`` is instant."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hyperstem")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hyperstem' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
