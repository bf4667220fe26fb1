"""The twenty lines of docs/ledger.md do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.audit.exports import EXPORT, SIGNER, WHERE

PAGE = Path(__file__).parents[3] / "docs" / "ledger.md"


def run(folder: Path, lines: list[bytes]) -> subprocess.CompletedProcess[str]:
    script = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert script
    (folder / "export.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "ledger.pub").write_bytes(SIGNER.public_pem())
    command = [sys.executable, "-W", "ignore", "-c", script[1], "export.jsonl", "ledger.pub"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_they_find_nothing_wrong_with_a_whole_export(tmp_path: Path) -> None:
    assert run(tmp_path, EXPORT).stderr == ""


@pytest.mark.parametrize("position", [1, 5, 11])
def test_they_find_a_change_and_a_gap(tmp_path: Path, position: int) -> None:
    at = WHERE[position]
    edited = [*EXPORT[:at], EXPORT[at].replace(b'"ada"', b'"eve"'), *EXPORT[at + 1 :]]
    assert f"#{position} was changed" in run(tmp_path, edited).stderr
    assert run(tmp_path, EXPORT[:at] + EXPORT[at + 1 :]).returncode


def test_they_find_a_cut_and_a_forged_signature(tmp_path: Path) -> None:
    assert "cut off" in run(tmp_path, EXPORT[:-1]).stderr
    forged = [line.replace(b'"number":1', b'"number":9') for line in EXPORT]
    assert "InvalidSignature" in run(tmp_path, forged).stderr
