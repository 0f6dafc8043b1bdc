"""Mutants of a module: its syntax tree with one small thing changed.

Wider than what tools from elsewhere change: whole statements go (a gate's are mostly ``raise``), what stands outside of
functions is changed as well, and regular expressions are changed piece by piece, for they decide here as much as code.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip
_PIECE = re.compile(r"\\.|\(\?P<\w+>|\(\?:|\[(?:\\.|[^\]\\])+\]|\{\d+\}|\w+(?![\w?*+{])|.", re.DOTALL)
"""Of a regular expression: an escape, the beginning of a group, a set of characters, a count, a word, a character."""


@dataclass(frozen=True, slots=True)
class Mutant:
    where: str
    """Name of the function, or of what is assigned, in which it is."""
    line: int
    before: str
    after: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The same as long as the code around does not change: has no line in it."""
        return f"{self.where}: {self.before} → {self.after}"


def mutants(source: str, only: frozenset[str] = frozenset()) -> list[Mutant]:
    """All mutants of a module, or those of its calls of the functions ``only``."""
    tree = ast.parse(source)
    found = []
    for index, statement in enumerate(tree.body):
        where = _name(statement)
        if where is None:
            continue
        for place, node in enumerate(_nodes(statement)):
            if only and _called(node) not in only:
                continue
            for after in _changes(node):
                changed = copy.copy(tree)
                changed.body = list(tree.body)
                changed.body[index] = _with(statement, place, after)
                ast.fix_missing_locations(changed)
                found.append(Mutant(where, node.lineno, _text(node), _text(after), changed))
    return found


def _called(node: ast.AST) -> str:
    """Name of the function that is called there, and of nothing else."""
    call = node.value if isinstance(node, ast.Expr) else node
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""


def _name(statement: ast.stmt) -> str | None:
    """None for what is not changed: imports, and what only readers and checkers of types read."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        return ast.unparse(target)
    return None


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 160 else text[:157] + "..."


Node = ast.expr | ast.stmt


def _nodes(statement: ast.stmt) -> list[Node]:
    """Its nodes that can be changed, always in the same order."""
    found: list[Node] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.expr | ast.stmt) and not _is_docstring(node):
            found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_docstring(child):
                    visit(child)

    visit(statement)
    return found


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _with(statement: ast.stmt, place: int, after: Node) -> ast.stmt:
    """A copy of the statement in which the node at ``place`` is another."""
    changed = copy.deepcopy(statement)
    old = _nodes(changed)[place]
    if old is changed:
        return after  # type: ignore[return-value]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(after, old) if node is old else self.generic_visit(node)

    Replace().generic_visit(changed)
    return changed


def _changes(node: Node) -> Iterator[Node]:
    match node:
        case ast.Return(value=ast.Constant(value=False)):
            pass  # at the end of a function, None would say the same; that it becomes True is tried
        case ast.Raise() | ast.Expr() | ast.Return():
            yield ast.Pass()
        case ast.Compare(left=left, ops=[operator], comparators=comparators):
            yield ast.Compare(left, [_OPPOSITE[type(operator)]()], comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, right=right):
            yield left
            yield right
        case ast.Constant(value=value):
            yield from (ast.Constant(other) for other in _constants(value))
        case ast.Set(elts=elements) | ast.List(elts=elements) | ast.Tuple(elts=elements, ctx=ast.Load()):
            for index in range(len(elements)):
                rest = elements[:index] + elements[index + 1 :]
                yield ast.Set(rest) if isinstance(node, ast.Set) and rest else ast.List(rest, ast.Load())
        case ast.Dict(keys=keys, values=values):
            for index in range(len(keys)):
                yield ast.Dict(keys[:index] + keys[index + 1 :], values[:index] + values[index + 1 :])
        case ast.Call(func=ast.Name(id="all" | "any" as word), args=arguments, keywords=keywords):
            yield ast.Call(ast.Name("any" if word == "all" else "all", ast.Load()), arguments, keywords)
        case ast.Call(func=function, args=arguments, keywords=keywords):
            if isinstance(function, ast.Attribute):
                yield function.value
            for index in range(len(arguments)):
                yield ast.Call(function, arguments[:index] + arguments[index + 1 :], keywords)
            for index in range(len(keywords)):
                yield ast.Call(function, arguments, keywords[:index] + keywords[index + 1 :])
    yield from _decided(node)


def _decided(node: Node) -> Iterator[Node]:
    """Whatever decides by itself, decided the one way and the other."""
    both = [ast.Constant(True), ast.Constant(False)]
    match node:
        case ast.If(test=test) if not isinstance(test, ast.Compare | ast.BoolOp):
            for value in both:
                yield ast.If(value, node.body, node.orelse)
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Compare() | ast.BoolOp():
            yield from both
        case ast.Return(value=ast.Call()):
            yield from (ast.Return(constant) for constant in both)
        case ast.ListComp(elt=element, generators=[ast.comprehension(ifs=[_, *_]) as loop]):
            yield ast.ListComp(element, [ast.comprehension(loop.target, loop.iter, [], loop.is_async)])


def _constants(value: object) -> Iterator[bool | int | str | bytes]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, str):
        yield from _texts(value)
    elif isinstance(value, bytes):
        yield from (text.encode("latin-1") for text in _texts(value.decode("latin-1")))


def _texts(value: str) -> Iterator[str]:
    """Another text; or, where it is part of a regular expression, the same without each of its pieces."""
    if not _looks_like_regex(value):
        yield value + "x" if value else "x"
        if len(value) > 1:
            yield value[:-1]
        return
    pieces = _PIECE.findall(value)
    for index, piece in enumerate(pieces):
        before, behind = "".join(pieces[:index]), "".join(pieces[index + 1 :])
        if piece.startswith("[") and piece.endswith("]"):
            for member in _members(piece[1:-1]):
                yield f"{before}[{member}]{behind}"
        elif piece[0] not in "()" or piece == ")":
            yield before + behind
        if piece == "?":
            yield before + "{1}" + behind


def _members(inside: str) -> Iterator[str]:
    """Of a set of characters: all without one of them, and all with one more."""
    members = re.findall(r"\\x..|\\u....|\\.|[^-\\]-[^-\\]|.", inside)
    for index in range(len(members)):
        rest = "".join(members[:index] + members[index + 1 :])
        if rest:
            yield rest
    outside = next((sign for sign in "/-é ;" if re.fullmatch(f"[{inside.removeprefix('^')}]", sign) is None), None)
    if outside is not None:
        yield inside.removesuffix("-") + re.escape(outside) + ("-" if inside.endswith("-") else "")


def _looks_like_regex(value: str) -> bool:
    return any(sign in value for sign in ("[", "(?", "\\", ")?", "|"))
