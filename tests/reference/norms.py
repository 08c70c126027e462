"""Normalisation, embedding and attention."""

import numpy as np

from .reductions import softmax


def standardise(x, axes, eps):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def by_channel(vector, ndim):
    return vector.reshape(1, -1, *[1] * (ndim - 2))


def affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """In training each channel is standardised by the batch, otherwise by the running statistics."""
    if training:
        y = standardise(x, (0, *range(2, x.ndim)), eps)
    else:
        y = (x - by_channel(running_mean, x.ndim)) / np.sqrt(by_channel(running_var, x.ndim) + eps)
    weight, bias = (None if v is None else by_channel(v, x.ndim) for v in (weight, bias))
    return affine(y, weight, bias)


def batch_norm_running(x, running_mean, running_var, momentum=0.1):
    """The running statistics after a batch; the variance is the unbiased one."""
    axes = (0, *range(2, x.ndim))
    n = x.size // x.shape[1]
    mean = (1 - momentum) * running_mean + momentum * x.mean(axes)
    return mean, (1 - momentum) * running_var + momentum * x.var(axes) * n / (n - 1)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    return affine(standardise(x, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    grouped = x.reshape(x.shape[0], num_groups, -1)
    weight, bias = (None if v is None else by_channel(v, x.ndim) for v in (weight, bias))
    return affine(standardise(grouped, (-1,), eps).reshape(x.shape), weight, bias)


def rms_norm(x, normalized_shape, weight=None, eps=None):
    """Without eps the machine epsilon of the input's dtype keeps the root from zero."""
    eps = np.finfo(x.dtype).eps if eps is None else eps
    axes = tuple(range(-len(normalized_shape), 0))
    return affine(x / np.sqrt((x**2).mean(axes, keepdims=True) + eps), weight, None)


def normalize(x, p=2.0, dim=1, eps=1e-12):
    length = (np.abs(x) ** p).sum(axis=dim, keepdims=True) ** (1 / p)
    return x / np.maximum(length, eps)


def embedding(indices, weight, padding_idx=None):
    """Rows of a table; padding_idx only stops the gradient of its row."""
    return weight[indices]


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
):
    """softmax(q kᵀ / √d + mask) v.  A boolean mask keeps what is true; causal keeps the past."""
    scores = query @ np.swapaxes(key, -1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = np.tril(np.ones(scores.shape[-2:], bool))
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return softmax(scores, -1) @ value
