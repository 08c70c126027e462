"""One step of every optimizer for one parameter, as its paper has it. `state` is a lasting dictionary."""

import numpy as np


def sgd(p, g, state, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    g = -g if maximize else g
    g = g + weight_decay * p
    if momentum:
        first = "velocity" not in state
        state["velocity"] = g.copy() if first else momentum * state["velocity"] + (1 - dampening) * g
        g = g + momentum * state["velocity"] if nesterov else state["velocity"]
    return p - lr * g


def adam(p, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False):
    """Weight decay is added to the gradient."""
    g = -g if maximize else g
    return p - adam_update(g + weight_decay * p, state, lr, betas, eps, amsgrad)


def adamw(
    p, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, maximize=False
):
    """Weight decay shrinks the parameter itself."""
    g = -g if maximize else g
    return p * (1 - lr * weight_decay) - adam_update(g, state, lr, betas, eps, amsgrad)


def adam_update(g, state, lr, betas, eps, amsgrad):
    """lr times the mean gradient over the root of the mean squared one, both freed of their start at zero."""
    t = state["step"] = state.get("step", 0) + 1
    m = state["mean"] = betas[0] * state.get("mean", 0.0) + (1 - betas[0]) * g
    v = state["square"] = betas[1] * state.get("square", 0.0) + (1 - betas[1]) * g**2
    if amsgrad:
        v = state["largest"] = np.maximum(state.get("largest", 0.0), v)
    return lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def clip_grad_norm(grads, max_norm, norm_type=2.0):
    """The norm of all gradients as one vector, and the gradients scaled down to at most max_norm."""
    together = np.abs(np.concatenate([g.ravel() for g in grads]))
    total = together.max() if norm_type == np.inf else (together**norm_type).sum() ** (1 / norm_type)
    factor = min(max_norm / (total + 1e-6), 1.0)
    return total, [g * factor for g in grads]


def clip_grad_value(grads, clip_value):
    return [np.clip(g, -clip_value, clip_value) for g in grads]
