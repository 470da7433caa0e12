"""What runs inside a release's own environment.

It imports the standard library, four packages (click, packaging, prometheus-client, uvicorn) and a
closed list of modules of the harness, which keep to the same rule. Both lists stand in
``tests/targets/litellm/inside/test_imports.py``, where installed releases are asked what they
loaded. The official image has the four packages; where the harness makes the environment, `pins`
adds what a release lacks of them, and asyncpg for the Prisma stand-in. What is wrapped (litellm,
redis, prisma) is looked up by name at the start (`instrument`).
"""
