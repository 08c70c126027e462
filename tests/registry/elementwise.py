"""Functions of single elements: the table of derivatives, arithmetic, comparison, logic."""

import numpy as np

import reference as ref

from .row import ALL, EVERYWHERE, FLOATS, FUNCTIONAL, INTS, METHOD, REALS, A, B, E, Op, T, V

LARGE = (130, 517)
UNARY = [
    A((2, 3, 4)),
    A(()),
    A((0, 3)),
    A((3, 4), layout="transposed"),
    A((5, 7), layout="sliced"),
    A((3, 4), layout="expanded"),
    A(LARGE),
]
BINARY = [
    A((2, 3, 4), (2, 3, 4)),
    A((), ()),
    A((3, 1), (1, 4)),
    A((0, 3), (3,)),
    A((4, 3), (4, 3), layout="transposed"),
    A((5, 7), (7,), layout="sliced"),
    A((4, 3), (3,), layout="expanded"),
    A((4,), ()),
    A((4, 3), 2),
    A(LARGE, LARGE),
    A(LARGE, (517,)),
]
TENSORS = [a for a in BINARY if 2 not in a.args]
TWO_SHAPES = E((2, 3), (2, 4))


def unary(
    name, dtypes=ALL, result="float", ulp=2, special="all", inplace=True, out=True, samples=UNARY, **options
):
    flags = {"ulp": ulp, "special": special, "inplace": inplace, "out": out}
    flags |= {"errors": [E("three", type=TypeError)], **options}
    return Op(name, getattr(ref, name), samples, dtypes, result, **flags)


def binary(name, dtypes=REALS, result="promoted", special="all", ulp=1, samples=BINARY, **options):
    flags = {"inplace": True, "out": True, "special": special, "ulp": ulp, **options}
    flags = {"errors": [TWO_SHAPES, E((2, 3), "three", type=TypeError)], **flags}
    return Op(name, getattr(ref, name), samples, dtypes, result, **flags)


def activation(name, samples=(), reference=None, where=FUNCTIONAL, **options):
    flags = {"special": "finite", "where": where, "rtol": 1e-6, **options}
    return Op(name, reference or getattr(ref, name), [*UNARY, *samples], **flags)


def predicate(name, dtypes=ALL, **options):
    return unary(name, dtypes, "bool", ulp=0, orders=0, inplace=False, out=False, **options)


def compare(name, dtypes=ALL, **options):
    return binary(name, dtypes, "bool", orders=0, **options)


SHIFTED_OUT = A(V([1, 8, 100, 127]), V([7, 8, 70, 100]))
INFINITE = A(V([np.inf, np.inf, -np.inf, 1.0]), V([np.inf, -np.inf, -np.inf, 99.0]))
SIGNED = (*FLOATS, "int32", "int64")
POSITIVE, UNIT = (0.1, 3.0), (-0.9, 0.9)

ROWS = [
    unary("abs", REALS, "same", ulp=0),
    unary("neg", REALS, "same", ulp=0),
    unary("positive", REALS, "same", ulp=0, inplace=False, out=False),
    unary("sign", ALL, "same", ulp=0, jumps=True),
    unary("square", REALS, "same", ulp=1),
    unary("floor", REALS, "same", ulp=0, jumps=True),
    unary("ceil", REALS, "same", ulp=0, jumps=True),
    unary("trunc", REALS, "same", ulp=0, jumps=True),
    unary("round", REALS, "same", ulp=0, jumps=True),
    Op("round", ref.round, [A((3, 4), decimals=2), A((3, 4), decimals=-1)], variant="decimals", rtol=1e-6),
    unary("exp"),
    unary("exp2"),
    unary("expm1"),
    unary("log", domain=POSITIVE),
    unary("log2", domain=POSITIVE),
    unary("log10", domain=POSITIVE),
    unary("log1p", domain=(-0.8, 3)),
    unary("sqrt", domain=POSITIVE, ulp=1),
    unary("rsqrt", domain=POSITIVE),
    unary("reciprocal", domain=POSITIVE, ulp=1),
    unary("sin"),
    unary("cos"),
    unary("tan", domain=(-1.3, 1.3)),
    unary("asin", domain=UNIT),
    unary("acos", domain=UNIT),
    unary("atan"),
    unary("sinh"),
    unary("cosh"),
    unary("tanh", where=EVERYWHERE, errors=[]),
    unary("sigmoid", where=EVERYWHERE, special="normal", errors=[]),
    unary("erf"),
    unary("erfc", ulp=4),
    unary("erfinv", FLOATS, domain=UNIT, ulp=4, special=""),
    unary("relu", REALS, "same", ulp=0, where=EVERYWHERE, out=False),
    predicate("isnan"),
    predicate("isinf"),
    predicate("isfinite"),
    unary("logical_not", ALL, "bool", ulp=0, orders=0),
    unary("bitwise_not", (*INTS, "bool"), "same", ulp=0, orders=0, special=""),
    Op("__invert__", ref.bitwise_not, [A((2, 3))], (*INTS, "bool"), orders=0, where=METHOD),
    Op("__neg__", ref.neg, [A((2, 3))], REALS, where=METHOD),
    Op("__abs__", ref.abs, [A((2, 3))], REALS, where=METHOD),
    activation("leaky_relu", [A((3, 4), negative_slope=0.2), A((3, 4), 0.3)], ulp=1),
    activation("elu", [A((3, 4), alpha=0.7)]),
    activation("gelu", [A((3, 4), approximate="tanh"), A(LARGE, approximate="tanh")], rtol=2e-6),
    activation("silu"),
    activation("softplus", [A((3, 4), beta=2.0, threshold=1.0)]),
    activation("mish"),
    unary(
        "clamp",
        SIGNED,
        "same",
        ulp=0,
        jumps=True,
        samples=[A((3, 4), -1, 1), A((0, 3), max=1), A(LARGE, min=-1, max=1)],
    ),
    Op(
        "clamp",
        ref.clamp,
        [A((3, 4), (3, 4), (3, 4)), A((3, 4), (4,)), A((3, 4), max=T((3, 1)))],
        REALS,
        variant="tensors",
        out=True,
        errors=[E((3, 4)), E((3, 4), (3,), says="clamp")],
    ),
    binary("add", ALL),
    Op("add", ref.add, [A((3, 4), (3, 4), alpha=2)], REALS, variant="alpha"),
    binary("sub", samples=[*BINARY, A((3, 4), (3, 4), alpha=2)]),
    binary(
        "rsub", errors=[], samples=[A((3, 4), (3, 4)), A((3, 4), 2)], inplace=False, out=False, special=""
    ),
    binary("mul", ALL),
    binary("div", REALS, "float", domain=(0.5, 4)),
    Op(
        "div",
        ref.div,
        [A((3, 4), (3, 4), rounding_mode="floor"), A((3, 4), (3, 4), rounding_mode="trunc")],
        REALS,
        variant="rounded",
        orders=0,
        domain=(0.5, 4),
        errors=[E((3, 4), 2.0, rounding_mode="up", says="rounding_mode")],
    ),
    binary("floor_divide", domain=(0.5, 4), orders=0),
    binary("fmod", domain=(0.5, 4), jumps=True),
    binary("remainder", domain=(0.7, 3.3), jumps=True),
    binary("pow", domain=POSITIVE, ulp=2, samples=[*BINARY, A((3, 4), 3), A((3, 4), 2.5), A((3, 4), 0)]),
    Op(
        "pow",
        ref.pow,
        [A((3, 40), n) for n in (-0.5, -1.0, -1.5, -2.0, 0.5)],
        FLOATS,
        domain=POSITIVE,
        variant="without-logarithms",
        ulp=2,
        out=True,
    ),
    Op("pow", ref.pow, [A(2.5, (3, 4)), A(2, ())], where=("",), variant="of-a-number", out=True),
    binary("atan2", result="float", ulp=2, samples=TENSORS),
    binary("hypot", FLOATS, ulp=2, domain=POSITIVE, samples=TENSORS),
    binary("logaddexp", FLOATS, ulp=None, special="", inplace=False, samples=[*TENSORS, INFINITE]),
    binary("maximum", ulp=0, inplace=False, samples=TENSORS),
    binary("minimum", ulp=0, inplace=False, samples=TENSORS),
    compare("eq"),
    compare("ne"),
    compare("lt"),
    compare("le"),
    compare("gt"),
    compare("ge"),
    compare("logical_and", samples=TENSORS),
    compare("logical_or", samples=TENSORS),
    compare("logical_xor", samples=TENSORS),
    binary("bitwise_and", (*INTS, "bool"), special="", orders=0),
    binary("bitwise_or", (*INTS, "bool"), special="", orders=0),
    binary("bitwise_xor", (*INTS, "bool"), special="", orders=0),
    binary("bitwise_left_shift", INTS, special="", orders=0, samples=[*BINARY, SHIFTED_OUT]),
    binary("bitwise_right_shift", INTS, special="", orders=0, samples=[*BINARY, SHIFTED_OUT]),
    Op(
        "lerp",
        ref.lerp,
        [A((3, 4), (3, 4), 0.3), A((3, 4), (4,), (3, 1)), A(LARGE, LARGE, 0.7)],
        inplace=True,
        out=True,
        errors=[E((3, 4), (3,), 0.5)],
    ),
    Op(
        "addcmul",
        ref.addcmul,
        [A((3, 4), (3, 4), (4,)), A((3, 4), (3, 4), (3, 4), value=2)],
        inplace=True,
        out=True,
        errors=[E((3, 4), (3,), (4,), says="mul|addcmul")],
    ),
    Op(
        "addcdiv",
        ref.addcdiv,
        [A((3, 4), (3, 4), (4,)), A((3, 4), (3, 4), (3, 4), value=2)],
        domain=(0.5, 3.0),
        inplace=True,
        out=True,
        errors=[E((3, 4), (3,), (4,), says="div|addcdiv")],
    ),
    Op(
        "where",
        ref.where,
        [
            A(B((3, 4)), (3, 4), (3, 4)),
            A(B((3, 1)), (1, 4), ()),
            A(B((0, 3)), (3,), (3,)),
            A(B(LARGE), LARGE, (517,)),
            A(B((4, 3)), (4, 3), (4, 3), layout="transposed"),
        ],
        ALL,
        where=("",),
        errors=[E(B((2, 3)), (2, 3), (2, 4))],
    ),
    Op(
        "masked_fill",
        ref.masked_fill,
        [A((3, 4), B((3, 4)), 2), A((3, 4), B((4,)), 2), A(LARGE, B(LARGE), 1), A((0, 3), B((3,)), 1)],
        ALL,
        inplace=True,
        errors=[E((3, 4), B((3, 3)), 1.0), E((3, 4), T((3, 4), dtype="int64"), 1.0)],
    ),
    Op(
        "isclose",
        ref.isclose,
        [A((3, 4), (3, 4), atol=1.0), A((3, 4), (4,), rtol=0.5), A((0,), (0,))],
        FLOATS,
        "bool",
        orders=0,
    ),
]

ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide"}
ARITHMETIC |= {"mod": "remainder", "pow": "pow"} | {
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
COMPARISON = ("eq", "ne", "lt", "le", "gt", "ge")


def swapped(function):
    return lambda a, b: function(b, a)


def operator_rows():
    """Operators with a tensor or a number on either side."""
    for symbol, name in ARITHMETIC.items():
        bits = symbol in ("and", "or", "xor")
        options = {"dtypes": INTS if bits else REALS, "where": METHOD, "domain": (0.5, 3.0), "rtol": 1e-6}
        options |= {"result": "float" if name == "div" else "promoted"}
        options |= {"orders": 0 if bits or name == "floor_divide" else 2}
        function = getattr(ref, name)
        yield Op(f"__{symbol}__", function, [A((3, 4), (4,)), A((3, 4), 2), A((), 3)], **options)
        yield Op(f"__r{symbol}__", swapped(function), [A((3, 4), 2), A((), 3)], **options)
    for name in COMPARISON:
        samples = [A((3, 4), (4,)), A((3, 4), 1)]
        yield Op(f"__{name}__", getattr(ref, name), samples, REALS, "bool", orders=0, where=METHOD)


ROWS += operator_rows()
