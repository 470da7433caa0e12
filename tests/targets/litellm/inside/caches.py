"""Caches of the shape of LiteLLM's, small enough to see through."""

from __future__ import annotations

from typing import Any


class Memory:
    """The first tier."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.cache_dict = self.values
        self.ttl_dict: dict[str, float] = {}

    async def async_get_cache(self, key: str, **_: Any) -> Any:
        return self.values.get(key)

    def set_cache(self, key: str, value: Any, **_: Any) -> None:
        self.values[key] = value

    def delete_cache(self, key: str) -> None:
        self.values.pop(key, None)


class Redis:
    """The second tier."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.error: Exception | None = None

    async def async_get_cache(self, key: str, **_: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.values.get(key)


class Client:
    """redis-py's client, as far as commands go."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}

    async def execute_command(self, *args: Any, **_: Any) -> Any:
        self.sent.append(args)
        if args[-1] == "fail":
            raise ConnectionError("gone")
        return self.answers.get(args[0], "OK")


class Pipeline(Client):
    """Its pipeline."""

    @property
    def command_stack(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(command, {}) for command in self.sent]

    def pipeline_execute_command(self, *args: Any, **_: Any) -> Pipeline:
        self.sent.append(args)
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        del raise_on_error
        return [self.answers.get(command[0], "OK") for command in self.sent]


class LiteLLM_UserTable:  # noqa: N801 - the name is what is looked at
    """A model, as far as its name and fields go."""

    def __init__(self, user_id: str, max_budget: float | None = None) -> None:
        self.user_id = user_id
        self.max_budget = max_budget


class LiteLLM_TeamTableCachedObj:  # noqa: N801 - the name is what is looked at
    """Another."""

    def __init__(self, team_id: str) -> None:
        self.team_id = team_id


class UserAPIKeyAuth:
    """The key object."""

    def __init__(self, token: str, user_id: str | None, team_id: str | None) -> None:
        self.token = token
        self.user_id = user_id
        self.team_id = team_id


class Codec:
    """Decodes a dict that holds a user id."""

    @staticmethod
    def serialize(value: Any, model_type: Any = None) -> Any:
        del model_type
        return dict(vars(value))

    @staticmethod
    def deserialize(cached: Any, model_type: Any) -> Any:
        if isinstance(cached, model_type):
            return cached
        try:
            return model_type(**cached)
        except TypeError:
            return None


class Cache:
    """Asks memory, then Redis; fills memory from Redis; decodes where a model is asked for."""

    def __init__(self, redis: Redis | None, codec: type[Codec] = Codec) -> None:
        self.in_memory_cache = Memory()
        self.redis_cache = redis
        self.codec = codec

    async def async_get_cache(
        self, key: str, model_type: Any = None, local_only: bool = False, **_: Any
    ) -> Any:
        value = await self.in_memory_cache.async_get_cache(key)
        if value is None and self.redis_cache is not None and not local_only:
            try:
                value = await self.redis_cache.async_get_cache(key)
            except ConnectionError:
                return None
            if value is not None:
                self.in_memory_cache.set_cache(key, value)
        if value is None or model_type is None:
            return value
        return self.codec.deserialize(value, model_type)

    async def async_set_cache(self, key: str, value: Any, **_: Any) -> None:
        self.in_memory_cache.set_cache(key, value)

    async def async_set_cache_pipeline(self, cache_list: Any, **_: Any) -> None:
        for key, value in cache_list:
            self.in_memory_cache.set_cache(key, value)
