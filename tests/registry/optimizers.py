"""Optimizers, schedules and initialisers, each with its reference and the options it is tried with."""

from reference import init, optim, schedulers

OPTIMIZERS = {
    "SGD": (
        optim.sgd,
        [
            {"lr": 0.1},
            {"lr": 0.1, "momentum": 0.9},
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        ],
    ),
    "Adam": (
        optim.adam,
        [
            {},
            {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
            {"lr": 0.1, "weight_decay": 0.1},
            {"lr": 0.1, "amsgrad": True},
            {"lr": 0.1, "amsgrad": True, "maximize": True, "weight_decay": 0.1},
        ],
    ),
    "AdamW": (
        optim.adamw,
        [
            {},
            {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
            {"lr": 0.1, "weight_decay": 0.3},
            {"lr": 0.1, "amsgrad": True, "maximize": True},
        ],
    ),
}

SCHEDULERS = {
    "StepLR": (schedulers.step_lr, [{"step_size": 3}, {"step_size": 2, "gamma": 0.5}]),
    "CosineAnnealingLR": (schedulers.cosine_annealing_lr, [{"T_max": 8}, {"T_max": 5, "eta_min": 0.01}]),
    "LambdaLR": (schedulers.lambda_lr, [{"lr_lambda": lambda t: 0.9**t}]),
}

# How far every draw stays from zero: the bound of a uniform initialiser, the deviation of a normal one.
SHAPES = [(64, 48), (32, 16, 3, 3)]
UNIFORM = {
    "xavier_uniform_": (init.xavier_uniform, [{}, {"gain": 2.0}]),
    "kaiming_uniform_": (init.kaiming_uniform, [{}, {"a": 2.0}, {"mode": "fan_out", "nonlinearity": "relu"}]),
    "uniform_": (lambda shape, a, b: b, [{"a": -0.5, "b": 0.5}]),
}
NORMAL = {
    "xavier_normal_": (init.xavier_normal, [{}, {"gain": 2.0}]),
    "kaiming_normal_": (init.kaiming_normal, [{}, {"mode": "fan_out", "nonlinearity": "relu"}]),
    "normal_": (lambda shape, std: std, [{"std": 0.3}]),
}
CONSTANT = {"zeros_": ({}, 0.0), "ones_": ({}, 1.0), "constant_": ({"val": 0.3}, 0.3)}
