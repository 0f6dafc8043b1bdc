"""A syntax tree as a function of variables, with a meter.

Costs are what kube-apiserver charges at run time (cel-go ``interpreter/runtimecost.go``, apiserver
``pkg/cel/library/cost.go``), to the size of what is traversed; so what runs here for long is refused there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from proxy.admission.cel import costs
from proxy.admission.cel.forms import SPECIAL, field_of, has_field, is_true, key_of, optional_index
from proxy.admission.cel.frame import Evaluate, Frame
from proxy.admission.cel.functions import FUNCTIONS, TYPE_NAMES
from proxy.admission.cel.macros import MACROS, pairs_of, values_of
from proxy.admission.cel.messages import FUNCTIONS as OF_MUTATIONS
from proxy.admission.cel.messages import maker
from proxy.admission.cel.syntax import (
    Call,
    Comprehension,
    Constant,
    Creation,
    Elements,
    Entries,
    Ident,
    Node,
    Select,
    parse,
)  # fmt: skip
from proxy.admission.cel.values import CelError, Optional, OutOfBudget, no_overload, shown, type_of


class Program:
    """A compiled expression. ``variables``: names that it may use; ``mutates``: whether it may make messages."""

    def __init__(self, text: str, variables: Collection[str], *, mutates: bool = False) -> None:
        """Raises CelError."""
        self.text = text
        self._run = _Compiler(frozenset(variables), mutates).compile(parse(text), frozenset())

    def __call__(self, frame: Frame) -> Any:
        """Its value. Raises CelError; ``frame.cost`` tells what was spent in any case."""
        try:
            return self._run(frame)
        except RecursionError:
            raise CelError("value is nested too deep") from None
        except CelError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A function that takes less than its types say: an error like others, so that a policy decides.
            raise CelError(f"{type(error).__name__}: {error}") from error


class _Failure:
    """An error as the value of an accumulator: what comes after it may make up for it."""

    __slots__ = ("error",)

    def __init__(self, error: CelError) -> None:
        self.error = error


Locals = frozenset[str]


class _Compiler:
    def __init__(self, variables: frozenset[str], mutates: bool) -> None:
        self._variables = variables
        self._mutates = mutates
        self._functions = {**FUNCTIONS, **OF_MUTATIONS} if mutates else FUNCTIONS

    def compile(self, node: Node, local: Locals) -> Evaluate:
        match node:
            case Constant():
                return self._constant(node)
            case Ident():
                return self._ident(node.name.removeprefix("."), local)
            case Select():
                return self._select(node, local)
            case Call():
                return self._call(node, local)
            case Elements():
                return self._elements(node, local)
            case Entries():
                return self._entries(node, local)
            case Creation():
                return self._creation(node, local)
            case Comprehension():
                return self._comprehension(node, local)

    def _constant(self, node: Constant) -> Evaluate:
        value = node.value
        return lambda frame: value

    def _ident(self, name: str, local: Locals) -> Evaluate:
        if name not in local and name not in self._variables:
            if name not in TYPE_NAMES:
                raise CelError(f"undeclared reference to '{name}' (in container '')")
            kind = TYPE_NAMES[name]
            return lambda frame: kind

        def ident(frame: Frame) -> Any:
            frame.cost += 1
            value = frame.names[name]
            if type(value) is _Failure:
                raise value.error
            return value

        return ident

    def _select(self, node: Select, local: Locals) -> Evaluate:
        name = _dotted(node)
        whole = name in self._variables or name in TYPE_NAMES
        if not node.test and name is not None and whole and name.partition(".")[0] not in local:
            return self._ident(name, local)
        operand, field = self.compile(node.operand, local), node.field
        if node.test:
            return lambda frame: has_field(operand(frame), field)

        def select(frame: Frame) -> Any:
            value = operand(frame)
            frame.cost += 1
            if type(value) is dict:
                try:
                    return value[field]
                except KeyError:
                    raise CelError(f"no such key: {field}") from None
            return field_of(value, field)

        return select

    def _call(self, node: Call, local: Locals) -> Evaluate:
        function, target, args = node.function, node.target, node.args
        if target is not None:
            prefix = _dotted(target)
            if prefix is not None and f"{prefix}.{function}" in self._functions:
                return self._plain_call(f"{prefix}.{function}", [self.compile(arg, local) for arg in args])
            macro = MACROS.get((function, len(args)))
            if macro is not None and all(isinstance(arg, Ident) for arg in args[: macro[0]]):
                return self._macro(node, macro, local)
            args = (target, *args)
        compiled = [self.compile(arg, local) for arg in args]
        special = SPECIAL.get((function, len(args)))
        if special is not None:
            return special(*compiled)
        if function == "_[?_]" or function == "_?._":
            return optional_index(*compiled)
        return self._plain_call(function, compiled)

    def _plain_call(self, name: str, args: list[Evaluate]) -> Evaluate:
        function = self._functions.get(name)
        if function is None:
            raise CelError(f"undeclared reference to '{name}' (in container '')")
        if isinstance(function, Mapping):
            arities = {len(kinds) for kinds in function}
            if len(args) not in arities:
                raise CelError(f"found no matching overload for '{name}'")
            overloads = function

            def dispatch(*values: Any) -> Any:
                kinds = tuple(map(type, values))
                found = overloads.get(kinds) or overloads.get((*kinds[:1], object))
                if found is None:
                    raise _mismatch(name, overloads, values)
                return found(*values)

        call = dispatch if isinstance(function, Mapping) else function
        cost = costs.CALLS.get(name)

        def evaluate(frame: Frame) -> Any:
            values = [arg(frame) for arg in args]
            if cost is None:
                frame.charge(1)
                return call(*values)
            before = cost.before(values)
            frame.charge(before)
            result = call(*values)
            if cost.after is not None:
                frame.charge(cost.after(result))
            return result

        return evaluate

    def _elements(self, node: Elements, local: Locals) -> Evaluate:
        elements = [self.compile(element, local) for element in node.elements]
        optional = node.optional

        def plain(frame: Frame) -> Any:
            frame.charge(costs.LIST)
            return [element(frame) for element in elements]

        def some(frame: Frame) -> Any:
            frame.charge(costs.LIST)
            made = []
            for at, element in enumerate(elements):
                value = element(frame)
                if at in optional:
                    if type(value) is not Optional:
                        raise CelError(
                            f"cannot initialize optional list element from non-optional value {shown(value)}"
                        )
                    if not value.present:
                        continue
                    value = value.value
                made.append(value)
            return made

        return some if optional else plain

    def _entries(self, node: Entries, local: Locals) -> Evaluate:
        entries = [
            (self.compile(key, local), self.compile(value, local), optional) for key, value, optional in node.entries
        ]

        def evaluate(frame: Frame) -> Any:
            frame.charge(costs.MAP)
            made: dict[Any, Any] = {}
            for key, value, optional in entries:
                _put(made, key_of(key(frame)), value(frame), optional)
            return made

        return evaluate

    def _creation(self, node: Creation, local: Locals) -> Evaluate:
        if not self._mutates:
            raise CelError(f"undeclared reference to '{node.name}' (in container '')")
        make = maker(node.name)
        entries = [(field, self.compile(value, local), optional) for field, value, optional in node.entries]

        def evaluate(frame: Frame) -> Any:
            frame.charge(costs.MESSAGE)
            fields: dict[str, Any] = {}
            for field, value, optional in entries:
                _put(fields, field, value(frame), optional)
            return make(fields)

        return evaluate

    def _comprehension(self, node: Comprehension, local: Locals) -> Evaluate:
        items = self.compile(node.range, local)
        initial = self.compile(node.initial, local)
        variable, accumulator = node.variable, node.accumulator
        inner = local | {variable, accumulator}
        condition, result = self.compile(node.condition, inner), self.compile(node.result, local | {accumulator})
        growing, step = self._step(node, inner)

        def loop(frame: Frame) -> Any:
            names = frame.names
            values = values_of(items(frame))
            total = initial(frame)
            outer = {name: names[name] for name in (variable, accumulator) if name in names}
            try:
                names[accumulator] = total
                for value in values:
                    names[variable] = value
                    names[accumulator] = total
                    if condition(frame) is False:
                        break
                    try:
                        made = step(frame)
                        if growing:
                            if made is not _SKIP and type(total) is list:
                                total.append(made)
                        else:
                            total = made
                    except OutOfBudget:
                        raise
                    except CelError as error:
                        total = _Failure(error)
                    frame.charge(1)
                names[accumulator] = total
                names.pop(variable, None)
                return result(frame)
            finally:
                names.pop(variable, None)
                names.pop(accumulator, None)
                names.update(outer)

        return loop

    def _step(self, node: Comprehension, inner: Locals) -> tuple[bool, Evaluate]:
        """Whether it adds to a list (which is done in place; a copy for each item would be quadratic), and the step."""
        accumulator = Ident(node.accumulator)

        def added(step: Node) -> Node | None:
            if isinstance(step, Call) and step.function == "_+_" and step.args[0] == accumulator:
                item = step.args[1]
                if isinstance(item, Elements) and len(item.elements) == 1 and not item.optional:
                    return item.elements[0]
            return None

        if node.initial == Elements((), frozenset()):
            item = added(node.step)
            if item is not None:
                made = self.compile(item, inner)

                def every(frame: Frame) -> Any:
                    frame.charge(costs.LIST + 2)
                    return made(frame)

                return True, every
            if isinstance(node.step, Call) and node.step.function == "_?_:_":
                test, taken, other = node.step.args
                item = added(taken)
                if item is not None and other == accumulator:
                    condition, made_if = self.compile(test, inner), self.compile(item, inner)

                    def some(frame: Frame) -> Any:
                        if not is_true(condition(frame)):
                            return _SKIP
                        frame.charge(costs.LIST + 2)
                        return made_if(frame)

                    return True, some
        return False, self.compile(node.step, inner)

    def _macro(self, node: Call, macro: tuple[int, Any], local: Locals) -> Evaluate:
        """What the parser does not know: comprehensions of two variables, `existsOne`, `sortBy`."""
        assert node.target is not None
        count, build = macro
        variables = [arg.name for arg in node.args[:count] if isinstance(arg, Ident)]
        if len(set(variables)) < count:
            raise CelError(f"duplicate variable name: {variables[0]}")
        items = self.compile(node.target, local)
        bodies = [self.compile(body, local | set(variables)) for body in node.args[count:]]
        evaluate = build(*bodies)

        def run(frame: Frame) -> Any:
            names = frame.names
            value = items(frame)
            outer = {name: names[name] for name in variables if name in names}

            def steps() -> Iterable[None]:
                for pair in pairs_of(value) if count == 2 else zip(values_of(value), strict=True):
                    frame.charge(2)
                    names.update(zip(variables, pair, strict=True))
                    yield None

            try:
                return evaluate(frame, steps(), value, variables)
            finally:
                for name in variables:
                    names.pop(name, None)
                names.update(outer)

        return run


def _put(made: dict[Any, Any], key: Any, found: Any, optional: bool) -> None:
    """An entry; one with a question mark may be none."""
    if optional:
        if type(found) is not Optional:
            raise CelError(f"cannot initialize optional entry '{shown(key)}' from non-optional value {shown(found)}")
        if not found.present:
            return
        found = found.value
    made[key] = found


_SKIP = object()
_STANDARD = frozenset(
    {"!_", "-_", "startsWith", "endsWith", "contains", "matches", "int", "uint", "double", "bool", "bytes", "string",
     "timestamp", "duration"}
)  # fmt: skip
_ARITHMETIC = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_"})


def _mismatch(name: str, overloads: Mapping[tuple[type, ...], Any], values: tuple[Any, ...]) -> CelError:
    """Of functions of the standard library the error does not tell what they were given."""
    if name in _STANDARD or (name in _ARITHMETIC and any(kinds[0] is type(values[0]) for kinds in overloads)):
        return no_overload()
    if name in _ARITHMETIC or name == "sort":
        return CelError(f"no such overload: {name}")
    return CelError(f"no such overload: {name}({', '.join(type_of(value).name for value in values)})")


def _dotted(node: Node) -> str | None:
    if isinstance(node, Ident):
        return node.name.removeprefix(".")
    if isinstance(node, Select) and not node.test:
        prefix = _dotted(node.operand)
        return f"{prefix}.{node.field}" if prefix is not None else None
    return None
