"""What runs inside a release's own environment.

It may import the standard library, what the release brings (click, uvicorn, redis), and three small
packages that the environment is given besides: asyncpg, msgspec and prometheus-client.
"""
