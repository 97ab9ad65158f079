"""Read `params.yaml`: datasets, partitions, and each asset's block as a typed object.

No default lives in code: an unknown, a missing or a wrongly typed name stops the run and names the nearest one.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from tenfold.core.errors import UsageError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

FILE = "params.yaml"

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _nearest(name: str, names: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(str(name), sorted(names), 1)), None)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `names`, else the list of all, as the tail of an error message."""
    known = sorted(names)
    near = _nearest(name, known)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def load(root: Path) -> dict[str, Any]:
    """The whole of `root/params.yaml`: paper -> {datasets, recipes}.

    Raises UsageError when the file is missing, cannot be parsed or is no mapping.
    """
    path = Path(root) / FILE
    try:
        values = _parse(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} is missing. Run from a checkout, or set TENFOLD_ROOT to one.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold one block a paper, not {_kind(values)}.")
    return values


def _parse(data: bytes) -> Any:
    loader = SafeLoader(data)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _refuse_twice(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_twice(node: yaml.Node, visited: set[int]) -> None:
    """YAML silently keeps the last of two equal keys; here that is an error."""
    if id(node) in visited or not isinstance(node, yaml.CollectionNode):
        return
    visited.add(id(node))
    keys: set[str] = set()
    for child in node.value:
        if isinstance(node, yaml.MappingNode):
            key, child = child
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
        _refuse_twice(child, visited)


@dataclass(frozen=True)
class Dataset:
    """One dataset block. `block` is the whole raw mapping, with what only some datasets have (`make`, `read`)."""

    paper: str
    name: str
    source: str
    layout: str
    recipe: str
    units: list[str]
    block: dict[str, Any]


def datasets(params: Mapping[str, Any], paper: str) -> dict[str, Dataset]:
    """Every dataset of `paper`, checked: names, the fields all datasets have, a recipe that exists, no null."""
    part = _paper(params, paper)
    recipes = _mapping(part, "recipes", paper)
    found: dict[str, Dataset] = {}
    for name, block in _mapping(part, "datasets", paper).items():
        where = f"{FILE}: {paper}.datasets.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"{where}: a dataset's name is made of a-z, 0-9 and _, and starts with a letter. Rename it.")
        if not isinstance(block, dict):
            raise UsageError(f"{where} must be a mapping with source, layout and recipe, not {_kind(block)}.")
        _no_null(block, where)
        for key in ("source", "layout", "recipe"):
            if not isinstance(block.get(key), str) or not block[key]:
                raise UsageError(f"{where}.{key} is missing or not text{did_you_mean(key, block) if key not in block else ''}")
        if block["recipe"] not in recipes:
            raise UsageError(f"{where}.recipe: there is no recipe {block['recipe']!r}{did_you_mean(block['recipe'], recipes)}")
        units = block.get("units", [])
        if not isinstance(units, list) or len(set(map(str, units))) != len(units):
            raise UsageError(f"{where}.units must be a list of different names.")
        for unit in units:
            if not isinstance(unit, str) or not _UNIT.fullmatch(unit):
                raise UsageError(f"{where}.units: {unit!r} is no unit name (text of letters, digits, _ and -). Put a number in quotes.")
        found[name] = Dataset(paper, name, block["source"], block["layout"], block["recipe"], list(units), dict(block))
    return found


def partitions(params: Mapping[str, Any], paper: str, root: Path) -> list[str]:
    """Partition keys `<dataset>.<unit>`, or `<dataset>` without units, of the datasets whose source exists."""
    keys: list[str] = []
    for dataset in datasets(params, paper).values():
        if (Path(root) / dataset.source).exists():
            keys += [f"{dataset.name}.{unit}" for unit in dataset.units] or [dataset.name]
    return keys


def split_partition(partition: str) -> tuple[str, str]:
    """(dataset, unit); the unit is empty if the dataset has none."""
    dataset, _, unit = partition.partition(".")
    return dataset, unit


def block(params: Mapping[str, Any], paper: str, recipe: str, asset: str) -> dict[str, Any]:
    """The block of `asset` in a recipe; empty if the recipe has none for it. UsageError for an unknown recipe."""
    recipes = _mapping(_paper(params, paper), "recipes", paper)
    if recipe not in recipes:
        raise UsageError(f"{FILE}: {paper} has no recipe {recipe!r}{did_you_mean(recipe, recipes)}")
    assets = _mapping(recipes, recipe, f"{paper}.recipes")
    return dict(_mapping(assets, asset, f"{paper}.recipes.{recipe}")) if asset in assets else {}


def typed(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """`values` as an object of the frozen dataclass `cls`, every field given and of its type.

    An int is accepted for a float (and becomes one), a bool never for an int; floats must be finite. Supported types: int,
    float, bool, str, Literal, list[...] and dict[str, ...] of these. Raises UsageError that lists everything wrong, each
    as `where.field`.
    """
    hints = get_type_hints(cls)
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    wrong: list[str] = []
    for name in values:
        if name not in names:
            wrong.append(f"{where}.{name} is unknown{did_you_mean(name, names)}")
    given: dict[str, Any] = {}
    for name in names:
        if name not in values:
            near = _nearest(name, [key for key in values if key not in names])
            wrong.append(f"{where}.{name} ({_say(hints[name])}) is missing" + (f"; is {near!r} meant?" if near else ""))
            continue
        try:
            given[name] = _convert(hints[name], values[name])
        except _Mismatch as problem:
            wrong.append(f"{where}.{name}{problem}")
    if wrong:
        raise UsageError("\n".join(wrong))
    return cls(**given)


def resolve(cls: type[T], block: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> T:
    """The recipe's block with `overrides` laid over it, typed. An override that names no field is an error."""
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    for name in overrides:
        if name not in names:
            raise UsageError(f"override {where}.{name} is unknown{did_you_mean(name, names)}")
    return typed(cls, {**block, **overrides}, where)


class _Mismatch(Exception):
    """Tail of a message, from the place inside the value on: `[2] must be a whole number, not text 'x'`."""


def _convert(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        for choice in arguments:
            if value == choice and type(value) is type(choice):
                return value
        near = _nearest(value, [choice for choice in arguments if isinstance(choice, str)]) if isinstance(value, str) else None
        raise _Mismatch(f" must be {_say(hint)}, not {_kind(value)}" + (f"; did you mean {near!r}?" if near else ""))
    if origin is list and isinstance(value, list | tuple):
        return [_inside(arguments[0], item, f"[{index}]") for index, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _inside(arguments[1], item, f".{key}") for key, item in value.items()}
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    if hint in (int, float) and isinstance(value, str) and _is_number(value):
        raise _Mismatch(f" must be {_say(hint)}, not {_kind(value)}; write it without quotes, a float with a dot (1.0e-3, not 1e-3)")
    raise _Mismatch(f" must be {_say(hint)}, not {_kind(value)}")


def _inside(hint: Any, value: Any, place: str) -> Any:
    try:
        return _convert(hint, value)
    except _Mismatch as problem:
        raise _Mismatch(f"{place}{problem}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _say(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is list:
        return f"a list, each {_say(arguments[0])}"
    if origin is dict:
        return f"a mapping of names, each {_say(arguments[1])}"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}.get(hint, str(hint))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true/false", int: "the whole number", float: "the number", str: "text", list: "the list", dict: "the mapping"}
    return f"{names.get(type(value), type(value).__name__)} {value!r}"


def _paper(params: Mapping[str, Any], paper: str) -> dict[str, Any]:
    if paper not in params:
        raise UsageError(f"{FILE} has no paper {paper!r}{did_you_mean(paper, params)}")
    return _mapping(params, paper, "")


def _mapping(parent: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        place = f"{where}.{name}" if where else name
        raise UsageError(f"{FILE}: {place} must be a mapping" + (", it is missing" if name not in parent else f", not {_kind(value)}"))
    return value


def _no_null(value: Any, where: str) -> None:
    if value is None:
        raise UsageError(f"{where} is null. Give a value or leave the name out.")
    if isinstance(value, dict):
        for key, item in value.items():
            _no_null(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _no_null(item, f"{where}[{index}]")
