"""What is installed is what the locks say, every line of them is pinned by hash, and `make audit` judges as its files promise."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import CHECKOUT

FOLDER = CHECKOUT / "requirements"
LOCKS = ["cpu", "cuda", "extras", "test", "audit"]
# what a virtual environment starts with, and ourselves
OWN = {"pip", "tenfold"}
ONLY_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def requirements(name: str) -> list[str]:
    """The lines of a lock, continued ones joined."""
    return [line for line in (FOLDER / f"{name}.txt").read_text().replace("\\\n", " ").splitlines() if line.strip()]


def locked(*names: str) -> dict[str, str]:
    """Package to version."""
    found = [Requirement(line.split(" --hash")[0]) for name in names for line in requirements(name)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def tool(name: str) -> ModuleType:
    """A script of requirements/ as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_one_version_with_hashes(name: str) -> None:
    for line in requirements(name):
        assert re.fullmatch(r"[\w.\-]+(\[[\w,\- ]+\])?==[\w.+!]+( *; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+ *", line), line[:120]
    assert len(locked(name)) == len(requirements(name))


def test_no_package_is_locked_twice() -> None:
    for base in ("cpu", "cuda"):
        assert len(locked(base, "extras", "test")) == sum(len(locked(name)) for name in (base, "extras", "test"))


def test_cpu_and_cuda_differ_in_torch_alone() -> None:
    cpu, cuda = locked("cpu"), locked("cuda")
    assert cpu["torch"] == f"{cuda['torch']}+cpu"
    more = {name: version for name, version in cuda.items() if not ONLY_CUDA.fullmatch(name)}
    assert {**cpu, "torch": cuda["torch"]} == more


def test_what_is_installed_is_what_is_locked() -> None:
    installed = {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    base = "cpu" if installed["torch"].endswith("+cpu") else "cuda"
    wanted = locked(base, "extras", "test")
    assert {name: installed.get(name) for name in wanted} == wanted
    strangers = sorted(installed.keys() - wanted.keys() - OWN)
    # a developer may add tools of his own; a machine that installs from the locks has nothing else
    assert not strangers or os.environ.get("CI") != "true", strangers


def direct() -> Iterator[str]:
    yield from PROJECT["dependencies"]
    for extra in ("test", "postgres", "s3", "auth", "ray"):
        yield from (text for text in PROJECT["optional-dependencies"][extra] if not text.startswith("tenfold["))


@pytest.mark.parametrize("text", direct())
def test_the_lock_holds_every_direct_dependency_in_a_version_that_fits(text: str) -> None:
    wanted = Requirement(text)
    versions = {locked(base, "extras", "test").get(canonicalize_name(wanted.name), "none").partition("+")[0] for base in ("cpu", "cuda")}
    assert len(versions) == 1
    assert wanted.specifier.contains(versions.pop(), prereleases=True)


def test_pip_takes_the_locks_and_finds_nothing_missing_or_in_conflict() -> None:
    base = "cpu" if importlib.metadata.version("torch").endswith("+cpu") else "cuda"
    files = [word for name in (base, "extras", "test") for word in ("-r", str(FOLDER / f"{name}.txt"))]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    for words in (["install", "--dry-run", "--no-deps", "--require-hashes", "--no-index", *files], ["check"]):
        done = subprocess.run([*pip, *words], capture_output=True, text=True)
        assert done.returncode == 0 and "Would install" not in done.stdout, done.stdout + done.stderr


def test_every_licence_is_accepted() -> None:
    licences = tool("licences")
    policy = tomllib.loads(licences.POLICY.read_text())
    assert licences.surprises(licences.installed(), policy) == []


@pytest.mark.parametrize(
    ("name", "licence", "kind"),
    [
        ("one", "MIT", "permissive"),
        ("one", "MPL-2.0 AND (Apache-2.0 OR MIT)", "by file, permissive"),
        ("one", "GPL-3.0-only", ""),
        ("one", "MIT OR GPL-3.0-only", ""),
        ("one", "MIT; GNU Affero General Public License v3", ""),
        ("one", "UNKNOWN", ""),
        ("huey", "UNKNOWN", "MIT: its LICENSE file; MLflow's job runner, which we switch off"),
        ("huey", "GPL-3.0-only", ""),
    ],
)
def test_a_licence_that_nobody_named_is_a_surprise(name: str, licence: str, kind: str) -> None:
    licences = tool("licences")
    policy = tomllib.loads(licences.POLICY.read_text())
    assert licences.accepted(name, licence, policy) == kind
    assert bool(kind) != any(line.startswith(f"{name} 1.0") for line in licences.surprises({name: ("1.0", licence)}, policy))


FLAW = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}
SKIPPED = {"name": "a", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "accepted", "code", "said"),
    [
        ([{"name": "a", "version": "1.0", "vulns": []}], {}, 0, "1 packages checked, 0 found"),
        ([{"name": "a", "version": "1.0", "vulns": [FLAW]}], {}, 1, "a 1.0: GHSA-1, fixed in 1.1"),
        ([{"name": "a", "version": "1.0", "vulns": [FLAW]}], {"CVE-1": {}}, 0, "0 found"),
        ([{"name": "a", "version": "1.0", "vulns": []}], {"CVE-1": {}}, 0, "accepted, not found any more: CVE-1"),
        ([{"name": "a", "version": "1.0", "vulns": []}, {**SKIPPED, "name": "b"}], {}, 0, "not known to the service: b"),
        # pip-audit itself says "no known vulnerabilities" here, with exit code 0
        ([SKIPPED], {}, 3, "not checked: the service cannot be reached"),
        (None, {}, 3, "not checked: the service cannot be reached"),
    ],
)
def test_a_service_that_does_not_answer_is_not_taken_for_a_clean_result(
    answer: Any,
    accepted: dict[str, Any],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit = tool("audit")
    monkeypatch.setattr(audit, "OUT", tmp_path)
    assert audit.vulnerabilities({"a": "1.0", "b": "2.0"}, lambda packages: answer, accepted) == code
    assert said in capsys.readouterr().out
    if code != audit.NOT_CHECKED:
        assert json.loads((tmp_path / "vulnerabilities.json").read_text()) == answer


def test_every_accepted_vulnerability_has_its_reason() -> None:
    accepted = tomllib.loads((FOLDER / "vulnerabilities.toml").read_text())["accepted"]
    assert all(entry["package"] and entry["reason"] for entry in accepted.values())
