"""The JSON bodies of requests: each kind is a frozen dataclass, whose fields have rules as those of a recipe have."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from gluon_nst.errors import InputError
from gluon_nst.recipes.schema import check_fields

Made = TypeVar("Made", bound="Body")


@dataclasses.dataclass(frozen=True)
class Body:
    """A body without fields. Raises InputError for a value that a field can't have."""

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of(cls: type[Made], values: Any) -> Made:
        """Make the body from decoded JSON. Raises InputError unless it is an object with these fields."""
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        listed = f"the fields {', '.join(fields)}" if fields else "no fields"
        if not isinstance(values, dict):
            raise InputError(f"the request is not a JSON object with {listed}")
        for name in values:
            if name not in fields:
                raise InputError(f"{name}: not a field of this request, which has {listed}")
        for name, needed in fields.items():
            if needed and name not in values:
                raise InputError(f"{name}: missing in this request, which has {listed}")
        return cls(**values)
