"""Settings from TOML and JSON: dataclasses whose fields hold what their types and limits say."""

import copy
import dataclasses
import functools
import math
import sys
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from hyperstem.config.limits import FINITE, Limits
from hyperstem.errors import ConfigError

T = TypeVar("T")


class Checked:
    """Base of dataclasses whose fields are checked whenever one is made, from a file or in Python.

    Raises:
        ConfigError: a value is of the wrong type or beyond its field's `Limits`, or no finite number.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _checked(hint, getattr(self, name), name))


class _OutOfLimits(ConfigError):
    """A value of the right type that is not allowed."""


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def from_mapping(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Builds the dataclass `kind` from plain values, checking every key and type.

    Args:
        kind: a dataclass; fields that are dataclasses take nested mappings.
        mapping: keys to values as TOML or JSON give them; lists become tuples.
        where: what an error names as the place, e.g. ``"configs/paper.toml [model]"``.

    Raises:
        ConfigError: for an unknown or missing key, a value of the wrong type or out of range.
    """
    fields = {spec.name: spec for spec in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; known keys are {', '.join(fields)}")
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in mapping:
            raise ConfigError(f"{where}: key {name!r} is missing")
    values = {key: _checked(_hints(kind)[key], value, f"{where}: {key}") for key, value in mapping.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked(hint: Any, value: Any, where: str, limits: Limits = FINITE) -> Any:
    """`value` as the type `hint`: nested dataclasses and tuples are built, an int passes for a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _checked(arguments[0], value, where, arguments[1])
    if origin in (typing.Union, types.UnionType):
        return _one_of(hint, value, where, limits)
    if origin is Literal and value in arguments:
        return value
    if origin is Literal:
        raise ConfigError(f"{where} is {value!r}; allowed are {', '.join(map(repr, arguments))}")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_checked(arguments[0], item, f"{where}[{i}]", limits) for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {key: _checked(arguments[1], item, f"{where}.{key}", limits) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where) if isinstance(value, Mapping) else _instance(hint, value, where)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    return _limited(_instance(hint, value, where), where, limits)


def _one_of(hint: Any, value: Any, where: str, limits: Limits) -> Any:
    """`value` as the first type of the union `hint` that it has."""
    for option in typing.get_args(hint):
        try:
            return _checked(option, value, where, limits)
        except _OutOfLimits:
            raise
        except ConfigError:
            continue
    raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")


def _instance(hint: Any, value: Any, where: str) -> Any:
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")
    return value


def _limited(value: Any, where: str, limits: Limits) -> Any:
    if type(value) in (int, float) and not limits.allow(value):
        raise _OutOfLimits(f"{where} is {value}; it must be {limits}")
    return value


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _describe(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a table"
    names = {int: "an integer", float: "a number", str: "text", bool: "true or false", types.NoneType: "nothing"}
    return names.get(hint, str(hint))


def to_mapping(settings: Any) -> dict[str, Any]:
    """The dataclass `settings` as plain JSON values; the inverse of `from_mapping`."""
    return {key: _plain(value) for key, value in vars(settings).items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def load_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is missing or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def read_tables(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a config file, some values set from outside.

    Args:
        path: a TOML file.
        assignments: what `assigned` takes.

    Raises:
        ConfigError: the file is no config, or an assignment leads nowhere.
    """
    tables = load_toml(path)
    for assignment in assignments:
        tables = assigned(tables, assignment)
    check_tables(tables, path)
    return tables


TABLES = ("model", "loss", "data", "train")


def check_tables(tables: Mapping[str, Any], path: str | Path) -> None:
    """Refuses a parsed config whose top level holds anything but the known tables.

    Raises:
        ConfigError: a table is unknown, or is no table; `path` is named.
    """
    for name, table in tables.items():
        if name not in TABLES:
            known = ", ".join(f"[{table}]" for table in TABLES)
            raise ConfigError(f"{path}: unknown table [{name}]; known are {known}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: {name} is {table!r}; expected a table")


def assigned(tables: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """The tables of a config with one ``table.key=value`` set; a key without a table is one of ``[train]``.

    Raises:
        ConfigError: the assignment has no ``=``, or its key leads nowhere.
    """
    key, equals, text = assignment.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {assignment!r}: expected table.key=value, e.g. train.learning_rate=3e-4")
    if path[0] not in TABLES:
        path.insert(0, "train")
    result = copy.deepcopy(dict(tables))
    place: Any = result
    for name in path[:-1]:
        place = place[_position(place, name, assignment)] if isinstance(place, list) else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"--set {assignment!r}: {name} is {place!r}, not a table")
    last: Any = _position(place, path[-1], assignment) if isinstance(place, list) else path[-1]
    place[last] = _value(text.strip())
    return result


def _position(items: list[Any], name: str, assignment: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise ConfigError(f"--set {assignment!r}: {name!r} is no position in a list of {len(items)} (from 0)")
    return int(name)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)
