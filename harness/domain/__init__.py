"""The types that all parts share, and the files and messages that are made of them.

Start in `result`, the schema of ``result.json``. `population` has the virtual keys, `window` the
messages between the harness and the load driver, `samples` the raw samples. Nothing here starts a
process or opens a connection.
"""
