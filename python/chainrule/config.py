"""What this build is and what it runs on."""

from chainrule import _core

__all__ = ["__version__", "show_config"]

__version__: str = _core._build_info()["version"]


def show_config() -> None:
    """Prints the version, the compiler, the instruction sets and the number of threads."""
    info = _core._build_info()
    print(f"chainrule {info['version']}")
    print(f"compiler: {info['compiler']}")
    print(
        f"instruction set: {info['isa']} (this build has {', '.join(info['levels'])}; CHAINRULE_ISA forces one)"
    )
    print(f"threads: {info['threads']}")
