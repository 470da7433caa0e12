"""In the place of Prisma's engine; LiteLLM uses only its errors."""

from . import errors

__all__ = ("errors",)
