"""The same elements under another shape: views where PyTorch gives views."""

import reference as ref

from .row import ALL, METHOD, A, E, Op


def shape(name, samples, errors=(), view=True, dtypes=ALL, **options):
    reference = options.pop("reference", None) or getattr(ref, name)
    return Op(name, reference, samples, dtypes, view=view, errors=list(errors), **options)


def sizes(reference):
    """The reference of a method whose last arguments may come one by one."""
    return lambda x, *arguments: reference(x, arguments)


def attribute(name):
    return lambda lib: lambda x: getattr(x, name)


LARGE = (300, 401)
BEYOND = E((2, 3), 2, type=IndexError)

ROWS = [
    shape(
        "reshape",
        [A((2, 6), [3, 4]), A((2, 6), [-1]), A((), [1, 1]), A((0, 3), [3, 0]), A((2, 6), [4, -1])],
        [E((2, 6), [5, 2]), E((2, 6), [-1, -1]), E((2, 6), [5, -1]), E((0, 3), [0, -1])],
    ),
    shape(
        "reshape",
        [A((3, 4), [2, 6], layout="transposed"), A(LARGE, [401, 300], layout="transposed")],
        view=False,
        variant="copy",
    ),
    shape(
        "reshape",
        [A((2, 6), 3, 4), A((2, 6), -1)],
        where=METHOD,
        reference=sizes(ref.reshape),
        variant="sizes",
    ),
    shape(
        "view",
        [A((2, 6), [3, 4]), A((2, 6), [-1]), A((0, 3), [3, 0]), A((3, 5), [3, 1, 5], layout="transposed")],
        [E((2, 6), [5, 2]), E((3, 4), [12], layout="transposed")],
        where=METHOD,
    ),
    shape(
        "view", [A((2, 6), 3, 4), A((2, 6), -1, 2)], where=METHOD, reference=sizes(ref.view), variant="sizes"
    ),
    shape("view_as", [A((2, 6), (3, 4))], where=METHOD),
    shape("reshape_as", [A((2, 6), (3, 4))], where=METHOD),
    shape(
        "transpose",
        [A((2, 3, 4), 0, 2), A((2, 3), -1, -2), A((), 0, -1), A((0, 3), 0, 1)],
        [E((2, 3), 0, 2, type=IndexError)],
    ),
    shape("swapaxes", [A((2, 3, 4), 0, 2)]),
    shape(
        "permute",
        [A((2, 3, 4), [2, 0, 1]), A((2, 3), [-1, 0]), A((), []), A((2, 3, 4), [1, 2, 0], layout="sliced")],
        [E((2, 3), [0]), E((2, 3), [0, 0]), E((2, 3), [0, 2], type=IndexError)],
    ),
    shape("permute", [A((2, 3, 4), 2, 0, 1)], where=METHOD, reference=sizes(ref.permute), variant="sizes"),
    shape("t", [A((2, 3)), A((3,)), A(())], [E((2, 3, 4))]),
    shape("T", [A((2, 3)), A((3,))], call=attribute("T")),
    shape("mT", [A((2, 3)), A((2, 3, 4))], [E((3,), says="mT")], call=attribute("mT")),
    shape(
        "squeeze",
        [A((1, 3, 1)), A((1, 3, 1), 0), A((1, 3, 1), 1), A((1, 3, 1), -1), A(()), A((1, 2, 1), dim=(0, 2))],
        [BEYOND],
    ),
    shape(
        "unsqueeze",
        [A((2, 3), 0), A((2, 3), 2), A((2, 3), -1), A((2, 3), -3), A((), 0)],
        [E((2, 3), 3, type=IndexError), E((2, 3), -4, type=IndexError)],
    ),
    shape(
        "expand",
        [A((3, 1), [3, 4]), A((3, 1), [-1, 4]), A((3,), [2, 3]), A((), [2, 2]), A((1, 3), [0, 3])],
        [E((3, 2), [3, 4]), E((3,), [-1, 3]), E((2, 3), [3])],
        where=METHOD,
    ),
    shape("expand", [A((3, 1), -1, 4)], where=METHOD, reference=sizes(ref.expand), variant="sizes"),
    shape("expand_as", [A((3, 1), (3, 4))], [E((3, 2), (3, 4), says="expand")], where=METHOD),
    shape("broadcast_to", [A((3, 1), [3, 4]), A((), [2])], [E((3, 2), [3, 4], says="expand|broadcast_to")]),
    shape(
        "flatten",
        [A((2, 3, 4)), A((2, 3, 4), 1), A((2, 3, 4), 0, 1), A((2, 3, 4), start_dim=-2), A(()), A((0, 3))],
        [E((2, 3, 4), 2, 1), E((2, 3), 0, 2, type=IndexError)],
    ),
    shape("ravel", [A((2, 3))]),
    shape(
        "as_strided",
        [A((3, 4), [2, 3], [4, 1]), A((6,), [4, 3], [1, 1]), A((6,), [2], [2], 1), A((6,), [2, 3], [0, 1])],
        [E((6,), [2, 3], [4, 1]), E((6,), [2], [1, 1]), E((6,), [2], [1], 5)],
    ),
    shape("diagonal", [A((3, 4)), A((3, 4), 1), A((2, 3, 4), 0, 1, 2)], [E((3,), type=IndexError)]),
    shape("broadcast_tensors", [A((3, 1), (4,))], [E((3,), (4,))], where=("",)),
    shape(
        "unflatten",
        [A((2, 12), 1, [3, 4]), A((2, 12), -1, [3, -1])],
        [E((2, 12), 1, [5, 2]), E((2, 12), 2, [2, 6], type=IndexError)],
    ),
    shape(
        "split",
        [A((7, 2), 3), A((2, 6), 2, 1), A((7, 2), [3, 4]), A((2, 7), [1, 0, 6], dim=-1), A((4,), 4)],
        [E((7,), [3, 3]), E((7,), -1), E((7,), 2, 1, type=IndexError), E((7,), [8, -1])],
    ),
    shape("chunk", [A((7, 2), 3), A((2, 6), 4, 1), A((2, 6), 2, dim=-1)], [E((7,), 0)]),
    shape("unbind", [A((3, 2)), A((2, 3), 1), A((2, 3), -1)], [BEYOND]),
    shape(
        "narrow",
        [A((5, 2), 0, 1, 3), A((2, 5), -1, 0, 5), A((5,), 0, -3, 2), A((5,), 0, 5, 0)],
        [
            E((5,), 0, 3, 3),
            E((5,), 0, 0, -1),
            E((5,), 1, 0, 1, type=IndexError),
            E((5,), 0, 6, 0, type=IndexError),
        ],
    ),
    shape(
        "select",
        [A((3, 4), 0, 1), A((3, 4), 1, -1)],
        [E((3, 4), 0, 3, type=IndexError), E((3, 4), 2, 0, type=IndexError), E((), 0, 0, type=IndexError)],
    ),
    shape(
        "movedim",
        [A((2, 3, 4), 0, -1), A((2, 3, 4), [0, 1], [2, 0])],
        [E((2, 3), 0, 2, type=IndexError), E((2, 3), [0, 0], [0, 1])],
    ),
    shape("moveaxis", [A((2, 3, 4), 0, 2)]),
    shape(
        "contiguous",
        [
            A((3, 4), layout="transposed"),
            A((3, 4), layout="sliced"),
            A((), layout="expanded"),
            A((0, 3)),
            A(LARGE, layout="transposed"),
        ],
        where=METHOD,
        view=False,
    ),
    shape(
        "clone",
        [
            A((2, 3)),
            A(()),
            A((0, 3)),
            A((3, 4), layout="transposed"),
            A((3, 4), layout="expanded"),
            A(LARGE, layout="sliced"),
        ],
        view=False,
    ),
]
