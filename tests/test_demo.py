"""`chainrule demo`, as a user runs it: what it prints, what it leaves, what it says when it cannot."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli import Interrupted, main
from chainrule.demo import delivery, digits, pictures
from chainrule.demo.support import one_thread, replacing
from chainrule.utils.data import TensorDataset

LIBRARIES = ("sklearn", "matplotlib", "tqdm", "safetensors")
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, LIBRARIES)), reason="needs the extra `demo`"
)

PNG = b"\x89PNG\r\n\x1a\n"
EPOCH = re.compile(r"^ *\d+ ", re.MULTILINE)
COMMAND = [sys.executable, "-m", "chainrule"]


def chainrule(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def assert_picture(path: Path) -> None:
    """A PNG of a reasonable size, complete to its last chunk."""
    content = path.read_bytes()
    assert content.startswith(PNG) and content.endswith(b"IEND\xaeB`\x82")
    assert len(content) > 20_000


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The main job with nothing but a seed, in an empty folder."""
    folder = tmp_path_factory.mktemp("digits")
    return chainrule("demo", "--seed", 3, cwd=folder), folder / "chainrule-demo"


def test_digits_says_what_it_did(digits_run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = digits_run
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    match = re.fullmatch(r"test accuracy: (\d+\.\d)%", lines[-1])
    assert match and float(match[1]) >= 97
    assert len(EPOCH.findall(done.stdout)) == 1 + digits.EPOCHS  # "1437 images" and the epochs
    assert f"picture: {Path('chainrule-demo', 'digits.png')}" in lines
    assert f"weights: {Path('chainrule-demo', 'digits.safetensors')}" in lines


def test_digits_leaves_a_picture_and_weights(
    digits_run: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = digits_run
    assert sorted(path.name for path in folder.iterdir()) == ["digits.png", "digits.safetensors"]
    assert_picture(folder / "digits.png")
    model = digits.DigitNet()
    model.load_state_dict(cr.load(folder / "digits.safetensors"))
    _, accuracy, _ = digits.evaluate(model, digits.load_data().test)
    assert done.stdout.endswith(f"test accuracy: {accuracy:.1%}\n")


@pytest.mark.parametrize("seed", range(10))
def test_digits_reaches_97_percent(seed: int) -> None:
    cr.manual_seed(seed)
    with one_thread():
        history = digits.train(digits.DigitNet(), digits.load_data(), digits.EPOCHS, digits.LR)
    assert history.accuracy[-1] >= 0.97
    assert history.train_loss[-1] < history.train_loss[0] / 10
    assert list(history.gradient_norm) == ["conv1", "norm1", "conv2", "norm2", "hidden", "scores"]
    assert all(len(norms) == digits.EPOCHS and min(norms) > 0 for norms in history.gradient_norm.values())


def test_digits_gives_the_same_bits_at_any_number_of_threads() -> None:
    data = digits.load_data()
    few = digits.Data(TensorDataset(*data.train[:96]), TensorDataset(*data.test[:32]))
    before = cr.get_num_threads()
    weights = []
    try:
        for threads in (1, 3):
            cr.set_num_threads(threads)
            cr.manual_seed(5)
            model = digits.DigitNet()
            digits.train(model, few, 1, digits.LR)
            weights.append(model.state_dict())
    finally:
        cr.set_num_threads(before)
    assert all(
        cr.equal(one, other) for one, other in zip(*(state.values() for state in weights), strict=True)
    )


def test_delivery(tmp_path: Path) -> None:
    done = chainrule("demo", "delivery", "--out", tmp_path / "new" / "folder")
    assert done.returncode == 0 and done.stderr == ""
    match = re.fullmatch(r"w = (\d+\.\d\d), b = (\d+\.\d\d)", done.stdout.splitlines()[-1])
    # Standard errors of the least squares line: 3 / (sqrt(1000) * 1.59) for w, 0.22 for b.
    assert match and abs(float(match[1]) - 7.3) < 4 * 0.06 and abs(float(match[2]) - 8.6) < 4 * 0.22
    for name in ("batch", "stochastic", "mini-batch"):
        assert re.search(rf"^{name}: .* an epoch\nepoch +loss +w +b\n +1 ", done.stdout, re.MULTILINE)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["delivery.png"]
    assert_picture(tmp_path / "new" / "folder" / "delivery.png")


def test_delivery_descends(tmp_path: Path) -> None:
    result = delivery.run(7, 25, 0.02, tmp_path)
    batch, stochastic, mini = result.descents
    assert [len(descent.w) for descent in result.descents] == [26, 25_001, 1251]
    assert all(len(descent.loss) == 26 for descent in result.descents)
    assert abs(result.w - result.least_squares[0]) < 0.1 and abs(result.b - result.least_squares[1]) < 0.2
    assert mini.loss[-1] < 9.5 < batch.loss[-1] < batch.loss[0]
    assert stochastic.loss[1] < batch.loss[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--epochs", "0"], "argument --epochs: 0 is not between 1 and 100000"),
        (["demo", "--epochs", "many"], "argument --epochs: 'many' is not a whole number"),
        (["demo", "--epochs", "1.5"], "'1.5' is not a whole number"),
        (["demo", "--lr", "0"], "argument --lr: 0 is not a positive number"),
        (["demo", "--lr", "-1"], "-1 is not a positive number"),
        (["demo", "delivery", "--lr", "nan"], "nan is not a positive number"),
        (["demo", "--lr", "inf"], "inf is not a positive number"),
        (["demo", "--lr", "fast"], "'fast' is not a number"),
        (["demo", "--seed", "-1"], "argument --seed: -1 is not between 0 and"),
        (["demo", "--seed", str(2**63)], "is not between 0 and"),
        (["demo", "--out", ""], "argument --out: the folder's name is empty"),
        (["demo", "--out", "file"], "'file' is not a folder"),
        (["demo", "--out", "file/below"], "is not a folder"),
        (["demo", "letters"], "invalid choice: 'letters'"),
        (["demo", "--colour"], "unrecognized arguments: --colour"),
        (["demo", "--epo=3"], "unrecognized arguments: --epo=3"),
        (["train"], "invalid choice: 'train'"),
        (["demo", "delivery", "--lr", "10"], "--lr 10 is too large"),
        (["demo", "--lr", "1e30", "--epochs", "1"], "--lr 1e+30 is too large"),
    ],
)
def test_a_bad_value_gets_one_line_and_status_2(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    try:
        status = main(arguments)
    except SystemExit as stop:  # argparse leaves this way
        status = int(stop.code or 0)
    stderr = capsys.readouterr().err
    assert status == 2
    assert stderr.count("\n") == 1 and stderr.startswith("chainrule") and says in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (
        tmp_path / "file"
    ).read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that refuses files, whoever asks")
@pytest.mark.parametrize("arguments", [["demo"], ["lessons", "learning-rate"]])
def test_a_folder_that_takes_no_files_is_refused_before_the_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", "/proc/here"])
    printed = capsys.readouterr()
    assert stop.value.code == 2 and printed.out == ""
    assert printed.err.endswith("argument --out: '/proc' is not writable\n")


def test_a_bad_value_ends_the_process_with_status_2() -> None:
    done = chainrule("demo", "--epochs", "-3")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "chainrule demo: argument --epochs: -3 is not between 1 and 100000\n"


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['sklearn'] = sys.modules['tqdm'] = None; "
        "from chainrule.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr == "chainrule demo: scikit-learn and tqdm missing; try: pip install 'chainrule[demo]'\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX's")
def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [*COMMAND, "demo", "--epochs", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        stdout, _ = process.communicate(timeout=60)
    bar = os.read(ours, 100_000).decode()
    os.close(ours)
    assert process.returncode == 0 and len(EPOCH.findall(stdout)) == 2
    assert "100%|" in bar and "45/45" in bar and "step/s]" in bar


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    command = [*COMMAND, "demo", "--epochs", "100000", "--out", "out"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background, as CI may be, has its interrupts ignored, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        for _ in range(3):  # what it is about to do, the table's head, the first epoch
            assert process.stdout.readline()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert stderr == "chainrule: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [Interrupted(signal.SIGTERM), KeyboardInterrupt(), OSError("disk full")])
def test_writing_is_all_or_nothing(failure: BaseException, tmp_path: Path) -> None:
    old, new = tmp_path / "old.bin", tmp_path / "new.bin"
    old.write_bytes(b"as it was")
    with pytest.raises(type(failure)), replacing(old) as first, replacing(new) as second:
        first.write_bytes(b"complete")
        second.write_bytes(b"ha")
        raise failure
    assert old.read_bytes() == b"as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]

    with replacing(old) as temporary:
        temporary.write_bytes(b"complete")
        assert old.read_bytes() == b"as it was"
    assert old.read_bytes() == b"complete"
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_an_interrupted_picture_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "picture.png"
    pictures.save(pictures.new_figure(2, 2), picture)
    before = picture.read_bytes()
    figure = pictures.new_figure(2, 2)

    def half(path: Path, **options: object) -> None:
        path.write_bytes(before[:100])
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(Interrupted):
        pictures.save(figure, picture)
    assert picture.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_version_and_help() -> None:
    done = chainrule("--version")
    assert done.returncode == 0 and done.stdout == f"chainrule {cr.__version__}\n"
    done = chainrule()
    assert done.returncode == 0 and "demo" in done.stdout and "lessons" in done.stdout
    done = chainrule("demo", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--seed", "--epochs", "--lr", "--out"))


def test_the_command_line_imports_nothing_optional() -> None:
    program = f"import sys, chainrule.cli; print([name for name in {LIBRARIES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's")
def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "delivery", "--epochs", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + 13
