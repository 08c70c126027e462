"""The same elements under another shape."""

import numpy as np


def reshape(x, shape):
    return np.reshape(x, shape)


view = reshape


def view_as(x, other):
    return np.reshape(x, other.shape)


reshape_as = view_as


def transpose(x, dim0, dim1):
    return np.swapaxes(x, dim0, dim1) if x.ndim else x


swapaxes = swapdims = transpose


def permute(x, dims):
    return np.transpose(x, dims)


def t(x):
    return x.T


T = t


def mT(x):
    return np.swapaxes(x, -1, -2)


def squeeze(x, dim=None):
    """Drops dimensions of size 1; a named dimension of another size stays."""
    if dim is None:
        return np.squeeze(x)
    named = [d % max(x.ndim, 1) for d in ([dim] if isinstance(dim, int) else dim)]
    return np.squeeze(x, axis=tuple(d for d in named if x.ndim and x.shape[d] == 1))


def unsqueeze(x, dim):
    return np.expand_dims(x, dim)


def expand(x, size):
    """Repeats dimensions of size 1; -1 keeps a dimension as it is."""
    kept = (1,) * (len(size) - x.ndim) + x.shape
    return np.broadcast_to(x, [k if s == -1 else s for s, k in zip(size, kept, strict=True)])


def expand_as(x, other):
    return np.broadcast_to(x, other.shape)


def broadcast_to(x, size):
    return np.broadcast_to(x, size)


def broadcast_tensors(*tensors):
    return tuple(np.broadcast_arrays(*tensors))


def flatten(x, start_dim=0, end_dim=-1):
    if not x.ndim:
        return x.reshape(1)
    start, end = start_dim % x.ndim, end_dim % x.ndim
    length = int(np.prod(x.shape[start : end + 1]))
    return x.reshape(*x.shape[:start], length, *x.shape[end + 1 :])


ravel = flatten


def unflatten(x, dim, sizes):
    dim %= x.ndim
    sizes = list(sizes)
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[dim] // -int(np.prod(sizes))
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def split(x, split_size_or_sections, dim=0):
    """Pieces of one size (the last may be shorter), or of the sizes in a list."""
    length = x.shape[dim]
    if isinstance(split_size_or_sections, int):
        cuts = range(split_size_or_sections, length, split_size_or_sections)
    else:
        cuts = np.cumsum(split_size_or_sections)[:-1]
    return tuple(np.split(x, list(cuts), axis=dim))


def chunk(x, chunks, dim=0):
    """At most `chunks` pieces of equal size, rounded up."""
    return split(x, max(-(-x.shape[dim] // chunks), 1), dim)


def unbind(x, dim=0):
    return tuple(np.moveaxis(x, dim, 0))


def narrow(x, dim, start, length):
    start = start + x.shape[dim] if start < 0 else start
    return np.take(x, range(start, start + length), axis=dim)


def select(x, dim, index):
    return np.take(x, index, axis=dim)


def movedim(x, source, destination):
    return np.moveaxis(x, source, destination)


moveaxis = movedim


def contiguous(x):
    return np.ascontiguousarray(x).reshape(x.shape)


def clone(x):
    return np.copy(x)


def diagonal(x, offset=0, dim1=0, dim2=1):
    return np.diagonal(x, offset, dim1, dim2)


def unfold(x, dimension, size, step):
    """Windows of `size` along a dimension, every `step`; the window becomes the last dimension."""
    starts = range(0, x.shape[dimension] - size + 1, step)
    pieces = [np.moveaxis(narrow(x, dimension, s, size), dimension, -1) for s in starts]
    return np.stack(pieces, axis=dimension % x.ndim)


def as_strided(x, size, stride, storage_offset=0):
    """Elements of a contiguous array by their distance in memory; several places may show the same one."""
    return x.ravel()[storage_offset + np.tensordot(stride, np.indices(size), 1)]
