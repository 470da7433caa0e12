"""The words that all parts share, and the files and messages that are made of them.

Start in `result`, the schema of ``result.json``. `population` is who sends requests, `window` what
the harness and the load driver say to each other, `samples` the raw samples. Nothing here starts a
process or opens a connection.
"""
