"""Convolution and pooling, written as sums over windows."""

import numpy as np


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def windows(x, kernel, stride, dilation, fill):
    """The windows of images (N, C, H, W) that were padded already: (N, C, out_h, out_w, kernel_h, kernel_w).

    Windows that reach over the edge (ceil_mode) are completed with `fill`.
    """
    (kh, kw), (sh, sw), (dh, dw), (out_h, out_w) = kernel, stride, dilation, fill[1]
    need = [
        (out_h - 1) * sh + (kh - 1) * dh + 1 - x.shape[2],
        (out_w - 1) * sw + (kw - 1) * dw + 1 - x.shape[3],
    ]
    x = np.pad(x, [(0, 0), (0, 0), (0, max(need[0], 0)), (0, max(need[1], 0))], constant_values=fill[0])
    out = np.empty((*x.shape[:2], out_h, out_w, kh, kw), x.dtype)
    for i in range(out_h):
        for j in range(out_w):
            top, left = i * sh, j * sw
            rows = slice(top, top + (kh - 1) * dh + 1, dh)
            out[:, :, i, j] = x[:, :, rows, left : left + (kw - 1) * dw + 1 : dw]
    return out


def batched(function):
    """Lets a function of (N, C, H, W) take a single image (C, H, W) too."""

    def either(x, *args, **kwargs):
        if x.ndim == 4:
            return function(x, *args, **kwargs)
        y = function(x[None], *args, **kwargs)
        return tuple(part[0] for part in y) if isinstance(y, tuple) else y[0]

    return either


@batched
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    kernel, stride, dilation = weight.shape[2:], pair(stride), pair(dilation)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(p, p) for p in pair(0 if padding == "valid" else padding)]
    x = np.pad(x, [(0, 0), (0, 0), *sides])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    seen = windows(x, kernel, stride, dilation, (0, size))
    per_group = zip(np.split(seen, groups, axis=1), np.split(weight, groups, axis=0), strict=True)
    y = np.concatenate([np.einsum("ncijhw,ochw->noij", part, w) for part, w in per_group], axis=1)
    return y if bias is None else y + bias[:, None, None]


def pooled_size(n, kernel, stride, padding, dilation, ceil_mode):
    """How many windows fit; with ceil_mode one more may hang over the end, if it starts inside the image."""
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    size = (-(-span // stride) if ceil_mode else span // stride) + 1
    return size - 1 if ceil_mode and (size - 1) * stride >= n + padding else size


def pool_windows(x, kernel_size, stride, padding, dilation, ceil_mode, fill):
    kernel, padding, dilation = pair(kernel_size), pair(padding), pair(dilation)
    stride = kernel if stride is None else pair(stride)
    sizes = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    size = [pooled_size(*each, ceil_mode) for each in sizes]
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    return windows(x, kernel, stride, dilation, (fill, size))


@batched
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """With return_indices also the place of each maximum in its flattened H x W image."""
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    seen = pool_windows(x, *options, -np.inf)
    flat = seen.reshape(*seen.shape[:4], seen.shape[4] * seen.shape[5])
    y = flat.max(-1)
    if not return_indices:
        return y
    places = np.broadcast_to(np.arange(x.shape[2] * x.shape[3], dtype=float).reshape(x.shape[2:]), x.shape)
    place = pool_windows(places, *options, -1.0).reshape(flat.shape)
    best = flat.argmax(-1)[..., None]
    return y, np.take_along_axis(place, best, -1)[..., 0].astype(np.int64)


@batched
def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """A window's sum over the number of its elements: padding counts, what lies beyond it never does."""
    options = (kernel_size, stride, 0, 1, False)
    padding = pair(padding)
    total = pool_windows(x, kernel_size, stride, padding, 1, ceil_mode, 0.0).sum((-1, -2))
    if divisor_override is not None:
        return total / divisor_override
    counted = np.ones((1, 1, *x.shape[2:]))
    if count_include_pad:
        counted = np.pad(counted, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=1.0)
        padding = (0, 0)
    kernel, stride = pair(kernel_size), pair(kernel_size if options[1] is None else options[1])
    counted = np.pad(counted, [(0, 0), (0, 0), *((p, p) for p in padding)])
    n = windows(counted, kernel, stride, (1, 1), (0.0, total.shape[2:])).sum((-1, -2))
    return total / n


@batched
def adaptive_avg_pool2d(x, output_size):
    """Means over about equal parts: part i goes from floor(i n / out) to ceil((i + 1) n / out)."""
    wanted = pair(output_size) if not isinstance(output_size, (tuple, list)) else output_size
    size = [n if out is None else out for n, out in zip(x.shape[2:], wanted, strict=True)]
    y = np.empty((*x.shape[:2], *size), x.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * x.shape[2] // size[0], -(-(i + 1) * x.shape[2] // size[0]))
            columns = slice(j * x.shape[3] // size[1], -(-(j + 1) * x.shape[3] // size[1]))
            y[:, :, i, j] = x[:, :, rows, columns].mean((-1, -2))
    return y
