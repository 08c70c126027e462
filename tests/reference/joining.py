"""Elements brought together, repeated, picked, placed and ordered."""

import numpy as np


def cat(tensors, dim=0):
    """An empty vector joins anything, as it always has in PyTorch."""
    kept = [x for x in tensors if x.shape != (0,)] or tensors[:1]
    return np.concatenate(kept, axis=dim)


def stack(tensors, dim=0):
    return np.stack(tensors, axis=dim)


def hstack(tensors):
    return np.hstack(tensors)


def vstack(tensors):
    return np.vstack(tensors)


def repeat(x, repeats):
    return np.tile(x, repeats)


def tile(x, dims):
    return np.tile(x, dims)


def repeat_interleave(x, repeats, dim=None):
    return np.repeat(x, repeats, axis=dim)


def flip(x, dims):
    return np.flip(x, axis=dims)


def roll(x, shifts, dims=None):
    return np.roll(x, shifts, axis=dims)


def tril(x, diagonal=0):
    return np.tril(x, diagonal)


def triu(x, diagonal=0):
    return np.triu(x, diagonal)


def diag(x, diagonal=0):
    return np.diag(x, diagonal)


def dstack(tensors):
    return np.dstack(tensors)


def fliplr(x):
    return np.fliplr(x)


def flipud(x):
    return np.flipud(x)


def rot90(x, k=1, dims=(0, 1)):
    return np.rot90(x, k, dims)


def meshgrid(*tensors, indexing="ij"):
    return tuple(np.meshgrid(*tensors, indexing=indexing))


def grid(index, dim):
    """The full index of every element of `index`, with the element itself standing in for dimension `dim`."""
    place = list(np.indices(index.shape))
    place[dim] = index
    return tuple(place)


def gather(x, dim, index):
    return x[grid(index, dim)] if x.ndim else x + np.zeros_like(x)


def scatter(x, dim, index, src, reduce=None):
    """Writes src (or a number) where the index says."""
    out = x.copy()
    src = src[tuple(slice(n) for n in index.shape)] if np.ndim(src) else src
    if reduce == "add":
        np.add.at(out, grid(index, dim), src)
    elif reduce == "multiply":
        np.multiply.at(out, grid(index, dim), src)
    else:
        out[grid(index, dim)] = src
    return out


def scatter_add(x, dim, index, src):
    return scatter(x, dim, index, src, reduce="add")


def index_select(x, dim, index):
    return np.take(x, index, axis=dim)


def index_add(x, dim, index, source, alpha=1):
    out = x.copy()
    rows = np.moveaxis(out, dim, 0)
    np.add.at(rows, index, np.moveaxis(np.asarray(alpha, source.dtype) * source, dim, 0))
    return out


def index_copy(x, dim, index, source):
    out = x.copy()
    np.moveaxis(out, dim, 0)[index] = np.moveaxis(source, dim, 0)
    return out


def index_fill(x, dim, index, value):
    out = x.copy()
    np.moveaxis(out, dim, 0)[index] = value
    return out


def take_along_dim(x, indices, dim):
    return np.take_along_axis(x, indices, axis=dim)


def masked_select(x, mask):
    x, mask = np.broadcast_arrays(x, mask)
    return x[mask]


def masked_scatter(x, mask, source):
    x, mask = (a.copy() for a in np.broadcast_arrays(x, mask))
    x[mask] = source.ravel()[: mask.sum()]
    return x


def argsort(x, dim=-1, descending=False, stable=True):
    """Equal elements keep their order; NaN counts as the largest."""
    if not x.ndim:
        return np.asarray(0)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    reverse = np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
    return x.shape[dim] - 1 - reverse


def sort(x, dim=-1, descending=False, stable=True):
    order = argsort(x, dim, descending)
    return (np.take_along_axis(x, order, axis=dim) if x.ndim else x), order


def topk(x, k, dim=-1, largest=True, sorted=True):
    values, order = sort(x, dim, descending=largest)
    if not x.ndim:
        return values, order
    first = (slice(None),) * (dim % x.ndim) + (slice(k),)
    return values[first], order[first]


def msort(x):
    return np.sort(x, axis=0)


def kthvalue(x, k, dim=-1, keepdim=False):
    """The k-th smallest, counted from 1, and where it stands."""
    values, order = sort(x, dim)
    place = [k - 1] if keepdim else k - 1
    return np.take(values, place, axis=dim), np.take(order, place, axis=dim)


def searchsorted(sorted_sequence, input, right=False):
    return np.asarray(np.searchsorted(sorted_sequence, input, "right" if right else "left"), np.int64)


def bucketize(input, boundaries, right=False):
    """With `right` the boundaries are the lower ends of their buckets."""
    return searchsorted(boundaries, input, right)


def take(x, index):
    return np.take(x, index)


def nonzero(x):
    return np.argwhere(x)


argwhere = nonzero


def unique(x, sorted=True, return_inverse=False, return_counts=False, dim=None):
    found = np.unique(x, return_inverse=return_inverse, return_counts=return_counts, axis=dim)
    if not return_inverse:
        return found
    return (found[0], found[1].reshape(x.shape if dim is None else -1), *found[2:])


def bincount(x, weights=None, minlength=0):
    return np.bincount(x, weights, minlength)


def one_hot(x, num_classes=-1):
    classes = x.max() + 1 if num_classes == -1 else num_classes
    return (x[..., None] == np.arange(classes)).astype(np.int64)


def pad(x, pad, mode="constant", value=None):
    """`pad` counts from the last dimension: (left, right, top, bottom, ...); negative numbers crop."""
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[-1::-2], strict=True))
    ends = zip(pairs, x.shape, strict=True)
    x = x[tuple(slice(max(-before, 0), n - max(-after, 0)) for (before, after), n in ends)]
    widths = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if mode == "constant":
        return np.pad(x, widths, constant_values=value or 0)
    return np.pad(x, widths, mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])
