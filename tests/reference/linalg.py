"""Products of matrices and vectors."""

import numpy as np

matmul = mm = bmm = mv = dot = vdot = np.matmul
inner = np.inner
outer = ger = np.outer
kron = np.kron


def einsum(equation, *operands):
    return np.einsum(equation, *operands)


def tensordot(a, b, dims=2):
    return np.tensordot(a, b, dims)


def addmm(input, mat1, mat2, beta=1, alpha=1):
    """With beta = 0 the input is not even looked at: NaN in it does not show."""
    product = alpha * (mat1 @ mat2)
    return product if beta == 0 else beta * input + product


addmv = baddbmm = addmm


def addbmm(input, batch1, batch2, beta=1, alpha=1):
    product = alpha * (batch1 @ batch2).sum(0)
    return product if beta == 0 else beta * input + product


def linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def bilinear(x1, x2, weight, bias=None):
    y = np.einsum("...i,oij,...j->...o", x1, weight, x2)
    return y if bias is None else y + bias


def trace(x):
    return np.trace(x)
