"""What the library takes over from its surroundings: denormal numbers, numbers of threads, processors."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lib import NAME, cr, run

MANY = 200_000  # elements: work for several threads


@pytest.fixture(autouse=True)
def denormals():
    yield
    cr.set_flush_denormal(False)


def flush(on):
    if not cr.set_flush_denormal(on):
        pytest.skip("this processor cannot")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, MANY])
def test_flush_denormal(dtype, n):
    tiny = np.finfo(dtype).tiny / 4
    x = cr.from_numpy(np.full(n, tiny, dtype))
    flush(True)
    y = x * 1.5
    flush(False)  # or NumPy would not see them either
    assert tiny > 0 and not y.numpy().any()
    assert ((x * 1.5).numpy() == tiny * 1.5).all()


@pytest.mark.skipif(NAME == "torch", reason="PyTorch's threads keep their own mode")
def test_flush_denormal_holds_for_all_threads():
    before = cr.get_num_threads()
    x = cr.from_numpy(np.full(1_000_000, 1e-39, np.float32))
    try:
        for threads in (1, 2, 4):
            cr.set_num_threads(threads)
            for on in (True, False):
                flush(on)
                y = x * 1.5
                flush(False)
                assert int((y > 0).sum()) == (0 if on else len(x)), (threads, on)
    finally:
        cr.set_num_threads(before)


THREADS = "import {0} as cr; print(cr.get_num_threads())"


def threads(prefix="", **variables):
    """The number of threads of a new process, after something that happens before the import."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")} | variables
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    source = prefix + THREADS.format(NAME)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_no_more_threads_than_processors():
    assert 1 <= threads() <= os.cpu_count()


def test_omp_num_threads():
    assert threads(OMP_NUM_THREADS="1") == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_affinity():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert threads(one) == 1


# A container's limits: /proc/self/cgroup, the files of the hierarchies below it, and how many processors' time that is.
UNIFIED, BOTH = "0::/a.slice/b.scope\n", "12:cpuset:/\n4:cpu,cpuacct:/docker/1f\n1:name=systemd:/x\n0::/x\n"
LIMITS = {
    "none": ("", {}, 0),
    "unlimited": ("0::/\n", {"cpu.max": "max 100000"}, 0),
    "root": ("0::/\n", {"cpu.max": "200000 100000"}, 2),
    "rounded up": ("0::/\n", {"cpu.max": "210000 100000"}, 3),
    "at least one": ("0::/\n", {"cpu.max": "1000 100000"}, 1),
    "own group": (UNIFIED, {"a.slice/b.scope/cpu.max": "400000 100000"}, 4),
    "the group above": (
        UNIFIED,
        {"a.slice/b.scope/cpu.max": "max 100000", "a.slice/cpu.max": "150000 50000"},
        3,
    ),
    "the least": (
        UNIFIED,
        {"a.slice/b.scope/cpu.max": "700000 100000", "a.slice/cpu.max": "500000 100000"},
        5,
    ),
    "another group": (UNIFIED, {"c.slice/cpu.max": "100000 100000", "a.slice/c/cpu.max": "100000 100000"}, 0),
    "the host's path in a container": ("0::/docker/1f\n", {"cpu.max": "300000 100000"}, 3),
    "outside of the namespace": ("0::/../..\n", {"cpu.max": "300000 100000"}, 3),
    "version 1": (
        BOTH,
        {"cpu/docker/1f/cpu.cfs_quota_us": "250000", "cpu/docker/1f/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1, under both names": (
        BOTH,
        {"cpu,cpuacct/docker/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/cpu.cfs_period_us": "100000"},
        1,
    ),
    "version 1, unlimited": (BOTH, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0),
    "version 1, a container's root": (
        BOTH,
        {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
        2,
    ),
    "nonsense": ("nothing\n0:cpu\n:::\n0::x\n", {"cpu.max": "many"}, 0),
}


@pytest.mark.skipif(NAME == "torch", reason="PyTorch looks at no quota")
@pytest.mark.parametrize("membership, files, want", LIMITS.values(), ids=LIMITS)
def test_quota_of_a_container(tmp_path, membership, files, want):
    (tmp_path / "self").write_text(membership)
    for name, text in files.items():
        (tmp_path / "mounts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mounts" / name).write_text(text + "\n")
    assert cr._core._cpu_quota(str(tmp_path / "self"), str(tmp_path / "mounts")) == want


@pytest.mark.skipif(NAME == "torch", reason="PyTorch looks at no quota")
def test_quota_of_this_process_is_respected():
    quota = cr._core._cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup")
    assert threads() <= (quota or os.cpu_count())


@pytest.fixture
def group(tmp_path):
    """A control group of its own with one processor's time, where the user may make one."""
    quotas = {
        "cpu": {"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "50000"},
        "": {"cpu.max": "50000 50000"},
    }
    for mount, files in quotas.items():
        path = pathlib.Path("/sys/fs/cgroup", mount, tmp_path.parent.name + tmp_path.name)
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            for name, quota in files.items():
                (path / name).write_text(quota)
            yield path
            return
        except OSError:  # the hierarchy has no say in processors
            continue
        finally:
            path.rmdir()
    pytest.skip("no control group can be made here")


@pytest.mark.skipif(NAME == "torch", reason="PyTorch looks at no quota")
def test_quota_of_a_real_group(group):
    join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
    assert threads(join) == 1
    assert threads(join, OMP_NUM_THREADS="2") == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="Linux")
def test_set_num_threads_starts_no_more():
    """Threads of the process after work for many."""
    program = """
        import os
        import sys
        before = len(os.listdir("/proc/self/task"))
        cr.set_num_threads(1)
        x = cr.ones(1 << 20)
        (x @ x, x.exp(), x.reshape(1024, 1024) @ x.reshape(1024, 1024))
        alone = len(os.listdir("/proc/self/task")) - before
        cr.set_num_threads(2)
        x.exp()
        print(alone, len(os.listdir("/proc/self/task")) - before <= 1)
    """
    assert run(program) == "0 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_workers_of_a_loader_have_one_thread():
    program = """
        from {name}.utils.data import DataLoader, Dataset
        class Threads(Dataset):
            def __len__(self): return 4
            def __getitem__(self, i): return cr.get_num_threads()
        cr.set_num_threads(2)
        loader = DataLoader(Threads(), batch_size=2, num_workers=2, multiprocessing_context="fork")
        print([b.tolist() for b in loader], cr.get_num_threads())
    """
    assert run(program.replace("{name}", NAME)) == "[[1, 1], [1, 1]] 2"
