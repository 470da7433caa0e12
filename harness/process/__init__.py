"""Processes: started, watched, stopped and waited for, so that none is left behind.

Start in `processes` for servers that stay up, in `groups` for commands that run to their end.
`guard` ends what a killed harness left, `stop` turns signals into exit codes.
"""
