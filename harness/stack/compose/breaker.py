"""Breaks a fleet in containers: what Docker can do to a container, as far as it can be counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from harness.domain.faults import FAULTS, PlannedFault
from harness.errors import HarnessError, InvalidRunError
from harness.process.groups import to_the_end
from harness.process.sockets import unread
from harness.process.waiting import wait_until
from harness.stack.compose.containers import Container, containers
from harness.stack.compose.docker import Docker
from harness.stack.compose.fleet import PROXY_PORT, REDIS_PORT, FleetPlace

_ENDED_S = 60.0
SIGNALS = {"replica-kill": "KILL", "replica-term": "TERM"}
PAUSED = {"redis-hang": REDIS_PORT, "replica-hang": PROXY_PORT}
BREAKS = frozenset({*SIGNALS, *PAUSED})
"""Faults that are counted from outside of a container: by its exit, or, while it is paused, by the
bytes that its connections hold. Postgres is shared by all fleets, and is not broken."""


class ComposeBreaker:
    """Breaks one fleet. See `harness.stack.base.Breaker`.

    Args:
        docker: to call.
        project: name of the Compose project.
        place: the fleet.
        planned: gets the ids of containers whose exit is no death.
        paused: has the ids of containers that are paused.
        ready: waits until the fleet answers.
    """

    def __init__(
        self,
        docker: Docker,
        project: str,
        place: FleetPlace,
        *,
        planned: set[str],
        paused: set[str],
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        self._docker, self._project, self._place = docker, project, place
        self._planned, self._paused, self._ready = planned, paused, ready
        self._steps: AsyncGenerator[int, None] | None = None
        self._bit = 0
        self.detail = ""

    async def begin(self, planned: PlannedFault) -> None:
        """Break it. See `Breaker.begin`."""
        part: Mapping[str, str | None] = {"redis": self._place.redis, "replica": self._place.proxy}
        service, number = part[FAULTS[planned.what].part], planned.replica + 1
        for one in await containers(self._docker, self._project):
            if one.service == service and (service == self._place.redis or one.number == number):
                steps = self._hang if planned.what in PAUSED else self._end
                self._steps, self._bit = steps(planned, one), 0
                await self._step("begun")
                return
        raise InvalidRunError(
            f"The fault [{planned.what}] of [{self._place.spec.name}] could not be begun: it has "
            "no such container. Leave the variant out, or break another part."
        )

    async def end(self) -> int:
        """Mend it and count. See `Breaker.end`."""
        if self._steps is not None:
            self._bit = await self._step("ended")
            self._steps = None
        return self._bit

    async def _step(self, what: str) -> int:
        assert self._steps is not None
        try:
            return await anext(self._steps)
        except (HarnessError, OSError) as error:
            raise InvalidRunError(f"The fault could not be {what}: {error}") from error

    async def _end(self, planned: PlannedFault, one: Container) -> AsyncGenerator[int, None]:
        """End a replica; its container starts again some seconds after that."""
        self._planned.add(one.id)
        number = SIGNALS[planned.what]
        await self._docker.must("The replica cannot be ended", "kill", "--signal", number, one.id)

        async def again() -> Container:
            ended = await wait_until(lambda: self._exited(one), _ENDED_S)
            if ended is None:
                raise InvalidRunError(f"[{one.name}] did not end within [{_ENDED_S:g} s].")
            await asyncio.sleep(planned.new_after_s)
            await self._docker.must("The replica cannot be started", "start", one.id)
            await self._ready()
            return ended

        replacing = asyncio.create_task(again())
        try:
            yield 0
            ended = await replacing
        finally:
            replacing.cancel()
            await asyncio.gather(replacing, return_exceptions=True)
        self.detail = f"{one.name} ended with exit code {ended.exit_code}"
        yield 1

    async def _exited(self, one: Container) -> Container | None:
        there = await containers(self._docker, self._project)
        return next((now for now in there if now.id == one.id and not now.running), None)

    async def _hang(self, planned: PlannedFault, one: Container) -> AsyncGenerator[int, None]:
        """Stop every process of a container; its connections stay open."""
        await self._docker.must(f"[{one.name}] cannot be paused", "pause", one.id)
        self._paused.add(one.id)

        async def go_on() -> None:
            await self._docker.must(f"[{one.name}] cannot go on", "unpause", one.id)
            self._paused.discard(one.id)

        try:
            yield 0
            waited = unread(PAUSED[planned.what], one.pid)
        finally:
            await to_the_end(go_on())
        self.detail = f"{one.name} was paused, {waited} connections waited"
        await self._ready()
        yield waited
