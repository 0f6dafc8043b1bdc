"""Expressions of a policy, compiled: its variables, its match conditions, and what else it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.admission.cel.admission import Declared, Inputs, conditions_hold
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.values import CelError


class NotCompiled(ValueError):
    """Expressions that cannot be evaluated here: field → why."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{field}: {why}" for field, why in faults.items()))
        self.faults = faults


class Expressions:
    """``spec``: of a policy, with its defaults. What is wrong is kept until `check`."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._faults: dict[str, str] = {}
        variables: dict[str, Program] = {}
        self.declared = Declared(variables, spec.get("paramKind") is not None)
        for index, variable in enumerate(spec.get("variables") or ()):
            program = self.compile(f"spec.variables[{index}].expression", variable["expression"])
            if program is not None:
                variables[variable["name"]] = program
        self._conditions = [
            program
            for index, condition in enumerate(spec.get("matchConditions") or ())
            if (program := self.compile(f"spec.matchConditions[{index}].expression", condition["expression"]))
        ]

    def compile(self, field: str, text: str, *, authorizer: bool = True, mutates: bool = False) -> Program | None:
        """None if it cannot be."""
        try:
            return self.declared.compile(text, authorizer=authorizer, mutates=mutates)
        except CelError as error:
            self._faults[field] = str(error)
            return None

    def check(self) -> None:
        """Raises NotCompiled."""
        if self._faults:
            raise NotCompiled(self._faults)

    def match(self, inputs: Inputs) -> bool:
        """Whether all match conditions are true. Raises CelError."""
        return not self._conditions or conditions_hold(self._conditions, self.declared, inputs)
