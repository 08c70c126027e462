"""Sums, products, extrema, statistics, running sums, softmax."""

import reference as ref

from .row import ALL, EVERYWHERE, FLOATS, INTS, REALS, A, E, Op, V

LARGE = (300, 401)
WHOLE = [
    A((2, 3, 4)),
    A(()),
    A((3, 4), layout="transposed"),
    A((5, 7), layout="sliced"),
    A(LARGE),
    A((70001,)),
]
ALONG = [
    A((2, 3, 4), dim=1),
    A((2, 3, 4), dim=-1, keepdim=True),
    A((), dim=0),
    A((3, 4), dim=0, layout="transposed"),
    A((5, 7), dim=1, layout="sliced"),
    A((3, 4), dim=0, layout="expanded"),
    A((0, 3), dim=1),
    A(LARGE, dim=0),
    A(LARGE, dim=1),
    A((40, 7, 300), dim=1),
]
SEVERAL = [A((2, 3, 4), dim=(0, 2)), A((2, 3, 4), dim=[0, -1], keepdim=True), A((20, 30, 40), dim=(0, 2))]
SPREAD = [a for a in WHOLE + ALONG if a.layout != "expanded" and a.args[0].shape]  # some variance
EMPTY = [A((0, 3)), A((0, 3), dim=0), A((3, 0), dim=1, keepdim=True)]
NAN = [A(V([[1.0, float("nan"), 3.0], [float("inf"), 2.0, -1.0]]), dim=1)]
UNEVEN = (-1.0, 2.0)  # so that sums do not cancel
BEYOND = [E((2, 3), dim=2, type=IndexError), E((2, 3), dim=-3, type=IndexError)]
TWICE = [E((2, 3), dim=(0, 0)), E((2, 3), dim=(1, -1))]
NO_IDENTITY = [E((0, 3), dim=0, type=IndexError)]


def total(name, dtypes, samples, errors=(), **options):
    return Op(name, getattr(ref, name), samples, dtypes, errors=[*BEYOND, *errors], **options)


def along(name, samples=(), errors=(), where=EVERYWHERE, **options):
    samples = [*[A(a.args[0], a.kwargs["dim"], layout=a.layout) for a in ALONG], *samples]
    errors = [E((2, 3), 2, type=IndexError), E((2, 3), -3, type=IndexError), *errors]
    return Op(name, getattr(ref, name), samples, where=where, errors=errors, **options)


ROWS = [
    total("sum", ALL, [*WHOLE, *ALONG, *SEVERAL, *EMPTY], TWICE, result="sum", rtol=1e-5, domain=UNEVEN),
    total(
        "mean",
        FLOATS,
        [*WHOLE, *ALONG, *SEVERAL, *EMPTY[1:], *NAN],
        [*TWICE, E(V([1, 2], "int64"), says="mean")],
        domain=UNEVEN,
    ),
    total(
        "prod", REALS, [A((2, 3)), A(()), *ALONG[:7], *EMPTY, A((6000, 9), dim=1)], result="sum", rtol=1e-5
    ),
    total("amax", REALS, [*WHOLE, *ALONG, *SEVERAL], [*TWICE, *NO_IDENTITY], rtol=0, jumps=True),
    total("amin", REALS, [*WHOLE, *ALONG, *SEVERAL], [*TWICE, *NO_IDENTITY], rtol=0, jumps=True),
    total("max", FLOATS, [*WHOLE, *ALONG, *NAN], NO_IDENTITY, rtol=0, jumps=True),
    total("min", FLOATS, [*WHOLE, *ALONG, *NAN], NO_IDENTITY, rtol=0, jumps=True),
    *[Op(name, getattr(ref, name), NAN, variant="nan", orders=0) for name in ("sum", "prod", "amax", "amin")],
    Op("max", ref.max, [A((2, 3))], INTS, variant="integers", orders=0, errors=[E((0,), says="max")]),
    Op("min", ref.min, [A((2, 3))], INTS, variant="integers", orders=0, errors=[E((0,), says="min")]),
    Op("max", ref.maximum, [A((3, 4), (4,))], REALS, variant="of-two"),
    Op("min", ref.minimum, [A((3, 4), (4,))], REALS, variant="of-two"),
    total("argmax", FLOATS, [*WHOLE, *ALONG, *NAN], NO_IDENTITY, result="int64", orders=0),
    total("argmin", FLOATS, [*WHOLE, *ALONG, *NAN], NO_IDENTITY, result="int64", orders=0),
    total("var", FLOATS, [*SPREAD, *SEVERAL], TWICE, rtol=1e-5),
    total("std", FLOATS, [*SPREAD, *SEVERAL], TWICE, rtol=1e-5),
    Op("var_mean", ref.var_mean, [A((3, 4)), A((3, 4), dim=1, correction=0)], where=("",), domain=UNEVEN),
    Op(
        "var",
        ref.var,
        [A((3, 4), dim=1, correction=0), A((3, 4), dim=None, correction=2)],
        variant="correction",
    ),
    Op("std", ref.std, [A((3, 4), dim=1, unbiased=False)], variant="biased"),
    Op(
        "norm",
        lambda x, p="fro", dim=None, keepdim=False: ref.norm(x, p, dim, keepdim),
        [
            *WHOLE,
            *[A((3, 4), p, dim=1) for p in (1, 2, 3, 2.5, float("inf"), -float("inf"), 0)],
            A((2, 3, 4), 2, dim=(0, 2), keepdim=True),
            A(LARGE, 2, dim=0),
            A(LARGE, 1, dim=1),
        ],
        rtol=1e-5,
        errors=[E((2, 3), 2, dim=2, type=IndexError)],
    ),
    along("logsumexp", [A((3, 4), 1, True)], where=("", "Tensor")),
    Op(
        "logsumexp",
        ref.logsumexp,
        [A((2, 3, 4), dim=(0, 2)), A((3, 4), dim=[1], keepdim=True)],
        variant="several",
    ),
    along("cumsum", [A((0, 3), 0)], dtypes=ALL, result="sum", where=("", "Tensor")),
    along("cumprod", [A((0, 3), 0)], dtypes=FLOATS, result="sum", where=("", "Tensor"), rtol=1e-5),
    total("all", ("bool", "int64", *FLOATS), [*WHOLE, *ALONG, *EMPTY], result="bool", orders=0),
    total("any", ("bool", "int64", *FLOATS), [*WHOLE, *ALONG, *EMPTY], result="bool", orders=0),
    along("softmax", [A((0, 4), 0), A((3, 4), dim=-1)]),
    along("log_softmax", [A((0, 4), 0), A((3, 4), dim=-1)]),
    Op(
        "softmax",
        ref.softmax,
        [A(V([[1e4, 0.0, -1e4], [-float("inf"), 1.0, 2.0]]), 1)],
        variant="extreme",
        where=EVERYWHERE,
        orders=0,
    ),
]
