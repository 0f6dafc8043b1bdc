"""CEL expressions over a token's claims or the user made of them.

The language's own implementation (`cel-expr-python`) evaluates them; it is loaded where there are any.
https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EXTRA = "pip install 'kcp[cel]'"


class CelError(ValueError):
    """An expression that cannot be compiled, or has no value for what it is given."""


class Expression:
    """``variable``: the name under which it finds what it is given; ``kinds``: CEL types of which its value may be, as
    far as that is known before (`dyn` always is)."""

    def __init__(self, text: str, variable: str, kinds: tuple[str, ...]) -> None:
        """Raises CelError."""
        try:
            from cel_expr_python import cel
            from cel_expr_python.ext import ext_optional, ext_strings
        except ImportError as error:
            raise CelError(f"expressions need CEL ({error.name}): {_EXTRA}") from error
        self.text = text
        self._variable = variable
        environment = cel.NewEnv(
            variables={variable: cel.Type.Map(cel.Type.STRING, cel.Type.DYN)},
            extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
        )
        try:
            self._compiled: Any = environment.compile(text)
        except RuntimeError as error:
            raise CelError(_first_line(error)) from error
        kind = self._compiled.return_type().name().lower().partition("<")[0]
        if kind not in (*kinds, "dyn"):
            raise CelError(f"it makes a {kind}, wanted {' or '.join(kinds)}")

    def __call__(self, value: Mapping[str, Any]) -> Any:
        """Its value for ``value``, in plain Python. Raises CelError."""
        try:
            result = self._compiled.eval(data={self._variable: value})
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise CelError(_first_line(error)) from error
        if result.type().name().lower() == "error":
            raise CelError(str(result.value()))
        return result.plain_value()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:")
