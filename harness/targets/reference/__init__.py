"""The reference proxy: an auth path in front of a model that is mocked, with switches.

Start in `auth`, which says what one request asks for and what is checked. `app` is the ASGI
application around it, `store` its statements to Postgres, `spend` what a reply's cost does.
`target` describes it to a stack, which runs `serve`.
"""
