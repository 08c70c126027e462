"""Functions of one, two or three numbers, applied to whole arrays with NumPy's broadcasting."""

import math
from statistics import NormalDist

import numpy as np

# Where NumPy has the function under the same definition, it is the reference.
abs = np.abs
neg = np.negative
positive = np.positive
exp = np.exp
exp2 = np.exp2
expm1 = np.expm1
log = np.log
log2 = np.log2
log10 = np.log10
log1p = np.log1p
sqrt = np.sqrt
square = np.square
sin = np.sin
cos = np.cos
tan = np.tan
asin = np.arcsin
acos = np.arccos
atan = np.arctan
atan2 = np.arctan2
sinh = np.sinh
cosh = np.cosh
tanh = np.tanh
maximum = np.maximum
minimum = np.minimum
floor = np.floor
ceil = np.ceil
trunc = np.trunc
isnan = np.isnan
isinf = np.isinf
isfinite = np.isfinite
hypot = np.hypot
logaddexp = np.logaddexp
mul = np.multiply
fmod = np.fmod
remainder = np.remainder
floor_divide = np.floor_divide
eq = np.equal
ne = np.not_equal
lt = np.less
le = np.less_equal
gt = np.greater
ge = np.greater_equal
logical_and = np.logical_and
logical_or = np.logical_or
logical_xor = np.logical_xor
logical_not = np.logical_not
bitwise_and = np.bitwise_and
bitwise_or = np.bitwise_or
bitwise_xor = np.bitwise_xor
bitwise_not = np.invert
pow = np.power


def bitwise_left_shift(x, n):
    bits = 8 * np.asarray(x).itemsize
    shifted = np.left_shift(x, np.clip(n, 0, bits - 1))
    return np.where((n < 0) | (n >= bits), 0, shifted).astype(shifted.dtype)


def bitwise_right_shift(x, n):
    most = 8 * np.asarray(x).itemsize - 1
    if np.asarray(x).dtype.kind == "u":
        return np.where(n > most, 0, np.right_shift(x, np.minimum(n, most))).astype(np.asarray(x).dtype)
    return np.right_shift(x, np.where((n < 0) | (n > most), most, n).astype(np.asarray(n).dtype))


erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erfinv(x):
    """By Newton's method from the quantile of the normal distribution."""
    y = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])((x + 1) / 2) / math.sqrt(2)
    return y - (erf(y) - x) / (2 / math.sqrt(math.pi) * np.exp(-(y**2)))


def sign(x):
    """-1, 0 or 1; zero for NaN."""
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype) if x.dtype != bool else x


def add(a, b, alpha=1):
    return np.add(a, b if alpha == 1 else np.multiply(alpha, b))


def sub(a, b, alpha=1):
    return np.subtract(a, b if alpha == 1 else np.multiply(alpha, b))


def rsub(a, b, alpha=1):
    return sub(b, a, alpha)


def div(a, b, rounding_mode=None):
    if rounding_mode == "floor":
        return np.floor_divide(a, b)
    if rounding_mode == "trunc":
        quotient = np.trunc(np.true_divide(a, b))
        return quotient.astype(np.result_type(a, b))
    return np.true_divide(a, b)


def rsqrt(x):
    return 1 / np.sqrt(x)


def reciprocal(x):
    return 1 / np.asarray(x, np.float64)


def round(x, decimals=0):
    """Halves go to the even neighbour."""
    return np.round(x, decimals)


def sigmoid(x):
    x = np.asarray(x, np.float64)
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def relu(x, inplace=False):
    return np.where(x < 0, np.zeros_like(x), x)


def leaky_relu(x, negative_slope=0.01, inplace=False):
    return np.where(x > 0, x, x * negative_slope)


def elu(x, alpha=1.0, inplace=False):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * erfc(-x / math.sqrt(2))


def silu(x, inplace=False):
    return x * sigmoid(x)


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta)


def mish(x, inplace=False):
    return x * np.tanh(np.logaddexp(0, x))


def clamp(x, min=None, max=None):
    if min is not None:
        x = np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def lerp(start, end, weight):
    return start + weight * (end - start)


def addcmul(x, a, b, value=1):
    return x + value * a * b


def addcdiv(x, a, b, value=1):
    return x + value * a / b


def where(condition, a, b):
    return np.where(condition, a, b)


def masked_fill(x, mask, value):
    return np.where(mask, np.asarray(value, x.dtype), x)


def isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    return np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def dropout(x, mask, p):
    """Dropout once its zero-one mask has been drawn: kept elements grow by 1 / (1 - p)."""
    return x * mask / (1 - p) if p < 1 else x * 0
