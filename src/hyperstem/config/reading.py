"""Settings from TOML and JSON: dataclasses whose fields are checked against their types and limits."""

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
    """Base of dataclasses whose fields are checked on construction, from a file or in Python.

    Raises:
        ConfigError: a value has the wrong type, is not finite, or is outside its field's `Limits`.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _checked(hint, getattr(self, name), name))


class _OutOfLimits(ConfigError):
    """A value of the right type that is not allowed."""


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {spec.name: hints[spec.name] for spec in dataclasses.fields(kind)}


def from_mapping(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Builds the dataclass `kind` from plain values, checking every key and type.

    Args:
        kind: a dataclass; fields that are dataclasses take nested mappings.
        mapping: keys to values as TOML or JSON give them; lists become tuples.
        where: the place that errors name, e.g. ``"configs/paper.toml [model]"``.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is outside its limits.
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
    """`value` as the type `hint`: nested dataclasses and tuples are built, an int is accepted as a float."""
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
        return (
            from_mapping(hint, value, where) if isinstance(value, Mapping) else _plain_value(hint, value, where, limits)
        )
    if hint is float and type(value) is int:
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    return _plain_value(hint, value, where, limits)


def _one_of(hint: Any, value: Any, where: str, limits: Limits) -> Any:
    """`value` as the first type of the union `hint` that fits."""
    for option in typing.get_args(hint):
        try:
            return _checked(option, value, where, limits)
        except _OutOfLimits:
            raise
        except ConfigError:
            continue
    raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")


def _plain_value(hint: Any, value: Any, where: str, limits: Limits) -> Any:
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r}; expected {_describe(hint)}")
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
        ConfigError: the file is missing or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def read_tables(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a config file, with some values replaced.

    Args:
        path: a TOML file.
        assignments: see `assigned`.

    Raises:
        ConfigError: the file is not a config, or an assignment is wrong.
    """
    tables = load_toml(path)
    for assignment in assignments:
        tables = assigned(tables, assignment)
    check_tables(tables, path)
    return tables


TABLES = ("model", "loss", "data", "train")


def check_tables(tables: Mapping[str, Any], path: str | Path) -> None:
    """Checks that the top level of a config has only known tables.

    Raises:
        ConfigError: a table is unknown, or a value is not a table; the message names `path`.
    """
    for name, table in tables.items():
        if name not in TABLES:
            known = ", ".join(f"[{table}]" for table in TABLES)
            raise ConfigError(f"{path}: unknown table [{name}]; known are {known}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: {name} is {table!r}; expected a table")


def assigned(tables: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """The tables of a config after one assignment ``table.key=value``; a key without a table is in ``[train]``.

    Raises:
        ConfigError: the assignment has no ``=``, or its key does not exist.
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
        raise ConfigError(f"--set {assignment!r}: {name!r} is not a position in a list of {len(items)} (from 0)")
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
