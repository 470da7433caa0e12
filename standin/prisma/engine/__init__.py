"""Stands where Prisma's client has its engine; only the errors are of use to LiteLLM."""

from . import errors

__all__ = ("errors",)
