"""Code that runs inside a release's own environment.

It imports the standard library, four packages (click, packaging, prometheus-client, uvicorn) and a
closed list of modules of the harness, which keep to the same rule. Both lists are in
``tests/targets/litellm/inside/test_imports.py``, which checks what installed releases load. The
official image has the four packages; where the harness makes the environment, `pins` adds those
that a release lacks, and asyncpg for the Prisma stand-in. What is wrapped (litellm, redis, prisma)
is looked up by name at the start (`instrument`).
"""
