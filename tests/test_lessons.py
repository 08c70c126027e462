"""Every lesson runs, and what it measures is what it teaches."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule import lessons


def chainrule(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    command = [sys.executable, "-m", "chainrule", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def learn(request: pytest.FixtureRequest) -> Any:
    """Runs a lesson once and keeps what it measured."""
    measured: dict[str, Any] = {}

    def run(name: str) -> Any:
        if name not in measured:
            measured[name] = lessons.run(name)
        return measured[name]

    return run


@pytest.mark.parametrize("name", lessons.NAMES)
def test_it_reads_well(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lessons.run(name)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lessons.summary(name) and set(lines[1]) == {"="}
    assert len(lines) > 20 and max(map(len, lines)) <= 110
    assert lines[-1].strip()


def test_every_file_is_listed() -> None:
    files = {path.stem.replace("_", "-") for path in Path(lessons.__file__).parent.glob("*.py")}
    assert files - {"--init--", "page"} == set(lessons.NAMES)


def test_derivative_rules(learn: Any) -> None:
    measured = learn("derivative-rules")
    assert measured.forward_errors[1e-2] == pytest.approx(1e-2)
    assert measured.central_errors[1e-4] < 1e-9 < measured.central_errors[1e-12]
    assert len(measured.rules) == 9
    for formula, graph, slope in measured.rules.values():
        assert graph == pytest.approx(formula, rel=1e-14) and slope == pytest.approx(formula, abs=1e-7)


def test_partial_derivatives(learn: Any) -> None:
    measured = learn("partial-derivatives")
    for triples in measured.partials.values():
        for formula, graph, slope in triples:
            assert graph == pytest.approx(formula, abs=1e-14) and slope == pytest.approx(formula, abs=1e-8)
    # Of the twelve directions, the best is the one nearest to the gradient; the worst lies opposite.
    best = max(measured.slopes, key=measured.slopes.get)
    assert abs(best - measured.steepest) <= 15
    assert min(measured.slopes, key=measured.slopes.get) == best + 180
    assert measured.losses == sorted(measured.losses, reverse=True)


def test_chain_rule(learn: Any) -> None:
    active, dead = learn("chain-rule")
    assert (active.u, active.a, active.loss) == (5, 5, 1)
    assert (active.dL_da, active.da_du, active.du_dw, active.du_db) == (2, 1, 3, 1)
    assert active.product == active.graph == (6, 2)
    assert (dead.u, dead.a, dead.loss, dead.dL_da, dead.da_du) == (-5, 0, 16, -8, 0)
    assert dead.product == dead.graph == (0, 0)
    for case in (active, dead):
        assert case.measured == pytest.approx(case.graph, abs=1e-7)


def test_linear_regression(learn: Any) -> None:
    measured = learn("linear-regression")
    assert measured.graph == pytest.approx(measured.hand, rel=1e-14)
    assert measured.end == pytest.approx(measured.least_squares, abs=1e-6)
    assert measured.difference < 1e-12


def test_network_by_hand(learn: Any) -> None:
    measured = learn("network-by-hand")
    assert len(measured.hand_losses) == 5
    assert measured.graph_losses == pytest.approx(measured.hand_losses, rel=1e-12)
    assert max(measured.gradient_differences + measured.weight_differences) < 1e-12
    assert measured.hand_losses[-1] < measured.hand_losses[0]


def test_value(learn: Any) -> None:
    measured = learn("value")
    for graph, slope in measured.gradients.values():
        assert slope == pytest.approx(graph, abs=1e-8)
    assert measured.losses[-1] < 0.02 < measured.losses[0]
    assert {inputs: round(output) for inputs, output in measured.outputs.items()} == {
        (0, 0): -1,
        (0, 1): 1,
        (1, 0): 1,
        (1, 1): -1,
    }


def test_autograd_basics(learn: Any) -> None:
    measured = learn("autograd-basics")
    assert measured.gradient == [10, 20, 30] and measured.grad_fn == "SumBackward0"
    assert measured.accumulated == [[10, 20, 30], [20, 40, 60], [30, 60, 90]]
    assert measured.after_zero == [0, 0, 0]
    assert not measured.recorded_under_no_grad
    assert "leaf" in measured.leaf_error and "in-place" in measured.leaf_error
    assert measured.detached_gradient == 3
    assert "second time" in measured.second_backward_error


def test_training_loop(learn: Any) -> None:
    measured = learn("training-loop")
    assert measured.losses[-1] < 0.02 < 0.2 < measured.losses[0]
    assert measured.without_zero_grad[-1] > 3 * measured.losses[-1]
    assert len(set(measured.without_step)) == len(set(measured.without_backward)) == 1
    assert measured.difference < 1e-5


def test_learning_rate(learn: Any) -> None:
    measured = learn("learning-rate")
    assert measured.rates["small"] < measured.rates["right"] < measured.limit < measured.rates["large"]
    large, small, right = measured.losses["large"], measured.losses["small"], measured.losses["right"]
    assert large[-1] > 100 * large[0]
    assert small == sorted(small, reverse=True) and small[-1] > 5 * right[-1]
    assert right[20] == pytest.approx(right[-1], rel=1e-4)


def test_vanishing_gradients(learn: Any) -> None:
    outcomes = learn("vanishing-gradients").outcomes
    lost = {name: outcome.norms[0] / outcome.norms[-1] for name, outcome in outcomes.items()}
    assert lost["sigmoid"] < 1e-6 < 1e-3 < lost["ReLU"] < 1
    assert lost["sigmoid"] < lost["sigmoid, Xavier"] < 1e-3
    for cure in ("tanh, Xavier", "ReLU, He", "sigmoid, residual", "sigmoid, BatchNorm"):
        assert lost[cure] > 0.1
        assert outcomes[cure].accuracy > 0.9
    assert outcomes["sigmoid"].accuracy < 0.7


def test_clipping(learn: Any) -> None:
    measured = learn("clipping")
    assert measured.norm == pytest.approx(math.sqrt(9 + 16 + 144 + 0.25 + 0.01))
    assert measured.norm_after == pytest.approx(1, abs=1e-5)
    assert measured.angle < 1e-6 and measured.angle_by_value > 30
    assert not math.isfinite(measured.raw[-1]) or abs(measured.raw[-1]) > 1e6
    assert measured.clipped[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["learning-rate", "vanishing-gradients"])
def test_pictures(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lessons.run(name, tmp_path / "new")
    content = (tmp_path / "new" / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 20_000
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{name}.png"]


def test_the_command_line_lists_them() -> None:
    done = chainrule("lessons")
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()[: len(lessons.NAMES)]] == list(lessons.NAMES)


def test_the_command_line_runs_one() -> None:
    done = chainrule("lessons", "chain-rule")
    assert done.returncode == 0 and done.stderr == ""
    assert "2 * 1 * 3 = 6" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chain-rules"], "'chain-rules'"),
        (["chain-rule", "--out", "pictures"], "chain-rule draws no picture, so it takes no --out"),
        (["--out", "pictures"], "--out needs the name of a lesson"),
    ],
)
def test_a_bad_value_gets_one_line_and_status_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = chainrule("lessons", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and says in done.stderr


def test_lessons_leave_the_library_as_it_was() -> None:
    for name in lessons.NAMES:
        importlib.import_module(f"chainrule.lessons.{name.replace('-', '_')}").run()
    assert cr.is_grad_enabled() and cr.get_default_dtype() == cr.float32
