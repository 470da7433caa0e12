"""Reads payloads as this release does. Runs as a script with the Python of a release.

It takes a JSON list of ``[object, payload]`` on standard input and writes a JSON list of
``{"fields": …, "defaults": …}`` or ``{"why": …}``. The release's own codec decides whether there is
an object; a payload that it refuses is validated once more for the reason.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from typing import Any

MODELS = {
    "key": "UserAPIKeyAuth",
    "user": "LiteLLM_UserTable",
    "team": "LiteLLM_TeamTableCachedObj",
    "membership": "LiteLLM_TeamMembership",
}
"""The model that the auth path asks for, by object; the names are those of all releases so far."""


def read(payload: Any, model: Any, deserialize: Any) -> dict[str, Any]:
    """What a release makes of one payload.

    Args:
        payload: decoded from JSON.
        model: a Pydantic model of the release.
        deserialize: the release's ``CacheCodec.deserialize``, or one that behaves so.
    """
    # Validators of a release write into their input.
    found = deserialize(json.loads(json.dumps(payload)), model)
    if found is None:
        try:
            model.model_validate(payload)
        except ValueError as error:
            return {"why": str(error)}
        return {"why": f"the codec returns nothing for a payload of type {type(payload).__name__}"}
    defaults = {
        name: one.get_default(call_default_factory=True)
        for name, one in model.model_fields.items()
        if not one.is_required()
    }
    return {
        "fields": found.model_dump(mode="json"),
        "defaults": json.loads(json.dumps(defaults, default=str)),
    }


def main() -> None:
    """Answer what standard input asks."""
    asked = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)  # Each refused payload is a WARNING with the whole of it.
    types = importlib.import_module("litellm.proxy._types")
    codec = importlib.import_module("litellm.proxy.common_utils.cache_pydantic_utils").CacheCodec
    answers = [read(one, getattr(types, MODELS[kind]), codec.deserialize) for kind, one in asked]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
