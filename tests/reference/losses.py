"""Losses, reduced to their mean or sum or not at all."""

import numpy as np

from .elementwise import sigmoid
from .reductions import log_softmax


def reduced(loss, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](loss)


def mse_loss(x, target, reduction="mean", weight=None):
    return weighted_mean((x - target) ** 2, weight, reduction)


def l1_loss(x, target, reduction="mean", weight=None):
    return weighted_mean(np.abs(x - target), weight, reduction)


def weighted_mean(loss, weight, reduction):
    """With weights the mean is weighted too: over the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)
    total = reduced(loss * weight, "none" if reduction == "none" else "sum")
    return total / np.broadcast_to(weight, loss.shape).sum() if reduction == "mean" else total


def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    distance = np.abs(x - target)
    if beta == 0:
        return reduced(distance, reduction)
    return reduced(np.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2), reduction)


def huber_loss(x, target, reduction="mean", delta=1.0):
    distance = np.abs(x - target)
    loss = np.where(distance <= delta, distance**2 / 2, delta * (distance - delta / 2))
    return reduced(loss, reduction)


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """-weight[t] x[t]; classes stand in dimension 1 (or 0 of a single sample)."""
    classes_last = np.moveaxis(x, 1, -1) if x.ndim > 1 else x
    weight = np.ones(classes_last.shape[-1], x.dtype) if weight is None else weight
    kept = target != ignore_index
    safe = np.where(kept, target, 0)
    each = weight[safe] * kept
    loss = -np.take_along_axis(classes_last, safe[..., None], -1)[..., 0] * each
    loss = np.where(kept, loss, 0)
    return loss.sum() / each.sum() if reduction == "mean" else reduced(loss, reduction)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Negative log-likelihood of log_softmax(x); smoothing spreads that share over all classes."""
    dim = 1 if x.ndim > 1 else 0
    log_p = np.moveaxis(log_softmax(x, dim), dim, -1)
    classes = log_p.shape[-1]
    weight = np.ones(classes, x.dtype) if weight is None else weight
    if target.dtype.kind == "f":
        p = np.moveaxis(target, dim, -1) * (1 - label_smoothing) + label_smoothing / classes
        loss = -(log_p * weight * p).sum(-1)
        return loss.sum() / loss.size if reduction == "mean" else reduced(loss, reduction)
    kept = target != ignore_index
    safe = np.where(kept, target, 0)
    hard = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0] * weight[safe]
    smooth = -(log_p * weight).sum(-1) / classes
    loss = np.where(kept, (1 - label_smoothing) * hard + label_smoothing * smooth, 0)
    return loss.sum() / (weight[safe] * kept).sum() if reduction == "mean" else reduced(loss, reduction)


def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """Logarithms are held above -100, so that a wrong certainty costs 100 and not infinity."""
    log_x, log_rest = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
    loss = -(target * log_x + (1 - target) * log_rest)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    log_p, log_rest = np.log(sigmoid(x)), np.log(sigmoid(-x))
    positive = 1 if pos_weight is None else pos_weight
    loss = -(positive * target * log_p + (1 - target) * log_rest)
    return reduced(loss if weight is None else loss * weight, reduction)


def kl_div(x, target, reduction="mean", log_target=False):
    loss = np.exp(target) * (target - x) if log_target else target * (np.log(target) - x)
    return loss.sum() / x.shape[0] if reduction == "batchmean" else reduced(loss, reduction)
