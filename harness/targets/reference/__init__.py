"""The reference proxy: an auth path with switches, in front of a mock model.

Start in `auth`, which has the lookups and checks of one request. `app` is the ASGI application
around it, `store` its statements to Postgres, `spend` the accounting of a reply's cost,
`management` the calls that change keys, users, teams and members.
`target` describes it to a stack, which runs `serve`.
"""
