"""Convolution, pooling, normalisation, embedding, attention, dropout."""

import numpy as np

import reference as ref

from .row import FUNCTIONAL, A, B, E, I, Op, T, V


def functional(name, samples, errors=(), **options):
    reference = options.pop("reference", None) or getattr(ref, name)
    return Op(name, reference, samples, where=FUNCTIONAL, errors=list(errors), **{"rtol": 5e-6, **options})


def still(shape, domain=None):
    """A tensor that gradients do not flow to."""
    return T(shape, domain, grad=False)


IMAGE = (2, 4, 6, 5)
inf, nan = np.inf, np.nan
# Ties, and windows without anything above -inf or with a NaN.
SPECIAL = [[[1, 1, -inf, -inf, nan, 2, 0, 7], [1, 1, -inf, -inf, 5, 3, 7, 0]]]

ROWS = [
    functional(
        "conv2d",
        [
            A((2, 3, 6, 5), (4, 3, 3, 2)),
            A((2, 3, 6, 5), (4, 3, 3, 3), (4,), stride=2, padding=1),
            A((2, 3, 6, 5), (4, 3, 3, 3), (4,), 2, [1, 2]),
            A((1, 3, 7, 6), (2, 3, 3, 2), padding="same"),
            A((1, 3, 7, 6), (2, 3, 3, 2), padding="valid", stride=(2, 1)),
            A((1, 2, 9, 9), (2, 2, 3, 3), dilation=2, padding=(2, 1)),
            A((1, 4, 5, 5), (6, 2, 3, 3), (6,), groups=2),
            A((1, 4, 5, 5), (4, 1, 3, 3), groups=4, padding=1),
            A((3, 5, 5), (4, 3, 1, 1), (4,)),
            A((0, 3, 5, 5), (4, 3, 3, 3)),
            A((2, 3, 6, 5), (4, 3, 3, 3), layout="transposed"),
            A((4, 8, 20, 20), (16, 8, 3, 3), (16,), padding=1),
            # Large enough for Winograd's algorithm: odd sizes, channels that fill no register, each padding.
            A((2, 16, 9, 11), (20, 16, 3, 3), padding=1),
            A((1, 17, 15, 14), (16, 17, 3, 3), (16,), padding="same", layout="transposed"),
            A((3, 16, 10, 9), (19, 16, 3, 3), (19,)),
            A((2, 18, 8, 9), (16, 18, 3, 3), padding=(2, 0)),
            A((1, 16, 4, 133), (16, 16, 3, 3), padding=(1, 3), layout="sliced"),
            A((16, 5, 5), (16, 16, 3, 3), (16,), padding=1),
            A((24, 16, 12, 12), (32, 16, 3, 3), padding=1),
            # Few channels come straight from the image, in more than one block of 256 too; 3 x 3 alone row by row.
            A((2, 31, 7, 19), (3, 31, 3, 3), (3,), padding=1),
            A((1, 3, 21, 18), (70, 3, 5, 5), stride=2, padding=2),
            A((2, 2, 3, 37), (4, 2, 2, 3), (4,), stride=(1, 2), layout="sliced"),
            A((2, 3, 9, 35), (3, 1, 3, 3), (3,), groups=3, padding=1),
            A((2, 3, 4, 6), (6, 1, 3, 3), groups=3, padding=(0, 1), stride=(1, 2)),
            A((1, 2, 3, 18), (2, 1, 3, 3), groups=2),
            A((3, 4, 7, 7), (4, 1, 3, 3), (4,), groups=4, padding=1),
            A((2, 3, 15, 37), (6, 1, 3, 3), groups=3, padding=1, stride=2),
            A((2, 2, 9, 38), (2, 1, 5, 5), (2,), groups=2, padding=2, stride=2),
            A((2, 24, 9, 14), (16, 12, 3, 3), groups=2, padding=1, stride=2),
            A((3, 18, 5, 7), (33, 18, 1, 1), (33,)),
        ],
        [
            E((2, 3, 6, 5), (4, 2, 3, 3)),
            E((2, 3, 6, 5), (4, 3, 7, 7)),
            E((2, 3), (4, 3, 3, 3)),
            E((2, 3, 6, 5), (4, 3, 3, 3), (3,)),
            E((2, 3, 6, 5), (4, 3, 3, 3), groups=2),
            E((2, 3, 6, 5), (4, 3, 3, 3), stride=0),
            E((2, 3, 6, 5), (4, 3, 3, 3), padding=-1),
            E((2, 3, 6, 5), (4, 3, 3, 3), padding="same", stride=2),
        ],
    ),
    functional(
        "max_pool2d",
        [
            A(IMAGE, 2),
            A(IMAGE, 3, 2, 1),
            A(IMAGE, [3, 2], stride=(2, 1), padding=1, dilation=1),
            A(IMAGE, 2, dilation=2),
            A(IMAGE, 2, ceil_mode=True),
            A(IMAGE, 3, 2, 1, ceil_mode=True),
            A((1, 2, 5, 8), [3, 2], [4, 1], [1, 0], 2),
            A((4, 6, 5), 2),
            A(IMAGE, 2, layout="transposed"),
            A((0, 4, 6, 5), 2),
            A((4, 8, 48, 48), 2),
            A((2, 3, 5, 67), 2),
        ],
        [E(IMAGE, 7), E(IMAGE, 2, padding=2), E((6, 5), 2), E(IMAGE, 2, stride=-1)],
    ),
    functional(
        "max_pool2d",
        [
            A(IMAGE, 2, return_indices=True),
            A(IMAGE, 3, 2, 1, return_indices=True),
            A(V(SPECIAL), 2, return_indices=True),
            A(V(SPECIAL), 2, 2, 1, return_indices=True),
        ],
        variant="indices",
    ),
    functional(
        "avg_pool2d",
        [
            A(IMAGE, 2),
            A(IMAGE, 3, 2, 1),
            A(IMAGE, [3, 2], stride=[2, 1], padding=1, count_include_pad=False),
            A(IMAGE, 2, ceil_mode=True),
            A(IMAGE, 3, 2, 1, ceil_mode=True),
            A(IMAGE, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            A(IMAGE, 2, divisor_override=3),
            A((4, 6, 5), 2),
            A((0, 4, 6, 5), 2),
            A((4, 8, 48, 48), 2),
        ],
        [
            E(IMAGE, 7),
            E(IMAGE, 2, padding=2),
            E((6, 5), 2, type=(IndexError, RuntimeError)),
            E(IMAGE, 2, divisor_override=0),
        ],
    ),
    functional(
        "adaptive_avg_pool2d",
        [A(IMAGE, 1), A(IMAGE, [3, 2]), A(IMAGE, [None, 7]), A((4, 6, 5), 3), A((4, 8, 48, 48), [5, 7])],
        [E((6, 5), 2), E(IMAGE, [-1, 2])],
    ),
    functional(
        "batch_norm",
        [
            A((4, 3), still((3,)), still((3,), (0.5, 2)), (3,), (3,)),
            A((2, 3, 4, 5), still((3,)), still((3,), (0.5, 2)), (3,), (3,), True),
            A((4, 3), still((3,)), still((3,), (0.5, 2)), None, None, training=True, momentum=0.3, eps=1e-3),
            A((4, 3), None, None, (3,), (3,), training=True),
            A((2, 3, 5), still((3,)), still((3,), (0.5, 2)), (3,), (3,), True),
            A((2, 3, 4, 5), None, None, (3,), (3,), True, layout="transposed"),
            A((8, 6, 20, 20), None, None, (6,), (6,), True),
            A((8, 6, 20, 20), still((6,)), still((6,), (0.5, 2)), (6,), (6,)),
        ],
        [
            E((4, 3), still((4,)), still((4,)), says="batch_norm|running_mean"),
            E((4, 3), None, None, (4,), (4,), True),
            E((1, 3), None, None, training=True, type=ValueError, says="batch_norm|more than 1 value"),
        ],
        rtol=1e-5,
    ),
    functional(
        "layer_norm",
        [
            A((4, 5), [5]),
            A((4, 5), [5], (5,), (5,)),
            A((2, 3, 4), [3, 4], (3, 4), (3, 4), 1e-3),
            A((4, 5), [5], (5,), (5,), layout="transposed"),
            A((4, 5), [5], weight=T((5,))),
            A((0, 5), [5], (5,), (5,)),
            A((64, 300), [300], (300,), (300,)),
        ],
        [E((4, 5), [4]), E((4, 5), [5], (4,), (5,)), E((4, 5), [])],
        rtol=1e-5,
    ),
    functional(
        "group_norm",
        [
            A((2, 4, 3), 2, (4,), (4,)),
            A((2, 4, 3, 3), 4),
            A((2, 4), 1, eps=1e-3),
            A((2, 4, 3, 3), 2, (4,), (4,), layout="transposed"),
            A((4, 6, 20, 20), 3, (6,), (6,)),
        ],
        [E((2, 4, 3), 3), E((2, 4, 3), 2, (3,), (3,))],
        rtol=1e-5,
    ),
    functional(
        "rms_norm",
        [A((4, 5), [5], eps=1e-5), A((2, 3, 4), [3, 4], (3, 4), 1e-3), A((64, 300), [300], (300,), 1e-6)],
        [E((4, 5), [4]), E((4, 5), [5], (4,))],
        rtol=1e-5,
    ),
    functional("normalize", [A((3, 4)), A((3, 4), p=1.0, dim=0), A((300, 257))]),
    functional(
        "embedding",
        [
            A(I((5,), 7), (7, 3)),
            A(I((2, 3), 7), (7, 3)),
            A(I((), 7), (7, 3)),
            A(I((0,), 7), (7, 3)),
            A(I((5,), 6), (7, 3), padding_idx=-1),
            A(I((90, 50), 40), (40, 30)),
        ],
        [
            E(V([0, 7], "int64"), (7, 3), type=IndexError, says="embedding|index"),
            E(V([-1], "int64"), (7, 3), type=IndexError, says="embedding|index"),
            E((3,), (7, 3), says="embedding"),
            E(I((2,), 7), (7,), says="embedding"),
        ],
    ),
    functional(
        "scaled_dot_product_attention",
        [
            A((3, 4), (5, 4), (5, 6)),
            A((2, 3, 4), (2, 5, 4), (2, 5, 6), scale=0.3),
            A((2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4), is_causal=True),
            A((2, 3, 4), (2, 5, 4), (2, 5, 4), attn_mask=V(np.tri(3, 5, 1), "bool")),
            A((2, 3, 4), (2, 5, 4), (2, 5, 4), (3, 5)),
            A((2, 3, 4), (2, 3, 4), (2, 3, 4), layout="transposed", is_causal=True),
            A((2, 4, 70, 16), (2, 4, 70, 16), (2, 4, 70, 16), is_causal=True),
            A((2, 300, 8), (2, 310, 8), (2, 310, 5), is_causal=True),
        ],
        [
            E((3, 4), (5, 3), (5, 6), says=""),
            E((3, 4), (5, 4), (4, 6), says=""),
            E((3, 4), (5, 4), (5, 6), attn_mask=B((3, 5)), is_causal=True, says=""),
        ],
        rtol=1e-5,
    ),
    functional(
        "dropout",
        [A((3, 4), 0.5, False), A((3, 4), 0.0), A((3, 4), p=1.0), A((0, 3))],
        [E((3, 4), 1.5, type=ValueError), E((3, 4), -0.1, type=ValueError)],
        reference=lambda x, p=0.5, training=True: ref.dropout(x, 1.0, p if training else 0.0),
    ),
]
