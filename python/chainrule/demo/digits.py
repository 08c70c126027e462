"""Handwritten digits: a small convolutional network learns 1,437 images and is tested on the other 360.

The images are the 8x8 set that comes with scikit-learn. Which of them are for the test is fixed, so runs
with different seeds can be compared; the seed decides the initial weights and the order of the training
images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import chainrule as cr
from chainrule import nn
from chainrule.demo import pictures
from chainrule.demo.support import Refusal, one_thread, replacing, require
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset, random_split

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPOCHS, LR, BATCH = 10, 0.003, 32
TEST_IMAGES = 360


class DigitNet(nn.Module):
    """(N, 1, 8, 8) grey levels in 0..1 to (N, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.scores = nn.Linear(64, 10)

    def forward(self, image: cr.Tensor) -> cr.Tensor:
        x = F.relu(self.norm1(self.conv1(image)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = self.pool(x).flatten(1)
        scores: cr.Tensor = self.scores(F.relu(self.hidden(x)))
        return scores


@dataclass
class Data:
    """The images and their digits, split."""

    train: TensorDataset
    test: TensorDataset


@dataclass
class History:
    """What is measured while training: one entry an epoch, gradient norms one list a layer."""

    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    gradient_norm: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Result:
    """What a run leaves behind."""

    accuracy: float
    history: History
    weights: Path
    picture: Path


def load_data() -> Data:
    """scikit-learn's 1,797 images, 360 of them, always the same, set apart for the test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = cr.tensor(digits.images / 16, dtype=cr.float32).unsqueeze(1)
    labels = cr.tensor(digits.target, dtype=cr.int64)
    everything = TensorDataset(images, labels)
    split = [len(everything) - TEST_IMAGES, TEST_IMAGES]
    train, test = random_split(everything, split, generator=cr.Generator().manual_seed(0))
    return Data(TensorDataset(*everything[train.indices]), TensorDataset(*everything[test.indices]))


def layer_gradient_norms(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each layer's parameters together."""
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        layer = name.partition(".")[0]
        if parameter.grad is not None:
            squares[layer] = squares.get(layer, 0.0) + float(parameter.grad.square().sum())
    return {layer: math.sqrt(total) for layer, total in squares.items()}


def evaluate(model: nn.Module, data: TensorDataset) -> tuple[float, float, cr.Tensor]:
    """Loss, accuracy, and the probability of each digit for each image."""
    images, labels = data.tensors
    model.eval()
    with cr.no_grad():
        scores = model(images)
        loss = float(F.cross_entropy(scores, labels))
        right = int((scores.argmax(1) == labels).sum())
        return loss, right / len(labels), F.softmax(scores, 1)


def train(model: nn.Module, data: Data, epochs: int, lr: float) -> History:
    """Adam with a rate that falls along half a cosine; prints a line an epoch under a progress bar."""
    from tqdm import tqdm

    history = History()
    loader = DataLoader(data.train, batch_size=BATCH, shuffle=True)
    optimizer = cr.optim.Adam(model.parameters(), lr=lr)
    schedule = cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    print("epoch   train loss   test loss   test accuracy")
    # disable=None: no bar where standard error is not a terminal.
    with tqdm(total=epochs * len(loader), unit="step", leave=False, disable=None) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            total = 0.0
            norms: dict[str, float] = {}
            for images, labels in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()

                total += loss.item() * len(labels)
                for layer, norm in layer_gradient_norms(model).items():
                    norms[layer] = norms.get(layer, 0.0) + norm / len(loader)
                bar.update()
            schedule.step()

            test_loss, accuracy, _ = evaluate(model, data.test)
            history.train_loss.append(total / len(data.train))
            history.test_loss.append(test_loss)
            history.accuracy.append(accuracy)
            for layer, norm in norms.items():
                history.gradient_norm.setdefault(layer, []).append(norm)
            if not math.isfinite(total):
                raise Refusal(
                    f"chainrule demo: the loss became {total} in epoch {epoch}: --lr {lr:g} is too large", 2
                )
            bar.write(f"{epoch:5d}   {history.train_loss[-1]:10.4f}   {test_loss:9.4f}   {accuracy:12.1%}")
    return history


def run(seed: int, epochs: int, lr: float, out: Path) -> Result:
    """Trains, tests, writes `digits.safetensors` and `digits.png` into the folder `out`."""
    require("chainrule demo", "sklearn", "matplotlib", "tqdm", "safetensors")
    cr.manual_seed(seed)
    data = load_data()
    model = DigitNet()
    size = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{len(data.train)} images of 8x8 to learn, {len(data.test)} to test, {size} parameters, seed {seed}"
    )
    with one_thread():
        history = train(model, data, epochs, lr)
        _, accuracy, probabilities = evaluate(model, data.test)

    weights, picture = out / "digits.safetensors", out / "digits.png"
    figure = draw(history, data.test, probabilities)
    # Both are complete on the disk before either takes its name.
    with replacing(weights) as new_weights, replacing(picture) as new_picture:
        cr.save(model.state_dict(), new_weights)
        figure.savefig(new_picture, format="png")
    print(f"weights: {weights}")
    print(f"picture: {picture}")
    print(f"test accuracy: {accuracy:.1%}")
    return Result(accuracy, history, weights, picture)


def draw(history: History, test: TensorDataset, probabilities: cr.Tensor) -> Figure:
    """Loss and gradient norms on the left, a grid of predictions on the right."""
    with pictures.styled():
        figure = pictures.new_figure(12, 6.4)
        curves, grid = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.05), wspace=0.04).flat
        loss_axes, norm_axes = curves.subplots(2, 1, sharex=True)
        draw_loss(loss_axes, history)
        draw_norms(norm_axes, history)

        rows, columns = 5, 7
        shown = pick(test.tensors[1].tolist(), probabilities, rows * columns)
        wrong = int((probabilities.argmax(1) != test.tensors[1]).sum())
        grid.suptitle(
            f"Predictions, the least certain first: {wrong} of {len(test)} wrong, in red",
            fontsize=11,
            fontweight="bold",
        )
        for axes, index in zip(grid.subplots(rows, columns).flat, shown, strict=True):
            draw_digit(axes, test.tensors[0][index, 0], int(test.tensors[1][index]), probabilities[index])
    return figure


def epochs_axis(axes: Axes, epochs: int) -> list[int]:
    """Whole numbers from 1 along x."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log")
    return list(range(1, epochs + 1))


def draw_loss(axes: Axes, history: History) -> None:
    """Training and test loss by epoch."""
    epochs = epochs_axis(axes, len(history.train_loss))
    axes.plot(epochs, history.train_loss, "o-", markersize=4, color=pictures.BLUE, label="training images")
    axes.plot(epochs, history.test_loss, "o-", markersize=4, color=pictures.ORANGE, label="test images")
    axes.set_title("Loss (cross-entropy)")
    axes.legend()


def draw_norms(axes: Axes, history: History) -> None:
    """The gradient's norm by epoch, a line a layer."""
    for (layer, norms), colour in zip(history.gradient_norm.items(), pictures.COLOURS, strict=True):
        axes.plot(epochs_axis(axes, len(norms)), norms, "o-", markersize=4, color=colour, label=layer)
    axes.set_title("Gradient norm of each layer, mean over the epoch")
    axes.set_xlabel("epoch")
    axes.legend(ncols=2, fontsize=9)


def pick(labels: Sequence[int], probabilities: cr.Tensor, count: int) -> list[int]:
    """The `count` images about whose true digit the network was least certain."""
    certainty = [row[label] for row, label in zip(probabilities.tolist(), labels, strict=True)]
    return sorted(range(len(certainty)), key=certainty.__getitem__)[:count]


def draw_digit(axes: Axes, image: cr.Tensor, label: int, probabilities: cr.Tensor) -> None:
    """One image under the digit that the network sees, and how sure it is."""
    guess = int(probabilities.argmax())
    title = f"{guess} ({float(probabilities[guess]):.0%})" if guess == label else f"{guess}, not {label}"
    axes.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_title(
        title,
        fontsize=9,
        fontweight="normal",
        loc="center",
        color="black" if guess == label else pictures.RED,
    )
    for spine in axes.spines.values():
        spine.set(visible=True, color=pictures.GREY if guess == label else pictures.RED)
