"""What `make audit` does, with the tools of audit.txt: `python requirements/audit.py PYTHON` looks at the environment of that interpreter.

Writes build/audit/{sbom.cdx.json,licences.csv,vulnerabilities.json}. Exit code 0: nothing found; 1: a vulnerability or a licence that
no file here accepts; 3: nothing found, but vulnerabilities were not checked since the service (the package index) cannot be reached.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "audit"
ACCEPTED = HERE / "vulnerabilities.toml"
NOT_CHECKED = 3

Report = list[dict[str, Any]]


def sbom(python: str, out: Path) -> dict[str, str]:
    """Write the bill of materials (CycloneDX, JSON); name and version of every component."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    words = ["environment", "--output-reproducible", "--of", "JSON", "--pyproject", str(HERE.parent / "pyproject.toml"), "-o", str(out)]
    subprocess.run([str(tool), *words, python], check=True)
    found = {part["name"]: part["version"] for part in json.loads(out.read_text())["components"] if part["name"] != "tenfold"}
    print(f"sbom: {len(found)} components in {out}")
    return found


def pip_audit(packages: Mapping[str, str]) -> Report | None:
    """What the service knows of these; None if it does not answer."""
    listed, out = OUT / "packages.txt", OUT / "answer.json"
    out.unlink(missing_ok=True)
    # the service knows no local versions: torch 2.13.0+cpu is torch 2.13.0
    listed.write_text("".join(f"{name}=={version.partition('+')[0]}\n" for name, version in packages.items()))
    tool = str(Path(sys.executable).with_name("pip-audit"))
    words = ["-r", str(listed), "--no-deps", "--disable-pip", "-f", "json", "-o", str(out), "--progress-spinner", "off", "--timeout", "30"]
    done = subprocess.run([tool, *words], capture_output=True, text=True)
    if out.exists():
        return list(json.loads(out.read_text())["dependencies"])
    print(done.stderr.strip(), file=sys.stderr)
    return None


def unanswered(report: Report | None) -> bool:
    """Whether the service knew none of the packages: pip-audit itself calls that "no known vulnerabilities"."""
    return report is None or all("skip_reason" in entry for entry in report)


def vulnerabilities(packages: Mapping[str, str], ask: Callable[[Mapping[str, str]], Report | None], accepted: Mapping[str, Any]) -> int:
    """Ask about one package first, then about all; print what was found. Returns the exit code."""
    first = dict(list(packages.items())[:1])
    report = None if unanswered(ask(first)) else ask(packages)
    if report is None or unanswered(report):
        print("vulnerabilities: not checked: the service cannot be reached. Run `make audit` where the public package index answers.")
        return NOT_CHECKED
    (OUT / "vulnerabilities.json").write_text(json.dumps(report, indent=1))
    found, seen = [], set()
    for entry in report:
        for one in entry.get("vulns", []):
            names = {one["id"], *one.get("aliases", [])}
            seen |= names
            if not names & set(accepted):
                remedy = f"fixed in {', '.join(one['fix_versions'])}" if one.get("fix_versions") else "no fixed version yet"
                found.append(f"{entry['name']} {entry['version']}: {one['id']}, {remedy}")
    unknown = [entry["name"] for entry in report if "skip_reason" in entry]
    print(f"vulnerabilities: {len(report) - len(unknown)} packages checked, {len(found)} found that {ACCEPTED.name} does not accept")
    for line in [
        *found,
        *(f"not known to the service: {name}" for name in unknown),
        *(f"accepted, not found any more: {id}" for id in accepted if id not in seen),
    ]:
        print(f"  {line}")
    return 1 if found else 0


def main(words: Sequence[str]) -> int:
    """All three; the worst decides."""
    python = words[0]
    OUT.mkdir(parents=True, exist_ok=True)
    packages = sbom(python, OUT / "sbom.cdx.json")
    licences = subprocess.run([python, str(HERE / "licences.py"), str(OUT / "licences.csv")]).returncode
    accepted = tomllib.loads(ACCEPTED.read_text())["accepted"]
    checked = vulnerabilities(packages, pip_audit, accepted)
    return 1 if 1 in (licences, checked) else checked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
