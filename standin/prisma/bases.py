"""The base class of rows, where Prisma's client has it."""

from .models import PrismaModel as _PrismaModel

__all__ = ("_PrismaModel",)
