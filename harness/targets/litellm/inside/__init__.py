"""What runs inside a release's own environment.

It may import the standard library and what a release brings: click, uvicorn, redis and, in the
official image, prometheus-client, which an environment of ours is given besides. Only the stand-in
for Prisma needs asyncpg, which is given too.
"""
