"""Whole training runs, for test_training.py, which runs this in a process of its own: python training.py THREADS...

Prints a digest of all parameters after a few steps, for every model and number of threads. Data and first weights
come from integer arithmetic, so that the digests depend on nothing but the library's kernels.
"""

import hashlib
import json
import sys

import numpy as np

from lib import array, cr

nn, F = cr.nn, cr.nn.functional


def numbers(*shape, step=7919):
    """Spread over (-0.5, 0.5), the same everywhere."""
    count = int(np.prod(shape))
    values = (np.arange(1, count + 1, dtype=np.int64) * step) % 10007
    return cr.from_numpy((values / 10007.0 - 0.5).astype(np.float32).reshape(shape))


def classes(n, count):
    return cr.from_numpy(np.arange(n, dtype=np.int64) * 7 % count)


def prepared(model):
    with cr.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            if p.ndim > 1:
                p.copy_(numbers(*p.shape, step=7919 + 2 * i) * (2.0 / p.shape[1] ** 0.5))
            elif name.endswith("bias"):
                p.zero_()
    return model


class Block(nn.Module):
    """Attention over the past and a small network, each around a residual connection."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(c, dim=2)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(seen.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary=50, length=32, width=48, heads=4, depth=2):
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.token(tokens) + self.place(cr.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def mlp():
    model = prepared(
        nn.Sequential(nn.Linear(40, 300), nn.Tanh(), nn.Linear(300, 200), nn.SiLU(), nn.Linear(200, 10))
    )
    x, y = numbers(130, 40), numbers(130, 10, step=6007)
    return model, cr.optim.Adam(model.parameters(), lr=1e-2), lambda: F.mse_loss(model(x), y)


def cnn():
    model = prepared(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
    )
    x, y = numbers(32, 1, 20, 20), classes(32, 10)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    return model, optimizer, lambda: F.cross_entropy(model(x), y)


def gpt():
    model = prepared(GPT())
    tokens = classes(8 * 33, 50).reshape(8, 33)
    optimizer = cr.optim.AdamW(model.parameters(), lr=3e-3)
    return (
        model,
        optimizer,
        lambda: F.cross_entropy(model(tokens[:, :-1]).reshape(-1, 50), tokens[:, 1:].reshape(-1)),
    )


def train(build, steps=8):
    """Digest of the trained parameters, and the first and last loss."""
    model, optimizer, loss_of = build()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    content = b"".join(np.ascontiguousarray(array(p)).tobytes() for p in model.parameters())
    return hashlib.sha256(content).hexdigest()[:16], losses[0], losses[-1]


def main(*threads):
    found = {}
    for n in map(int, threads):
        cr.set_num_threads(n)
        for build in (mlp, cnn, gpt):
            found.setdefault(build.__name__, {})[n] = train(build)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
