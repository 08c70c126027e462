"""Elements brought together, repeated, picked, placed and ordered."""

import numpy as np

import reference as ref

from .row import ALL, FLOATS, FUNCTIONAL, INTS, METHOD, REALS, A, B, E, I, Op, T, V

LARGE = (300, 257)
SHUFFLED = (100 * np.arange(257) + np.arange(300)[:, None]) % 257  # each row in an order of its own


def move(name, samples, errors=(), dtypes=ALL, **options):
    reference = options.pop("reference", None) or getattr(ref, name)
    return Op(name, reference, samples, dtypes, errors=list(errors), rtol=options.pop("rtol", 0), **options)


def sizes(reference):
    return lambda x, *arguments: reference(x, arguments)


OUTSIDE = V([[0, 1, 5]], "int64")

ROWS = [
    move(
        "cat",
        [
            A([(2, 3), (4, 3)]),
            A([(2, 3), (2, 1), (2, 4)], 1),
            A([(2, 3), (2, 3)], dim=-1, layout="transposed"),
            A([(0,), (2, 3)]),
            A([(3,)]),
            A([(0, 3), (2, 3)]),
            A([LARGE, LARGE], 1),
            A([(3, 4), (3, 4)], 1, layout="sliced"),
        ],
        [E([(2, 3), (2, 4)]), E([(2, 3), (2, 3)], 2, type=IndexError), E([(2, 3), (3,)]), E([()], 0)],
        where=("",),
        out=True,
    ),
    move("cat", [], [E([], type=(RuntimeError, ValueError), says="cat")], where=("",), variant="nothing"),
    move("concat", [A([(2, 3), (4, 3)])], where=("",), reference=ref.cat),
    move(
        "stack",
        [
            A([(2, 3), (2, 3)]),
            A([(2, 3), (2, 3)], 1),
            A([(2, 3), (2, 3)], dim=-1),
            A([(), ()]),
            A([LARGE, LARGE], 2),
        ],
        [E([(2, 3), (2, 4)]), E([(2, 3), (2, 3)], 3, type=IndexError)],
        where=("",),
    ),
    move("hstack", [A([(2, 3), (2, 1)]), A([(3,), (2,)])], where=("",)),
    move("vstack", [A([(2, 3), (1, 3)]), A([(3,), (3,)])], where=("",)),
    move("dstack", [A([(2, 3), (2, 3)]), A([(3,), (3,)])], where=("",)),
    move("meshgrid", [A((2,), (3,), indexing="ij"), A((2,), (3,), indexing="xy")], where=("",)),
    move(
        "repeat",
        [A((2, 3), [2, 1]), A((3,), [2, 2]), A((), [3]), A((2, 3), [0, 1]), A((100, 257), [2, 3])],
        [E((2, 3), [2]), E((2, 3), [-1, 1])],
        where=METHOD,
        rtol=1e-6,
    ),
    move("repeat", [A((2, 3), 2, 1)], where=METHOD, reference=sizes(ref.repeat), variant="sizes"),
    move("tile", [A((100, 257), [3, 2]), A((2, 3), [2]), A((2, 3), [2, 2]), A((3,), [2, 1, 2])]),
    move(
        "repeat_interleave",
        [
            A((2, 3), 2),
            A((2, 3), 2, 1),
            A((2, 3), V([1, 0, 2], "int64"), 1),
            A((3,), V([2], "int64"), 0),
            A(LARGE, 2, 1),
        ],
        [E((2, 3), -1), E((2, 3), V([1, 2], "int64"), 1), E((2, 3), 2, 2, type=IndexError)],
    ),
    move(
        "flip",
        [
            A((2, 3), [0]),
            A((2, 3), [0, 1]),
            A((2, 3), [-1], layout="transposed"),
            A((0, 3), [1]),
            A(LARGE, [1]),
        ],
        [E((2, 3), [2], type=IndexError), E((2, 3), [0, 0])],
    ),
    move(
        "roll",
        [
            A((2, 3), 1, 1),
            A((2, 3), -4, 0),
            A((2, 3), [1, 2], [0, 1]),
            A((2, 3), 2),
            A((0, 3), 1, 0),
            A(LARGE, 100, 1),
        ],
        [E((2, 3), [1, 2], [0]), E((2, 3), 1, 2, type=IndexError)],
    ),
    move(
        "tril",
        [A((4, 5)), A((2, 3, 3), 1), A((4, 4), -1), A((4, 4), diagonal=-9), A(LARGE)],
        [E((3,))],
        inplace=True,
    ),
    move(
        "triu",
        [A((4, 5)), A((2, 3, 3), 1), A((4, 4), -1), A((4, 4), diagonal=9), A(LARGE)],
        [E((3,))],
        inplace=True,
    ),
    move("diag", [A((3,)), A((3, 4)), A((3,), 1), A((3, 4), -1)], [E((2, 3, 4))]),
    move("fliplr", [A((2, 3))]),
    move("flipud", [A((2, 3))]),
    move("rot90", [A((2, 3)), A((2, 3, 4), 3, [1, 2])]),
    move(
        "gather",
        [
            A((3, 4), 1, I((3, 2), 4)),
            A((3, 4), 0, I((2, 4), 3)),
            A((3, 4), -1, I((2, 2), 4)),
            A((3, 4), 0, I((0, 4), 3)),
            A((3, 4), 1, I((3, 4), 4), layout="transposed"),
            A(LARGE, 1, I(LARGE, 257)),
        ],
        [
            E((3, 4), 1, OUTSIDE),
            E((3, 4), 1, V([[-1]], "int64")),
            E((3, 4), 2, I((3, 2), 3), type=IndexError),
            E((3, 4), 1, T((3, 2), dtype="float32", grad=False)),
            E((3, 4), 1, I((4, 2), 4)),
            E((3, 4), 1, I((3,), 4)),
        ],
    ),
    move(
        "scatter",
        [
            A((3, 4), 1, V([[0, 2], [1, 3], [3, 0]], "int64"), (3, 2)),
            A((3, 4), 0, V([[2, 0, 1, 2]], "int64"), (1, 4)),
            A((3, 4), 1, V([[0], [2]], "int64"), 2),
            A((3, 4), 1, I((0, 2), 4), (0, 2)),
            A(LARGE, 1, V(SHUFFLED, "int64"), LARGE),
        ],
        [E((3, 4), 1, OUTSIDE, (1, 3)), E((3, 4), 1, OUTSIDE, 2.0), E((3, 4), 1, I((3, 2), 4), (2, 2))],
        inplace=True,
    ),
    move(
        "scatter_add",
        [
            A((3, 4), 1, I((3, 5), 4), (3, 5)),
            A((3, 4), 0, I((2, 4), 3), (2, 4)),
            A((3, 4), 1, I((3, 4), 4), (3, 4), layout="transposed"),
            A((300, 257), 0, I((200, 257), 300), (200, 257)),
            A((5,), 0, I((9000,), 5), (9000,)),
        ],
        [E((3, 4), 1, OUTSIDE, (1, 3)), E((3, 4), 1, I((3, 2), 4), (2, 2))],
        dtypes=REALS,
        inplace=True,
        rtol=1e-5,
    ),
    move(
        "index_select",
        [
            A((3, 4), 0, I((5,), 3)),
            A((3, 4), 1, I((2,), 4)),
            A((3, 4), -1, I((0,), 4)),
            A(LARGE, 1, I((300,), 257)),
        ],
        [
            E((3, 4), 0, V([0, 3], "int64"), type=IndexError, says="index"),
            E((3, 4), 2, I((2,), 3), type=IndexError),
            E((3, 4), 0, I((2, 2), 3), type=IndexError, says="index"),
        ],
    ),
    move(
        "index_add",
        [
            A((3, 4), 0, I((5,), 3), (5, 4)),
            A((3, 4), 1, I((2,), 4), (3, 2), alpha=2),
            A((40, 30), 0, I((500,), 40), (500, 30)),
            A((4000, 20), 0, I((6000,), 4000), (6000, 20)),
        ],
        [
            E((3, 4), 0, V([0, 3], "int64"), (2, 4), type=(IndexError, RuntimeError), says="index"),
            E((3, 4), 0, I((2,), 3), (3, 4)),
        ],
        dtypes=REALS,
        inplace=True,
        rtol=1e-5,
    ),
    move(
        "index_copy",
        [A((3, 4), 0, V([2, 0], "int64"), (2, 4)), A(LARGE, 1, V(SHUFFLED[0], "int64"), LARGE)],
        [
            E((3, 4), 0, V([2, 9], "int64"), (2, 4), type=(IndexError, RuntimeError)),
            E((3, 4), 0, V([2, 0], "int64"), (3, 4), type=(IndexError, RuntimeError)),
        ],
        inplace=True,
    ),
    move(
        "index_fill",
        [A((3, 4), 1, V([3, 0], "int64"), 1)],
        [E((3, 4), 1, V([3, 9], "int64"), 1.0, type=IndexError)],
        inplace=True,
    ),
    move("take_along_dim", [A((3, 4), I((3, 2), 4), 1), A(LARGE, I(LARGE, 257), 1)]),
    move(
        "masked_select",
        [A((3, 4), B((3, 4))), A((3, 4), B((4,))), A((0, 3), B((3,))), A(LARGE, B(LARGE))],
        [E((3, 4), B((3, 3))), E((3, 4), T((3, 4), dtype="int64"))],
    ),
    move(
        "take",
        [A((3, 4), I((2, 2), 12)), A(LARGE, I((200, 257), 300))],
        [E((3, 4), V([12], "int64"), type=IndexError)],
    ),
    move(
        "masked_scatter",
        [A((3, 4), B((3, 4)), (12,)), A(LARGE, B(LARGE), LARGE)],
        [E((3, 4), V([[True] * 4] * 3, "bool"), (7,))],
        inplace=True,
    ),
    move(
        "sort",
        [A((7,)), A((3, 5), 0), A((3, 5), dim=1, descending=True), A((0, 3), 1), A((3, 90)), A((), 0)],
        [E((2, 3), 2, type=IndexError)],
        dtypes=FLOATS,
        jumps=True,
    ),
    move(
        "sort",
        [A((40,), stable=True), A((3, 40), stable=True, descending=True)],
        dtypes=ALL,
        variant="stable",
    ),
    move(
        "sort",
        [A((2, 3000), stable=True), A((3000, 2), dim=0, descending=True, stable=True)],
        dtypes=ALL,
        variant="long",
        orders=0,
    ),
    move(
        "sort",
        [
            A(V([3.0, float("nan"), -float("inf"), 1.0, float("inf")])),
            A(V([1.0, float("nan"), 2.0]), descending=True),
        ],
        dtypes=FLOATS,
        variant="nan",
        orders=0,
    ),
    move("msort", [A((5, 3)), A((90, 300))], dtypes=FLOATS),
    move(
        "kthvalue",
        [A((5,), 2), A((3, 5), 2, 0), A((3, 5), 5, dim=1, keepdim=True), A((300, 90), 7)],
        [E((5,), 6), E((5,), 0)],
        dtypes=FLOATS,
    ),
    move(
        "searchsorted",
        [A(V([1, 3, 5, 7]), (6,)), A(V([1, 3, 5, 7]), V([1, 3, 9]), right=True)],
        dtypes=REALS,
        result="int64",
        orders=0,
        where=("",),
    ),
    move(
        "bucketize",
        [A((2, 3), V([1, 3, 5])), A(V([1, 3]), V([1, 3, 5]), right=True)],
        dtypes=REALS,
        result="int64",
        orders=0,
        where=("",),
    ),
    move(
        "argsort",
        [A((7,)), A((3, 5), 0), A((3, 5), -1, True), A((300, 90))],
        dtypes=FLOATS,
        result="int64",
        orders=0,
    ),
    move("argsort", [A((3, 40), stable=True)], dtypes=INTS, result="int64", orders=0, variant="stable"),
    move(
        "topk",
        [
            A((9,), 3),
            A((3, 9), 2, 1),
            A((3, 9), 2, dim=0, largest=False),
            A((9,), 9),
            A((4, 90), 5),
            A((2, 5000), 7),
        ],
        [E((9,), 10), E((9,), -1), E((3, 4), 2, 2, type=IndexError)],
        dtypes=FLOATS,
        jumps=True,
    ),
    move("nonzero", [A((3, 4)), A((0, 3)), A((5,))], dtypes=ALL, result="int64", orders=0),
    move("argwhere", [A((3, 4)), A((0, 3))], dtypes=ALL, result="int64", orders=0),
    move(
        "unique",
        [
            A((30,)),
            A((5, 6)),
            A((0,)),
            A((30,), return_inverse=True, return_counts=True),
            A(V([[1, 2], [1, 2]]), dim=0),
        ],
        dtypes=(*INTS, *FLOATS),
        orders=0,
    ),
    move("bincount", [A(I((20,), 5)), A(I((20,), 5), minlength=9)], orders=0, dtypes=("int64",)),
    Op(
        "one_hot",
        ref.one_hot,
        [A(I((5,), 4)), A(I((3000,), 40)), A(I((2, 3), 4), 6), A(I((), 4), num_classes=4)],
        ("int64",),
        orders=0,
        where=FUNCTIONAL,
        errors=[E(V([0, 4], "int64"), 4), E(V([-1], "int64"), 4), E((3,), 4, says="")],
    ),
    move(
        "pad",
        [
            A((3, 4), [1, 2]),
            A((3, 4), [1, 0, 2, 1], value=1),
            A((3, 4), [-1, 2]),
            A((0, 3), [1, 1]),
            A((2, 3, 4), [1, 1, 0, 2], layout="transposed"),
            A(LARGE, [3, 1, 2, 5]),
        ],
        [E((3, 4), [1]), E((3,), [1, 1, 1, 1]), E((3, 4), [-3, -3])],
        where=FUNCTIONAL,
    ),
    move(
        "pad",
        [
            A((2, 3, 4), [1, 2], "reflect"),
            A((1, 2, 3, 4), [3, 2, 2, 1], mode="reflect"),
            A((2, 3, 4), [5, 2], "replicate"),
            A((1, 2, 3, 4), [1, 0, 2, 5], mode="replicate", layout="transposed"),
            A((2, 3, 4), [4, 3], "circular"),
            A((1, 2, 3, 4), [-1, 2, 0, 3], mode="circular"),
            A((1, 300, 257), [20, 30], "reflect"),
        ],
        [E((2, 3, 4), [4, 0], "reflect"), E((2, 3, 4), [5, 0], "circular"), E((2, 3, 4), [1, 1], "mirror")],
        where=FUNCTIONAL,
        dtypes=FLOATS,
        variant="modes",
    ),
]
