"""Where expressions are evaluated: in threads, one for a workspace at a time, so that what is dear for a tenant is not
so for others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from proxy.admission.callback import Question
from proxy.admission.cel.authorization import Ask, Verdict
from proxy.admission.cel.authorization import Question as Asked
from proxy.kube.errors import StatusError

THREADS = 2
"""For expressions, of one worker."""
ANSWERED_WITHIN = 10.0
"""Seconds for a question to the authorizer."""

Authorize = Callable[[Question, Asked], Awaitable[bool]]
T = TypeVar("T")


class Evaluator:
    """Of one worker."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="policies")

    async def run(self, token: str, function: Callable[[], T]) -> T:
        """In a thread, when it is the turn of the workspace."""
        turn = self._turns.get(token)
        if turn is None:
            turn = self._turns[token] = asyncio.Lock()
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def ask(self, question: Question) -> Ask:
        """What an expression's ``authorizer`` asks, in such a thread."""
        loop = asyncio.get_running_loop()

        async def allowed(asked: Asked) -> bool:
            return await self._authorize(question, asked)

        def ask(asked: Asked) -> Verdict:
            answer = asyncio.run_coroutine_threadsafe(allowed(asked), loop)
            try:
                return Verdict(answer.result(ANSWERED_WITHIN))
            except (StatusError, TimeoutError) as error:
                return Verdict(allowed=False, error=str(error) or "no answer in time")

        return ask
