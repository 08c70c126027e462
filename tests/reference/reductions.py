"""Sums, products, extrema and statistics over no, one or several dimensions, and running sums."""

import numpy as np


def axes(dim):
    """PyTorch's `dim` as NumPy's `axis`: None, an integer or a tuple (an empty list means all)."""
    return (tuple(dim) or None) if isinstance(dim, (list, tuple)) else dim


def sum(x, dim=None, keepdim=False):
    return np.sum(x, axis=axes(dim), keepdims=keepdim)


def count(x, dim=None, keepdim=False):
    """How many elements each result is made of."""
    return sum(np.ones(x.shape), dim, keepdim)


def mean(x, dim=None, keepdim=False):
    return sum(x, dim, keepdim) / count(x, dim, keepdim)


def prod(x, dim=None, keepdim=False):
    return np.prod(x, axis=dim, keepdims=keepdim)


def amax(x, dim=(), keepdim=False):
    return np.max(x, axis=axes(dim), keepdims=keepdim)


def amin(x, dim=(), keepdim=False):
    return np.min(x, axis=axes(dim), keepdims=keepdim)


def argmax(x, dim=None, keepdim=False):
    return np.asarray(np.argmax(x, axis=dim, keepdims=keepdim), np.int64)


def argmin(x, dim=None, keepdim=False):
    return np.asarray(np.argmin(x, axis=dim, keepdims=keepdim), np.int64)


def max(x, dim=None, keepdim=False):
    """The largest element; with `dim`, the largest along it and where it stands."""
    return amax(x) if dim is None else (amax(x, dim, keepdim), argmax(x, dim, keepdim))


def min(x, dim=None, keepdim=False):
    return amin(x) if dim is None else (amin(x, dim, keepdim), argmin(x, dim, keepdim))


def aminmax(x, dim=None, keepdim=False):
    return amin(x, () if dim is None else dim, keepdim), amax(x, () if dim is None else dim, keepdim)


def var(x, dim=None, unbiased=True, correction=None, keepdim=False):
    """Mean squared distance from the mean; n - correction stands in for n (1 where nothing is said)."""
    correction = int(unbiased) if correction is None else correction
    squares = (x - mean(x, dim, keepdim=True)) ** 2
    return sum(squares, dim, keepdim) / np.maximum(count(x, dim, keepdim) - correction, 0)


def std(x, dim=None, unbiased=True, correction=None, keepdim=False):
    return np.sqrt(var(x, dim, unbiased, correction, keepdim))


def var_mean(x, dim=None, unbiased=True, correction=None, keepdim=False):
    return var(x, dim, unbiased, correction, keepdim), mean(x, dim, keepdim)


def norm(x, p="fro", dim=None, keepdim=False):
    """(sum |x|^p)^(1/p); infinite p take the extrema, p = 0 counts what is not zero."""
    p = 2.0 if p == "fro" else float(p)
    size = np.abs(x)
    axis = axes(dim)
    if p == np.inf:
        return np.max(size, axis=axis, keepdims=keepdim)
    if p == -np.inf:
        return np.min(size, axis=axis, keepdims=keepdim)
    if p == 0:
        return np.sum(size != 0, axis=axis, keepdims=keepdim).astype(x.dtype)
    return np.sum(size**p, axis=axis, keepdims=keepdim) ** (1 / p)


def logsumexp(x, dim, keepdim=False):
    top = np.max(x, axis=axes(dim), keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    total = np.sum(np.exp(x - top), axis=axes(dim), keepdims=keepdim)
    return np.log(total) + top.reshape(total.shape)


def cumsum(x, dim):
    return np.cumsum(x, axis=dim) if x.ndim else x


def cumprod(x, dim):
    return np.cumprod(x, axis=dim) if x.ndim else x


def all(x, dim=None, keepdim=False):
    return np.all(x, axis=axes(dim), keepdims=keepdim)


def any(x, dim=None, keepdim=False):
    return np.any(x, axis=axes(dim), keepdims=keepdim)


def count_nonzero(x, dim=None):
    return np.asarray(np.count_nonzero(x, axis=axes(dim)), np.int64)


def softmax(x, dim):
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=dim, keepdims=True)


def log_softmax(x, dim):
    shifted = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def softmin(x, dim):
    return softmax(-x, dim)
