"""Bodies of the control API: JSON within a limit, strictly as declared, or one line that names the key at fault."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from emulator.errors import UsageError

BODY_BYTES_MAX = 1 << 20


class Body(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def json_in(request: Request) -> Any:
    """What is in the body; an object without keys if there is none. UsageError; HTTPException when it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"body: over {BODY_BYTES_MAX} bytes")
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise UsageError("body: not JSON") from None


Model = TypeVar("Model", bound=Body)


async def read(request: Request, model: type[Model]) -> Model:
    """The body as declared. UsageError, which names the first key at fault; HTTPException when it is too long."""
    try:
        return model.model_validate(await json_in(request))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"body: {key or 'object'}: {first['msg']}") from None
