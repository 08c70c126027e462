"""The learning rate of epoch t in closed form."""

import math


def step_lr(base, t, step_size, gamma=0.1):
    return base * gamma ** (t // step_size)


def cosine_annealing_lr(base, t, T_max, eta_min=0.0):
    return eta_min + (base - eta_min) * (1 + math.cos(math.pi * t / T_max)) / 2


def lambda_lr(base, t, lr_lambda):
    return base * lr_lambda(t)
