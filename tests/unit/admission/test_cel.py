"""Expressions of tenants: what they may cost, and what is refused before it is ever evaluated. That values and errors
are a kube-apiserver's is shown beside one (`tests/integration/admission/test_expressions.py`)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.admission.cel.admission import Inputs, Question, Verdict
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.frame import PER_CALL_LIMIT, Frame
from proxy.admission.cel.values import CelError, OutOfBudget
from proxy.admission.expressions import Expressions, NotCompiled
from proxy.admission.policy import CompiledPolicy, Decision

BIG = {"data": {f"key-{number}": "x" * 20 for number in range(40_000)}, "text": "ab" * 500_000}
"""A MiB or two."""


def run(text: str, **values: Any) -> Any:
    return Program(text, values.keys())(Frame(values))


@pytest.mark.parametrize(
    "text",
    [
        "o.data.all(x, o.data.all(y, o.data.all(z, x + y != z)))",
        "o.data.map(x, o.data.map(y, x + y)).size() > 0",
        "o.data.exists(x, o.data.exists(y, false))",
        "o.data.exists(x, o.text.matches('(a|b|ab)*c'))",
        "o.data.all(x, o.text.contains('b' + o.text))",
        "o.data.all(x, o.text.replace('a', 'aaaaaaaaaa') != '')",
        "o.text.replace('', o.text) != ''",
        "o.text.split('').map(x, o.text).join(o.text) != ''",
        "lists.range(9000000000000000000).size() > 0",
        "o.text.split('').sort().size() > 0",
        "o.text.split('').distinct().size() > 0",
        "o.data.all(k, v, o.data.all(l, w, o == o))",
        "[lists.range(999).map(i, {'d': o.data, 'i': i})].all(s, [1, 2, 3].all(i, !({'d': o.data, 'i': -1} in s)))",
        "[lists.range(1000).map(i, {'d': o.data, 'i': i})].all(s, s.distinct().size() > 0 && sets.contains(s, s))",
        "[lists.range(999).map(i, {'d': o.data, 'i': i})].all(s, lists.range(99).all(i, s.indexOf({'d': o.data}) < 0))",
        "o.data.all(k, o.data.all(l, o != null && o != {} && o != {'data': {'': ''}}))",
        "sets.contains(o.text.split(''), o.text.split(''))",
        "o.data.all(x, o == o)",
        "o.data.transformMap(k, v, o.data.transformMap(l, w, o)).size() > 0",
        "o.text.split('').all(x, (o.text + o.text + o.text).size() > 0)",
    ],
)
def test_what_costs_too_much_ends(text: str) -> None:
    began = time.process_time()
    with pytest.raises(OutOfBudget, match="operation cancelled: actual cost limit exceeded"):
        run(text, o=BIG)
    assert time.process_time() - began < 10


def test_errors_of_a_spent_budget_are_not_made_up_for() -> None:
    with pytest.raises(OutOfBudget):
        run("o.data.all(x, o.data.all(y, o.data.all(z, x + y != z))) || true", o=BIG)


@pytest.mark.parametrize(
    "text",
    ["nothing(1)", "o.nothing(1)", "math.greatest(1, 2)", "base64.encode(b'a')", "unknown", "Object{a: 1}",
     "google.protobuf.Int32Value{value: 1}", "cel.bind(x, 1, x)", "1 +", "authorizer.group('')",
     "o.resource('x').fieldSelector('a=b')", "(" * 500 + "1" + ")" * 500, "1" + " + 1" * 5000, "x" * 9000],
)  # fmt: skip
def test_what_is_not_known_is_refused_before_it_is_used(text: str) -> None:
    with pytest.raises(CelError):
        Program(text, ["o"])


def test_numbers_and_truth_are_different_keys() -> None:
    assert run("{1: 'a'}[?dyn(true)].hasValue()", o=1) is False


def test_variables_of_loops_hide_outer_ones_and_give_them_back() -> None:
    assert run("[1, 2].map(o, o + 1) + [o]", o=7) == [2, 3, 7]
    assert run("[[1], [2]].map(x, x.map(x, x * 10)).map(x, x[0])", o=7) == [10, 20]


def inputs(obj: Any = None, ask: Any = lambda question: Verdict(allowed=False)) -> Inputs:
    request = {
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "namespace": "ns",
        "name": "x",
    }
    return Inputs(obj or {}, None, request, None, None, ask)


def policy(**spec: Any) -> CompiledPolicy:
    return CompiledPolicy(spec)


def test_all_that_cannot_be_compiled_is_told_with_its_place() -> None:
    with pytest.raises(NotCompiled) as caught:
        policy(
            variables=[{"name": "v", "expression": "nope"}],
            matchConditions=[{"name": "c", "expression": "nope"}],
            validations=[{"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"}],
            auditAnnotations=[{"key": "k", "valueExpression": "params.x"}],
        )
    assert list(caught.value.faults) == [
        "spec.variables[0].expression",
        "spec.matchConditions[0].expression",
        "spec.validations[0].messageExpression",
        "spec.auditAnnotations[0].valueExpression",
    ]


def test_failure_policy_decides_about_errors() -> None:
    validations = [{"expression": "object.a.b == 1"}]
    assert policy(validations=validations).evaluate(inputs()).decisions == [
        Decision(True, "expression 'object.a.b == 1' resulted in error: no such key: a")
    ]
    assert not policy(validations=validations, failurePolicy="Ignore").evaluate(inputs()).decisions[0].denied


def test_messages() -> None:
    def message(**validation: str) -> str:
        return policy(validations=[{"expression": " false ", **validation}]).evaluate(inputs()).decisions[0].message

    assert message() == "failed expression: false"
    assert message(message=" no ") == "no"
    assert message(message="no", messageExpression="'because ' + string(1)") == "because 1"
    assert message(message="no", messageExpression="object.x") == "no"
    assert message(message="no", messageExpression="'two\\nlines'") == "no"
    assert message(message="no", messageExpression="'" + "x" * 6000 + "'") == "no"


def test_a_condition_that_is_false_counts_more_than_errors() -> None:
    conditions = [{"name": "a", "expression": "object.x"}, {"name": "b", "expression": "false"}]
    denies = [{"expression": "false"}]
    assert not policy(validations=denies, matchConditions=conditions).evaluate(inputs()).decisions
    failed = policy(validations=denies, matchConditions=conditions[:1]).evaluate(inputs()).decisions
    assert failed == (Decision(True, "expression 'object.x' resulted in error: no such key: x"),)


def test_a_policy_has_one_budget_for_all_of_its_validations() -> None:
    heavy = {"expression": "object.data.all(x, object.data.all(y, object.data.all(z, x + y != z))) || true"}
    decisions = policy(validations=[heavy] * 12).evaluate(inputs(BIG)).decisions
    assert len(decisions) == 1
    assert "running out of cost budget" in decisions[0].message


def test_who_may_do_what_is_asked_with_names_of_the_workspace() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Verdict:
        asked.append(question)
        return Verdict(allowed=True)

    expressions = [
        "authorizer.requestResource.check('delete').allowed()",
        "authorizer.serviceAccount('a', 'b').group('g').resource('r').subresource('s').check('get').allowed()",
        "authorizer.path('/metrics').check('get').allowed()",
    ]
    outcome = policy(validations=[{"expression": text} for text in expressions]).evaluate(inputs(ask=ask))
    assert [decision.denied for decision in outcome.decisions] == [False] * 3
    assert asked == [
        Question("delete", None, None, "apps", "deployments", "", "ns", "x"),
        Question("get", ("a", "b"), None, "g", "r", "s"),
        Question("get", None, "/metrics"),
    ]


def test_asking_is_dear() -> None:
    text = "[1, 2, 3].all(x, authorizer.path('/').check('get').allowed())"
    decisions = policy(validations=[{"expression": text}]).evaluate(inputs(ask=lambda _: Verdict(True))).decisions
    assert decisions[0].message.endswith("actual cost limit exceeded")
    assert PER_CALL_LIMIT == 1_000_000


def test_conditions_do_not_see_the_namespace() -> None:
    said = {"matchConditions": [{"name": "c", "expression": "namespaceObject == null"}]}
    assert Expressions(said).match(inputs())
