"""Configuration files: a command's flags, written down as YAML.

A key is the name of a flag without its dashes, a value is what the flag would be given; flags that may be repeated take
lists. What stands on the command line counts more, a list there replaces the file's. `defaults` prints a file of all
there is.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml

WIDTH = 116
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Value = str | list[str]


def config_flag(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--config FILE``, of which the command itself learns nothing."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="YAML file with values for all these flags (`kcp config print-defaults`).",
    )(command)


def _load(context: click.Context, _: click.Parameter, file: Path | None) -> None:
    if file is not None:
        context.default_map = {**(context.default_map or {}), **read(context, file)}


def read(context: click.Context, file: Path) -> dict[str, Value]:
    """What a file says, by the names of parameters of the context's command.

    Raises click.ClickException naming the file, the key and what is wrong.
    """
    try:
        content = yaml.compose(file.read_text(), Loader=_Loader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, yaml.MappingNode):
        raise click.ClickException(f"{file}: wanted a mapping of flags to values")
    flags = _by_name(context.command)
    values: dict[str, Value] = {}
    seen: set[str] = set()
    for key, node in content.value:
        name, place = str(key.value), f"{file}, line {key.start_mark.line + 1}"
        if name not in flags:
            raise click.ClickException(f"{place}: {_unknown(name, flags)}")
        if name in seen:
            raise click.ClickException(f"{place}: {name} is there twice")
        seen.add(name)
        value = _written(node, f"{place}: {name}")
        if value is not None:
            values[flags[name].name or name] = _checked(context, flags[name], value, f"{place}: {name}")
    return values


def _written(node: yaml.Node, place: str) -> Value | None:
    """A value as it stands there: ``off`` and ``010`` are what flags would get, whatever YAML makes of them."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag.endswith(":null") else str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [str(item.value) for item in node.value]
    raise click.ClickException(f"{place}: wanted a value or a list of values")


def _checked(context: click.Context, option: click.Option, value: Value, place: str) -> Value:
    """``value``, if the flag takes it. A single one stands for a list of one, as a flag given once does."""
    if isinstance(value, list) and not option.multiple:
        raise click.ClickException(f"{place}: takes one value, not a list")
    given = [value] if option.multiple and isinstance(value, str) else value
    try:
        option.type_cast_value(context, given)
    except click.BadParameter as error:
        raise click.ClickException(f"{place}: {error.message}") from error
    return given


def _unknown(name: str, flags: dict[str, click.Option]) -> str:
    near = difflib.get_close_matches(name, flags, n=1)
    return f"there is no {name}" + (f"; {near[0]}?" if near else "")


def _by_name(command: click.Command) -> dict[str, click.Option]:
    """What may be in a file: all but ``--help`` and ``--config``."""
    return {
        max(option.opts, key=len).lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option) and option.expose_value
    }


def defaults(command: click.Command) -> Iterator[str]:
    """Lines of a file with every flag, what it does and what it is if nothing is said; those for which there is no
    such value are comments."""
    context = click.Context(command)
    for name, option in _by_name(command).items():
        yield from textwrap.wrap(option.help or "", WIDTH, initial_indent="# ", subsequent_indent="# ")
        default = option.get_default(context)
        if option.multiple:
            yield f"{name}: []"
        elif isinstance(default, str | int | float):
            yield f"{name}: {yaml.safe_dump(default, width=10**6).removesuffix('...' + chr(10)).strip()}"
        else:
            yield f"# {name}: {_placeholder(option, context)}"
        yield ""


def _placeholder(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.IntRange):
        return f"{option.type.min} to {option.type.max}"
    return option.make_metavar(context)
