"""Where expressions are evaluated: in threads, one for a workspace at a time, so that what is dear for a tenant is not
so for others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from proxy.admission.cel.authorization import Question, Verdict
from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.tenancy.index import Workspace

THREADS = 2
"""For expressions, of one worker."""
ANSWERED_WITHIN = 10.0
"""Seconds for a question to the authorizer."""

Authorize = Callable[[Workspace, User, Question], Awaitable[bool]]
"""Raises StatusError."""
T = TypeVar("T")


class Evaluator:
    """Of one worker."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="policies")

    def of(self, workspace: Workspace, user: User) -> Evaluating:
        return Evaluating(self._turn(workspace.token), self._threads, lambda asked: self._ask(workspace, user, asked))

    def _turn(self, token: str) -> asyncio.Lock:
        turn = self._turns.get(token)
        if turn is None:
            turn = self._turns[token] = asyncio.Lock()
        return turn

    async def _ask(self, workspace: Workspace, user: User, asked: Question) -> bool:
        return await self._authorize(workspace, user, asked)


class Evaluating:
    """For one request."""

    def __init__(
        self, turn: asyncio.Lock, threads: ThreadPoolExecutor, allowed: Callable[[Question], Awaitable[bool]]
    ) -> None:
        self._turn = turn
        self._threads = threads
        self._allowed = allowed
        self._loop = asyncio.get_running_loop()

    async def run(self, function: Callable[[], T]) -> T:
        """In a thread, when it is the turn of the workspace."""
        async with self._turn:
            return await self._loop.run_in_executor(self._threads, function)

    def ask(self, asked: Question) -> Verdict:
        """What an expression's ``authorizer`` asks, in such a thread."""

        async def allowed() -> bool:
            return await self._allowed(asked)

        answer = asyncio.run_coroutine_threadsafe(allowed(), self._loop)
        try:
            return Verdict(answer.result(ANSWERED_WITHIN))
        except (StatusError, TimeoutError) as error:
            return Verdict(allowed=False, error=str(error) or "no answer in time")
