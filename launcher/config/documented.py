"""What the settings of a section say of themselves: the text below each in its source.

pydantic can gather it (`use_attribute_docstrings`), at every import, for which it parses a file once for each class of
it: a tenth of a short command. Here it is read when somebody asks.
"""

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


def words_on(model: type[BaseModel]) -> dict[str, str]:
    """The text on each setting of a section, by its name; that of a parent where it has none of its own."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is not BaseModel and issubclass(kind, BaseModel):
            found |= _in_source(kind.__module__).get(kind.__qualname__, {})
    return {name: found[name] for name in model.model_fields if name in found}


@cache
def _in_source(module: str) -> dict[str, dict[str, str]]:
    """The texts below the annotated names of each class of a module, by the class."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {one.name: _below(one) for one in tree.body if isinstance(one, ast.ClassDef)}


def _below(one: ast.ClassDef) -> dict[str, str]:
    return {
        named.target.id: inspect.cleandoc(text.value.value)
        for named, text in zip(one.body, one.body[1:], strict=False)
        if isinstance(named, ast.AnnAssign)
        and isinstance(named.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
