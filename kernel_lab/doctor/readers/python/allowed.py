"""The part of Python that the doctor evaluates: operators, functions, methods, and bounds on their results."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from kernel_lab.doctor.readers.worlds import UNKNOWN

LARGEST: Final = 1 << 64


LONGEST: Final = 10_000


CORES: Final = frozenset(
    {
        "multiprocessing.cpu_count",
        "os.cpu_count",
        "os.process_cpu_count",
        "psutil.cpu_count",
        "joblib.cpu_count",
        "loky.cpu_count",
    }
)


ENVIRONMENT: Final = frozenset(
    {"os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop", "os.environb.get"}
)


READERS_OF_ENVIRONMENT: Final = frozenset(
    {
        "decouple.config",
        "starlette.config.Config()",
        "environs.Env()",
        "environ.Env()",
        "environs.env",
        "os.environ.__getitem__",
    }
)


BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}


COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "max": max,
    "min": min,
    "round": round,
    "abs": abs,
    "len": len,
    "sum": sum,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "sorted": sorted,
    "any": any,
    "all": all,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.sqrt": math.sqrt,
    "math.trunc": math.trunc,
    "math.log2": math.log2,
    "math.log": math.log,
    "decimal.Decimal": float,
    "divmod": divmod,
}


METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset(
        {
            "strip",
            "lstrip",
            "rstrip",
            "lower",
            "upper",
            "split",
            "rsplit",
            "isdigit",
            "isnumeric",
            "isdecimal",
            "startswith",
            "endswith",
            "replace",
            "removeprefix",
            "removesuffix",
            "title",
            "partition",
            "rpartition",
            "join",
            "splitlines",
            "casefold",
            "find",
            "count",
        }
    ),
    dict: frozenset({"get", "keys", "values", "items", "update", "setdefault", "copy", "pop"}),
    list: frozenset({"append", "extend", "copy", "index", "count", "insert", "pop"}),
    int: frozenset({"bit_length"}),
    float: frozenset({"is_integer"}),
    set: frozenset({"add"}),
    tuple: frozenset({"index", "count"}),
}


def bounded(result: Any) -> Any:
    """Return a result, or UNKNOWN if it is too large."""
    if isinstance(result, complex) or (isinstance(result, (int, float)) and abs(result) > LARGEST):
        return UNKNOWN
    if isinstance(result, (str, list, tuple, dict, set)) and len(result) > LONGEST:
        return UNKNOWN
    return result
