"""Settings as data: tables that are checked, frozen, and changed by dotted keys."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emulator.errors import UsageError

Seconds = Annotated[float, Field(gt=0, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """Frozen, strict, and changed by dotted keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def with_changes(self, changes: dict[str, Any], *, where: str) -> Self:
        """A copy with dotted keys replaced: ``{"wifi.signal_dbm": -78.0}``. UsageError names a wrong key."""
        data = self.model_dump()
        for dotted, value in changes.items():
            *path, key = dotted.split(".")
            table: Any = data
            for part in path:
                table = table.get(part) if isinstance(table, dict) else None
            if not isinstance(table, dict) or key not in table:
                raise UsageError(f"{where}: {dotted}: no such key")
            table[key] = value
        try:
            return self.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise UsageError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
