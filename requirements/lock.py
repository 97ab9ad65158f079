"""Resolve the pins again: `make lock` (needs uv on PATH). Writes its files, with hashes, beside this one.

cpu.txt holds the CPU build of torch (a local version, `+cpu`), cuda.txt the default one; all else is the same in both. extras.txt holds
what the extras of `EXTRAS` need beyond either, test.txt what the tests need beyond those, audit.txt the tools of `make audit`, which
live in an environment of their own.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH_INDEX = ["--extra-index-url", "https://download.pytorch.org/whl/cpu", "--index-strategy", "unsafe-best-match"]
EXTRAS = ("postgres", "s3", "auth", "ray")
AUDIT = ("cyclonedx-bom>=7,<8", "pip-audit>=2.10,<3")
OPTIONS = (
    "--python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras --prerelease if-necessary-or-explicit -q".split()
)


def compile_lock(pyproject: Path, out: Path, *more: str) -> None:
    """One resolution."""
    subprocess.run(["uv", "pip", "compile", str(pyproject), *OPTIONS, *more, "-o", str(out)], check=True, stdout=subprocess.DEVNULL)


def blocks(path: Path) -> dict[str, str]:
    """Requirement name to its lines."""
    found: dict[str, str] = {}
    name = ""
    for line in path.read_text().splitlines(keepends=True):
        if match := re.match(r"^([A-Za-z0-9_.\-]+)(\[[^\]]*\])?==", line):
            name = match.group(1)
            found[name] = ""
        if name:
            found[name] += line
    return found


def main() -> None:
    """All files, or none."""
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    source = ["--find-links", wheels] if list(Path(wheels or "/nonexistent").glob("torch-*+cpu-*.whl")) else TORCH_INDEX
    text = (HERE.parent / "pyproject.toml").read_text()
    pinned = re.search(r'"torch==([\d.]+)"', text)
    assert pinned, "pyproject.toml does not pin torch"
    with tempfile.TemporaryDirectory() as folder:
        cpu, cuda = Path(folder, "cpu", "pyproject.toml"), Path(folder, "cuda", "pyproject.toml")
        for path, content in ((cpu, text.replace(pinned.group(0), f'"torch=={pinned.group(1)}+cpu"')), (cuda, text)):
            path.parent.mkdir()
            path.write_text(content)
        both, grown, base, gpu = (Path(folder, name) for name in ("both.txt", "extras.txt", "cpu.txt", "cuda.txt"))
        compile_lock(cpu, both, "--extra", "test", *source)
        compile_lock(cpu, grown, "-c", str(both), *(word for name in EXTRAS for word in ("--extra", name)), *source)
        compile_lock(cpu, base, "-c", str(both), *source)
        versions = Path(folder, "versions.txt")
        versions.write_text(
            "".join(
                block.split(" ")[0].split("[")[0] + "\n" if "[" not in block.split("==")[0] else ""
                for name, block in blocks(base).items()
                if name != "torch"
            )
        )
        compile_lock(cuda, gpu, "-c", str(versions))
        tools, audit = Path(folder, "audit.in"), Path(folder, "audit.txt")
        tools.write_text("\n".join(AUDIT))
        compile_lock(tools, audit)
        shared, extras, tested = blocks(base), blocks(grown), blocks(both)
        (HERE / "audit.txt").write_text(audit.read_text())
        (HERE / "cpu.txt").write_text(base.read_text())
        (HERE / "cuda.txt").write_text(gpu.read_text())
        (HERE / "extras.txt").write_text("".join(block for name, block in extras.items() if name not in shared))
        (HERE / "test.txt").write_text("".join(block for name, block in tested.items() if name not in extras))


if __name__ == "__main__":
    main()
