"""Products of matrices and vectors, all through the one GEMM."""

import reference as ref

from .row import FLOATS, FUNCTIONAL, METHOD, A, E, Op, T, V

NUMBERS = (*FLOATS, "int64", "int32")
MATRIX = [
    A((3, 4), (4, 5)),
    A((1, 1), (1, 1)),
    A((0, 4), (4, 3)),
    A((3, 0), (0, 4)),
    A((3, 4), (4, 5), layout="transposed"),
    A((3, 4), (4, 5), layout="sliced"),
    A((3, 4), (4, 5), layout="expanded"),
    A((17, 33), (33, 65)),
    A((70, 300), (300, 90)),
    A((64, 600), (600, 48), layout="transposed"),
]
MIXED = [
    A((4,), (4,)),
    A((3, 4), (4,)),
    A((4,), (4, 5)),
    A((2, 3, 4), (4, 5)),
    A((2, 3, 4), (4,)),
    A((4,), (2, 4, 3)),
    A((2, 1, 3, 4), (5, 4, 2)),
    A((3, 4), (2, 4, 5)),
    A((0, 3, 4), (4, 5)),
    A((2, 0), (0,)),
    A((2, 3, 4), (2, 4, 3), layout="transposed"),
    A((8, 40, 60), (8, 60, 50)),
]


def product(name, samples, errors, dtypes=NUMBERS, **options):
    reference = options.pop("reference", None) or getattr(ref, name)
    return Op(name, reference, samples, dtypes, errors=errors, rtol=3e-6, **options)


ROWS = [
    product(
        "matmul",
        [*MATRIX, *MIXED],
        [
            E((2, 3), (4, 5)),
            E((2, 3), (4,)),
            E((3,), (4,), says="matmul|dot"),
            E((), (3,), says="matmul"),
            E((2, 2, 3), (3, 3, 4)),
            E((2, 3), V([[1], [2], [3]], "int64"), says=""),
        ],
        out=True,
    ),
    product("__matmul__", [A((3, 4), (4, 5))], [], where=METHOD, reference=ref.matmul),
    product("mm", MATRIX, [E((2, 3), (4, 5)), E((2, 3), (3,)), E((2, 2, 3), (3, 4))], out=True),
    product(
        "bmm",
        [
            A((2, 3, 4), (2, 4, 5)),
            A((0, 3, 4), (0, 4, 5)),
            A((2, 3, 4), (2, 4, 3), layout="transposed"),
            A((16, 40, 50), (16, 50, 60)),
        ],
        [E((2, 3, 4), (3, 4, 5)), E((2, 3), (3, 4)), E((2, 3, 4), (2, 3, 4))],
        out=True,
    ),
    product(
        "mv", [A((3, 4), (4,)), A((300, 270), (270,)), A((3, 0), (0,))], [E((3, 4), (3,)), E((3, 4), (4, 1))]
    ),
    product("dot", [A((4,), (4,)), A((0,), (0,)), A((20000,), (20000,))], [E((4,), (3,)), E((2, 2), (2, 2))]),
    product("outer", [A((3,), (4,)), A((0,), (4,)), A((300,), (270,))], [E((3, 1), (4,))]),
    product("ger", [A((3,), (4,))], []),
    product("vdot", [A((4,), (4,))], [E((4,), (3,), says="dot")]),
    product("inner", [A((3,), (3,)), A((2, 3), (4, 3)), A((70, 300), (90, 300))], []),
    product(
        "einsum",
        dtypes=(*FLOATS, "int64"),
        samples=[
            A("ij,jk->ik", (3, 4), (4, 5)),
            A("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
            A("ii->i", (3, 3)),
            A("ii", (3, 3)),
            A("ij->ji", (3, 4)),
            A("ij->", (3, 4)),
            A("i,j->ij", (3,), (4,)),
            A("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
            A("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)),
            A("ij,ij->i", (3, 4), (3, 4)),
            A("i,ij,j->", (3,), (3, 4), (4,)),
            A("ij,jk", (3, 4), (4, 5)),
            A("ik,jk,i->j", (3, 4), (5, 4), (3,)),
            A("bij,bjk->bik", (16, 40, 50), (16, 50, 60)),
            A("ij,kj->ik", (70, 300), (90, 300)),
        ],
        errors=[
            E("ij,jk->ik", (3, 4), (5, 6)),
            E("ij->ik", (3, 4)),
            E("ij,jk->ik", (3, 4)),
            E("ijk->i", (3, 4)),
        ],
        where=("",),
    ),
    product(
        "tensordot",
        [
            A((2, 3, 4), (3, 4, 5), 2),
            A((2, 3), (4, 5), 0),
            A((3, 4), (4, 3), [[0, 1], [1, 0]]),
            A((70, 300), (300, 90), 1),
        ],
        [E((2, 3), (4, 5), 1)],
        where=("",),
    ),
    product(
        "addmm",
        [
            A((3, 5), (3, 4), (4, 5)),
            A((5,), (3, 4), (4, 5), beta=2, alpha=3),
            A((3, 1), (3, 4), (4, 5), beta=0),
            A((90,), (70, 300), (300, 90)),
        ],
        [E((3, 4), (3, 4), (4, 5)), E((5,), (3, 4), (3, 5))],
        inplace=True,
    ),
    product(
        "baddbmm",
        [
            A((2, 3, 5), (2, 3, 4), (2, 4, 5)),
            A((5,), (2, 3, 4), (2, 4, 5), beta=2, alpha=3),
            A((16, 40, 60), (16, 40, 50), (16, 50, 60)),
        ],
        [E((4,), (2, 3, 4), (2, 4, 5)), E((5,), (2, 3, 4), (3, 4, 5))],
        inplace=True,
    ),
    product(
        "addmv", [A((3,), (3, 4), (4,)), A((300,), (300, 270), (270,))], [E((3,), (3, 4), (3,))], inplace=True
    ),
    product(
        "linear",
        [
            A((3, 4), (5, 4)),
            A((3, 4), (5, 4), (5,)),
            A((2, 3, 4), (5, 4), (5,)),
            A((4,), (5, 4), (5,)),
            A((0, 4), (5, 4), (5,)),
            A((70, 300), (90, 300), (90,)),
            A((70, 300), (90, 300), bias=T((90,)), layout="transposed"),
        ],
        [E((3, 4), (5, 3)), E((3, 4), (5, 4), (4,)), E((), (5, 4), says="linear|matmul")],
        dtypes=FLOATS,
        where=FUNCTIONAL,
    ),
]
