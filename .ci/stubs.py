"""Type stubs of the compiled module, made from the module itself.

    python .ci/stubs.py           writes python/chainrule/_core/*.pyi
    python .ci/stubs.py --check   fails when they are not what the module says

Functions and methods come from the signature strings that their parser reads. What C's slots and attributes
do not tell about themselves stands in ATTRIBUTES, METHODS and OPERATORS; anything else there is of type Any.
"""

import ast
import difflib
import inspect
import keyword
import pathlib
import re
import sys
import types

from chainrule import _core

FOLDER = pathlib.Path(__file__).parent.parent / "python" / "chainrule" / "_core"

HEAD = """\
# Made from the compiled module by .ci/stubs.py: run that instead of editing this.
from builtins import bool as _bool, float as _float, int as _int, str as _str
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias
from typing_extensions import Self
"""

# Types of signature strings. With underscores, since Tensor has methods called int, float and bool.
PARAMETERS = {
    "Tensor": "Tensor",
    "Operand": "Tensor | _Scalar",
    "Scalar": "_Scalar",
    "int": "_int",
    "float": "_float",
    "bool": "_bool",
    "str": "_str",
    "DType": "_dtype",
    "Device": "_device | _str",
    "Generator": "Generator",
    "object": "Any",
}
RESULTS = {
    **PARAMETERS,
    "Scalar": "_Scalar",
    "Device": "_device",
    "()": "None",
    "None": "None",
    "Size": "Size",
}

ATTRIBUTES = {
    "Tensor": {
        "T": "Tensor",
        "H": "Tensor",
        "mT": "Tensor",
        "mH": "Tensor",
        "data": "Tensor",
        "device": "_device",
        "dtype": "_dtype",
        "grad": "Tensor | None",
        "grad_fn": "Any",
        "is_leaf": "_bool",
        "itemsize": "_int",
        "layout": "Any",
        "names": "tuple[None, ...]",
        "nbytes": "_int",
        "ndim": "_int",
        "output_nr": "_int",
        "real": "Tensor",
        "requires_grad": "_bool",
        "retains_grad": "_bool",
        "shape": "Size",
        "is_cpu": "_bool",
        "is_cuda": "_bool",
        "_base": "Tensor | None",
        "_version": "_int",
    },
    "Value": {
        "data": "_float",
        "grad": "_float",
        "label": "_str",
        "_op": "_str",
        "_prev": "set[Value]",
        "_backward": "Callable[[], None]",
    },
    "Generator": {"device": "_device"},
}

METHODS = {
    "Tensor": {
        "__getitem__": "(self, index: Any, /) -> Tensor",
        "__setitem__": "(self, index: Any, value: Any, /) -> None",
        "__iter__": "(self) -> Iterator[Tensor]",
        "__delitem__": "(self, index: Any, /) -> None",
        "__copy__": "(self) -> Self",
        "__deepcopy__": "(self, memo: dict[_int, Any], /) -> Self",
        "__len__": "(self) -> _int",
        "__bool__": "(self) -> _bool",
        "__int__": "(self) -> _int",
        "__float__": "(self) -> _float",
        "__index__": "(self) -> _int",
        "__contains__": "(self, element: Any, /) -> _bool",
        "__init__": "(self, *args: Any, **kwargs: Any) -> None",
    },
    "Value": {
        "__init__": "(self, data: _float, label: _str = '') -> None",
        "__bool__": "(self) -> _bool",
        "__float__": "(self) -> _float",
        "backward": "(self) -> None",
        "zero_grad": "(self) -> None",
        **dict.fromkeys(("exp", "log", "tanh", "relu", "sigmoid", "sin", "cos", "sqrt"), "(self) -> Value"),
    },
    "Generator": {
        "__init__": "(self, device: _device | _str = 'cpu') -> None",
        "manual_seed": "(self, seed: _int, /) -> Generator",
        "seed": "(self) -> _int",
        "initial_seed": "(self) -> _int",
        "get_state": "(self) -> Tensor",
        "set_state": "(self, new_state: Tensor) -> None",
    },
    "ModuleBase": {"__call__": "(self, *args: Any, **kwargs: Any) -> Any"},
    "ModeGuard": {
        "__new__": "(cls, grad: _bool | None, inference: _bool | None, at_once: _bool, /) -> Self",
        "__enter__": "(self) -> None",
        "__exit__": "(self, *error: Any) -> None",
        "_undo": "(self) -> None",
    },
    "NoGradGuard": {"__new__": "(cls, function: Any = None) -> Any"},
    "EnableGradGuard": {"__new__": "(cls, function: Any = None) -> Any"},
    "device": {"__init__": "(self, type: Any = 'cpu', index: _int | None = None) -> None"},
    "": {
        "_build_info": "() -> dict[_str, Any]",
        "_signatures": "() -> dict[_str, dict[_str, _str]]",
        "_memory_stats": "() -> dict[_str, _int]",
    },
}

BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
OPERATORS = {
    "Tensor": {
        **{f"__{name}__": "(self, other: Tensor | _Scalar, /) -> Tensor" for name in BINARY},
        **{f"__r{name}__": "(self, other: Tensor | _Scalar, /) -> Tensor" for name in BINARY},
        **{f"__i{name}__": "(self, other: Tensor | _Scalar, /) -> Self" for name in BINARY},
        **{
            f"__{name}__": "(self, other: Tensor | _Scalar, /) -> Tensor" for name in ("lt", "le", "gt", "ge")
        },
        **{f"__{name}__": "(self, other: Any, /) -> Tensor" for name in ("eq", "ne")},
        **{f"__{name}__": "(self) -> Tensor" for name in ("neg", "pos", "abs", "invert")},
    },
    "Value": {
        **{f"__{name}__": "(self, other: Value | _float, /) -> Value" for name in BINARY},
        **{f"__r{name}__": "(self, other: _float, /) -> Value" for name in BINARY},
        **{f"__{name}__": "(self, other: Value | _float, /) -> _bool" for name in ("lt", "le", "gt", "ge")},
        **{f"__{name}__": "(self, other: object, /) -> _bool" for name in ("eq", "ne")},
        **{f"__{name}__": "(self) -> Value" for name in ("neg", "pos", "abs")},
    },
}
# Said by object already, or of no interest to a type checker.
SILENT = (
    "__doc__ __module__ __dict__ __weakref__ __new__ __getattribute__ __getattr__ __setattr__ __delattr__ "
    "__repr__ __str__ __hash__ __slots__ __buffer__ __release_buffer__ __reduce__ __reduce_ex__ __setstate__ "
    "__getstate__ __sizeof__ __qualname__ __match_args__ __class_getitem__ __format__ __dir__ __orig_bases__ "
    "__vectorcalloffset__ __weaklistoffset__ __dictoffset__ __static_attributes__ __firstlineno__ "
    "__array_priority__ __init_subclass__ _pybind11_conduit_v1_"
).split()

any_types: list[str] = []  # what has no better type, for the report


def split(text: str) -> list[str]:
    """At the commas that stand outside of brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    tail = text[start:].strip()
    return [*parts, tail] if tail else parts


def parameter_type(text: str) -> str:
    if text.endswith("?"):
        return parameter_type(text[:-1]) + " | None"
    if text == "int[]":
        return "_int | Sequence[_int]"
    if text == "Tensor[]":
        return "Sequence[Tensor]"
    return PARAMETERS[text]


def result_type(text: str) -> str:
    if text.endswith("?"):
        return result_type(text[:-1]) + " | None"
    if text.endswith("[]"):
        return f"tuple[{result_type(text[:-2])}, ...]"
    if text.startswith("(") and text != "()":  # (Tensor values, Tensor indices): the names are for the reader
        return f"tuple[{', '.join(result_type(part.split(' ')[0]) for part in split(text[1:-1]))}]"
    return RESULTS[text]


def default(text: str) -> str:
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return "..."
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else "..."


def signature(name: str, text: str, method: bool) -> str:
    """The stub of a function from its signature string."""
    match = re.fullmatch(r"\w+\((.*)\) -> (.+)", text, re.DOTALL)
    if match is None:
        raise ValueError(f"not a signature: {text!r}")
    parts = []
    for i, part in enumerate(split(match[1])):
        if part == "*":
            if not any(p.startswith("*") for p in parts):
                parts.append("*")
            continue
        declared, _, value = part.partition("=")
        kind, _, parameter = declared.strip().rpartition(" ")
        if method and i == 0:
            parts.append("self")
        elif kind.startswith("*"):
            element = PARAMETERS[kind[1:].removesuffix("[]")]
            parts.append(f"*{parameter}: {element} | Sequence[{element}]")
        else:
            # A function's first tensor answers to `input` too, as in PyTorch; `self` would be a method's.
            parameter = "input" if parameter == "self" else parameter
            if keyword.iskeyword(parameter):  # from: written with an underscore here, as in PyTorch's stubs
                parameter += "_"
            parts.append(f"{parameter}: {parameter_type(kind)}" + (f" = {default(value)}" if value else ""))
    result = match[2].strip()
    own_name = text.partition("(")[0]
    if result.startswith("(") and hasattr(_core._return_types, own_name):
        return f"def {name}({', '.join(parts)}) -> _{own_name}: ..."
    return f"def {name}({', '.join(parts)}) -> {result_type(result)}: ..."


def documented_type(text: str) -> str:
    """A type as pybind11 writes it in docstrings."""
    text = text.replace("typing.SupportsInt | typing.SupportsIndex", "int")
    text = text.replace("typing.SupportsFloat | typing.SupportsIndex", "float")
    text = re.sub(r"\b(collections\.abc|typing|chainrule(\._core)?)\.", "", text)
    text = re.sub(r"\b(int|float|bool|str|dtype|device)\b", r"_\1", text)
    return re.sub(r"\bobject\b", "Any", text)


def documented_result(value: object) -> str | None:
    """The type of a property or function, from the first line of pybind11's docstring."""
    function = value.fget if isinstance(value, property) else value
    match = re.match(r"\w*\(.*\) -> (.+)", function.__doc__ or "")
    return documented_type(match[1]) if match else None


def documented(owner: str, name: str, value: object) -> str | None:
    """The stub of a function from pybind11's docstring."""
    match = re.match(rf"{name}\((.*)\) -> ", value.__doc__ or "")
    result = documented_result(value)
    if match is None or result is None:
        return None
    parts = []
    positional = False  # pybind11 calls a parameter without a name arg0, arg1, ...
    for i, part in enumerate(split(match[1])):
        declared, _, initial = part.partition(" = ")
        parameter, _, kind = declared.partition(": ")
        if owner and i == 0:
            parts.append("self")
        elif parameter.startswith("*"):
            parts.append(f"{parameter}: Any")
        else:
            positional = positional or re.fullmatch(r"arg\d+", parameter) is not None
            parts.append(
                f"{parameter}: {documented_type(kind)}" + (f" = {default(initial)}" if initial else "")
            )
    if positional:
        parts.append("/")
    return f"def {name}({', '.join(parts)}) -> {result}: ..."


def untyped(owner: str, name: str) -> str:
    any_types.append(f"{owner}.{name}" if owner else name)
    return f"def {name}({'self, ' if owner else ''}*args: Any, **kwargs: Any) -> Any: ..."


def callable_stub(owner: str, name: str, value: object, signatures: dict[str, str]) -> str:
    if name in signatures:
        return signature(name, signatures[name], method=bool(owner))
    known = METHODS.get(owner, {}).get(name) or OPERATORS.get(owner, {}).get(name)
    if known:
        return f"def {name}{known}: ..."
    return documented(owner, name, value) or untyped(owner, name)


def class_stub(cls: type, signatures: dict[str, str]) -> list[str]:
    name = cls.__name__
    if issubclass(cls, tuple) and hasattr(cls, "n_sequence_fields"):  # what functions with two results return
        fields = [k for k, v in vars(cls).items() if inspect.ismemberdescriptor(v)]
        return [f"class _{name}(NamedTuple):", *(f"    {field}: Tensor" for field in fields)]
    base = cls.__base__
    inherits = f"({base.__name__})" if base and base.__module__ == cls.__module__ else ""
    lines = [f"class {name}{inherits}:"]
    members = dict(sorted(vars(cls).items()))
    for maker in ("__new__", "__init__"):
        if maker in METHODS.get(name, {}):
            lines.append(f"    def {maker}{METHODS[name][maker]}: ...")
    for member, value in members.items():
        if member in SILENT or member == "__init__":
            continue
        if (
            inspect.isgetsetdescriptor(value)
            or inspect.ismemberdescriptor(value)
            or isinstance(value, property)
        ):
            kind = ATTRIBUTES.get(name, {}).get(member)
            if kind is None and isinstance(value, property):
                kind = documented_result(value)
            if kind is None:
                any_types.append(f"{name}.{member}")
            if isinstance(value, property) and value.fset is None:
                lines += ["    @property", f"    def {member}(self) -> {kind or 'Any'}: ..."]
            else:
                lines.append(f"    {member}: {kind or 'Any'}")
        elif member == "__hash__" and value is None:
            lines.append("    __hash__: None  # type: ignore[assignment]")
        elif isinstance(value, (staticmethod, classmethod)):
            lines.append(f"    @{type(value).__name__}")
            receiver = "cls, " if isinstance(value, classmethod) else ""
            lines.append(f"    def {member}({receiver}*args: Any, **kwargs: Any) -> Any: ...")
        elif callable(value):
            line = callable_stub(name, member, value, signatures)
            comparison = name == "Tensor" and member in ("__eq__", "__ne__")
            override = "  # type: ignore[override]" if comparison else ""
            lines.append(f"    {line}{override}")
        else:
            any_types.append(f"{name}.{member}")
            lines.append(f"    {member}: Any")
    if len(lines) == 1:
        lines[0] += " ..."
    return lines


def python_home(cls: type) -> str | None:
    """Where a class that was written in Python stands: not a compiled one that got some of its methods from Python."""
    functions = (v for v in vars(cls).values() if isinstance(v, types.FunctionType))
    return next((f.__module__ for f in functions if f.__qualname__.startswith(f"{cls.__name__}.")), None)


def module_stub(module: types.ModuleType, signatures: dict[str, dict[str, str]]) -> str:
    top = module is _core
    lines = [HEAD]
    members = {k: v for k, v in sorted(vars(module).items()) if not (k.startswith("__") and k.endswith("__"))}
    if top:
        lines += [f"from . import {k} as {k}" for k, v in members.items() if isinstance(v, types.ModuleType)]
        lines.append("\n_Scalar: TypeAlias = _bool | _int | _float")
        lines += [f"_{k}: TypeAlias = {k}" for k in ("dtype", "device") if k in members]
        for cls in vars(_core._return_types).values():  # here, since max and min are functions here
            lines += ["", *class_stub(cls, {})] if isinstance(cls, type) else []
    else:
        shared = ("Generator", "Size", "Tensor", "_device", "_dtype", "_Scalar")
        lines.append(
            f"from . import {', '.join(k for k in shared if k.startswith('_') or hasattr(_core, k))}"
        )
    lines.append("")
    for value in members.values():
        if module is _core._return_types:
            lines += [f"from . import _{value.__name__}", f"{value.__name__} = _{value.__name__}"]
        elif isinstance(value, type) and (home := python_home(value)):
            lines += [f"from {home} import {value.__name__} as {value.__name__}", ""]
        elif isinstance(value, type) and value.__module__.startswith("chainrule"):
            lines += [*class_stub(value, signatures.get(value.__name__, {})), ""]
    for name, value in members.items():
        if isinstance(value, type):
            if value.__name__ != name:
                lines.append(f"{name} = {value.__name__}")
        elif callable(value):
            lines.append(callable_stub("", name, value, signatures.get(module.__name__, {})))
        elif not isinstance(value, types.ModuleType):
            kind = type(value).__name__
            lines.append(
                f"{name}: {f'_{kind}' if kind in ('int', 'float', 'bool', 'str', 'dtype') else 'Any'}"
            )
    return "\n".join(lines).rstrip() + "\n"


def stubs() -> dict[pathlib.Path, str]:
    signatures = _core._signatures()
    out = {FOLDER / "__init__.pyi": module_stub(_core, signatures)}
    for name, value in sorted(vars(_core).items()):
        if isinstance(value, types.ModuleType):
            out[FOLDER / f"{name}.pyi"] = module_stub(value, signatures)
    return out


def main() -> int:
    made = stubs()
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        for path, text in made.items():
            path.write_text(text)
            print(f"{path.relative_to(FOLDER.parent.parent.parent)}: {text.count(chr(10))} lines")
        print(f"of type Any: {', '.join(any_types) or 'nothing'}")
        return 0
    changes = []
    for path in sorted({*made, *FOLDER.glob("*.pyi")}):
        old = path.read_text() if path.exists() else ""
        name = path.name
        changes += difflib.unified_diff(
            old.splitlines(),
            made.get(path, "").splitlines(),
            f"{name}, as it is",
            f"{name}, as the module says",
            lineterm="",
        )
    if changes:
        print("\n".join(changes[:60]))
        print("the stubs are not what the module says: run python .ci/stubs.py and commit what it writes")
        return 1
    print(f"{len(made)} stub files say what the module says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
