"""Errors of the reference proxy, in OpenAI's shape.

ApiError                  anything that ends a request with an error reply
├── BadRequestError       400, malformed body
│   └── TooLargeError     413, a body over the limit, sent or announced
├── AuthError             401, unknown, expired or blocked key, or an object that cannot be built
├── ModelNotAllowedError  403
├── NotMasterError        403, a management call with another key than the master key
├── NotFoundError         404, no such route or object
├── MethodError           405, a route that takes another method
├── BudgetExceededError   429
└── UnavailableError      503, Postgres does not answer and the object is not cached
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class ApiError(Exception):
    """A reply with an error body; ``param`` names the field of the request that is at fault."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    param: str | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param or self.param

    def body(self) -> bytes:
        """The body, as OpenAI's clients expect it."""
        error: dict[str, Any] = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})


class BadRequestError(ApiError):
    """The request cannot be understood."""

    status = 400
    kind = "invalid_request_error"
    code = "bad_request"


class TooLargeError(BadRequestError):
    """The body is over the limit; the rest of it is discarded."""

    status = 413
    code = "request_too_large"


class AuthError(ApiError):
    """The key is not accepted."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class ModelNotAllowedError(ApiError):
    """The key, its user or its team may not call the model."""

    status = 403
    kind = "permission_error"
    code = "model_not_allowed"
    param = "model"


class NotMasterError(ApiError):
    """A management call needs the master key."""

    status = 403
    kind = "permission_error"
    code = "master_key_required"


class NotFoundError(ApiError):
    """No such route, or no row of the object that a management call names."""

    status = 404
    kind = "invalid_request_error"
    code = "not_found"


class MethodError(ApiError):
    """The route exists, the method does not."""

    status = 405
    kind = "invalid_request_error"
    code = "method_not_allowed"


class BudgetExceededError(ApiError):
    """A budget is used up."""

    status = 429
    kind = "budget_exceeded"
    code = "budget_exceeded"


class UnavailableError(ApiError):
    """Postgres does not answer and the object is not cached."""

    status = 503
    kind = "server_error"
    code = "database_unavailable"
