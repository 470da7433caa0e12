"""The stack in Docker Compose: the same fleets, behind HAProxy, in containers.

`harness.stack.compose.stack.ComposeStack` is the implementation of `harness.stack.base.Stack`;
`project` is where a project's files and settings are; `fleet` writes what Compose, the exporter
and Prometheus must know about one fleet; `docker` calls the command line and turns its errors
into messages.
"""

from harness.stack.compose.stack import ComposeStack

__all__ = ["ComposeStack"]
