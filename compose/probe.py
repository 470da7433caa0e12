# noqa: INP001 - a script of its own, which goes into the image
"""Health check of a container: `probe PORT PATH` asks the container itself, 200 is healthy.

Runs every few seconds in every replica while others are measured, so it imports next to nothing.
"""

import _socket
import sys

port, path = sys.argv[1:]
connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
connection.settimeout(4)
connection.connect(("127.0.0.1", int(port)))
connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
sys.exit(b" 200 " not in connection.recv(64))
