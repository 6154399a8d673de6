"""Errors in the OpenAPI document: each route lists its codes, each with an example."""

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Struct

from idp.errors import IdpError
from idp.ops.problems import MEDIA_TYPE, FieldError, Problem


def responses(*errors: type[IdpError]) -> dict[int, ResponseSpec]:
    """Return the `responses` of a route that can answer with these errors."""
    by_status: dict[int, list[type[IdpError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: ResponseSpec(
            Problem,
            description="; ".join(f"`{error.code}`: {error.title}" for error in kinds),
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=[Example(id=error.code, summary=error.title, value=example(error)) for error in kinds],
        )
        for status, kinds in by_status.items()
    }


def documents(answer: type[Struct], status: int = 200) -> dict[int, ResponseSpec]:
    """Return the `responses` of a route that returns encoded bytes, whose shape the framework cannot see."""
    return {status: ResponseSpec(answer, description="The answer.", generate_examples=False)}


def example(error: type[IdpError]) -> dict[str, object]:
    """Return the problem document of an error, as a client would see it."""
    problem: dict[str, object] = {
        "type": f"/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.text,
        "code": error.code,
        "remedy": error.remedy,
        "request_id": "01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10",
    }
    if error.code == "validation_failed":
        field = FieldError(loc=["body", "email"], msg="Expected `str`, got `int`", type="value_error")
        problem["errors"] = [{"loc": field.loc, "msg": field.msg, "type": field.type}]
    return problem
