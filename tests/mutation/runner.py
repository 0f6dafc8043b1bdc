"""Runs tests against mutants, in one process that has all modules loaded already: milliseconds for each.

Of a test module those tests count that need nothing but their parameters; those of hypothesis do not, as what they
find depends on luck.
"""

from __future__ import annotations

import ast
import contextlib
import io
import signal
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from tests.mutation.mutants import Mutant

SECONDS = 20
"""That all tests together may take with one mutant: one that never ends is found."""

Test = Callable[[], object]


def collect(files: list[Path]) -> list[Test]:
    """The tests in ``files``, ready to be called."""
    collected = _Collected()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *map(str, files)], [collected])
    if code != pytest.ExitCode.OK:
        raise SystemExit(said.getvalue())
    return [_call(item) for item in collected.items if _is_plain(item)]


class _Collected:
    def __init__(self) -> None:
        self.items: list[pytest.Function] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = [item for item in session.items if isinstance(item, pytest.Function)]


def _parameters(item: pytest.Function) -> dict[str, object]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


def _is_plain(item: pytest.Function) -> bool:
    wanted = set(item._fixtureinfo.argnames)
    return wanted <= set(_parameters(item)) and not hasattr(item.function, "hypothesis")


def _call(item: pytest.Function) -> Test:
    parameters = _parameters(item)
    wanted = {name: parameters[name] for name in item._fixtureinfo.argnames}
    return lambda: item.function(**wanted)


class Changed:
    """A module that is changed in place, its functions and methods wherever they have been imported to."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._functions = _functions(module)

    def load(self, tree: ast.Module) -> None:
        exec(compile(tree, self._module.__file__ or "", "exec"), vars(self._module))  # noqa: S102
        changed = _functions(self._module)
        for name, function in self._functions.items():
            after = changed.get(name)
            if after is not None:
                function.__code__, function.__defaults__ = after.__code__, after.__defaults__

    def survives(self, mutant: Mutant, tests: list[Test]) -> bool:
        """Whether all tests pass although the module has been changed. Leaves it changed."""
        signal.alarm(SECONDS)
        try:
            self.load(mutant.tree)
            for test in tests:
                test()
        except KeyboardInterrupt:
            raise
        except BaseException:  # an assertion, or whatever else comes of it
            return False
        finally:
            signal.alarm(0)
        return True


def _functions(module: ModuleType) -> dict[str, FunctionType]:
    """By name, those of its classes by ``Class.name``."""
    found = {}
    for name, value in vars(module).items():
        if isinstance(value, FunctionType):
            found[name] = value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            methods = vars(value).items()
            found |= {f"{name}.{key}": method for key, method in methods if isinstance(method, FunctionType)}
    return found


def _too_long(*_: object) -> None:
    raise TimeoutError


signal.signal(signal.SIGALRM, _too_long)
