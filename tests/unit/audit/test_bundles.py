"""A signed bundle is checked with nothing but the file and the key; any change to it is found."""

import contextlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit import bundles as service
from apps.audit.domain import bundles
from controlplane.cli.bundles import NotSigned, verify
from controlplane.cli.main import main
from controlplane.drivers.signing.bundles import pack
from controlplane.kernel.errors import Invalid

SEED = b"s" * bundles.SEED_BYTES
FILES = {"release.html": b"<h1>card-fraud v42</h1>", "evidence/scan.json": b'{"found": 0}'}
SIGNED = pack(FILES, SEED)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "bundle.pub"
    path.write_bytes(bundles.public_pem(SEED))
    return path


def contents(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return out.getvalue()


def write(folder: Path, content: bytes) -> Path:
    path = folder / "bundle.zip"
    path.write_bytes(content)
    return path


def test_a_bundle_is_what_was_signed(tmp_path: Path, key: Path) -> None:
    assert verify(write(tmp_path, SIGNED), key) == list(FILES)
    assert {n: d for n, d in contents(SIGNED).items() if n != "model.sig"} == FILES


def test_the_standards_own_tool_agrees(tmp_path: Path, key: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(SIGNED)) as archive:
        archive.extractall(tmp_path / "b")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "b")]
    command += ["--signature", str(tmp_path / "b" / "model.sig"), "--public_key", str(key)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (tmp_path / "b" / "release.html").write_bytes(b"<h1>another</h1>")
    assert subprocess.run(command, capture_output=True).returncode != 0


CHANGES = {
    "a changed file": {"release.html": b"<h1>card-fraud v43</h1>"},
    "a new file": {"more.txt": b""},
    "a hidden file": {".gitattributes": b"x"},
    "a hidden folder": {".git/config": b"x"},
    "a file outside": {"../x": b""},
    "an absolute file": {"/etc/x": b""},
    "a broken signature": {"model.sig": b"{}"},
    "no JSON": {"model.sig": b"\x00"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_bundle_is_not_what_was_signed(
    tmp_path: Path, key: Path, change: dict[str, bytes]
) -> None:
    with pytest.raises(NotSigned):
        verify(write(tmp_path, zipped({**contents(SIGNED), **change})), key)


def test_a_bundle_without_a_file_or_with_one_twice_is_not_what_was_signed(
    tmp_path: Path, key: Path
) -> None:
    for name in (*FILES, "model.sig"):
        rest = {n: d for n, d in contents(SIGNED).items() if n != name}
        with pytest.raises(NotSigned):
            verify(write(tmp_path, zipped(rest)), key)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped([*contents(SIGNED).items(), ("release.html", b"")])
    with pytest.raises(NotSigned, match="twice"):
        verify(write(tmp_path, twice), key)


def test_a_bundle_that_another_key_signed_is_not_trusted(tmp_path: Path, key: Path) -> None:
    other = pack(FILES, b"o" * bundles.SEED_BYTES)
    with pytest.raises(NotSigned):
        verify(write(tmp_path, other), key)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_changed_byte_of_a_signature_is_an_accident(data: st.DataObject) -> None:
    import tempfile

    signature = contents(SIGNED)["model.sig"]
    at = data.draw(st.integers(0, len(signature) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != signature[at]))
    changed = signature[:at] + bytes([new]) + signature[at + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        key.write_bytes(bundles.public_pem(SEED))
        bundle = write(Path(folder), zipped({**FILES, "model.sig": changed}))
        with contextlib.suppress(NotSigned):  # white space means nothing: then it is unchanged
            assert verify(bundle, key) == list(FILES)


def test_a_bundle_of_zeros_that_unpacks_to_too_much_is_refused(tmp_path: Path, key: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.sig", b"{}")
        with archive.open("zeros", "w", force_zip64=True) as stream:
            for _ in range(1025):
                stream.write(bytes(1 << 20))
    with pytest.raises(NotSigned, match="larger"):
        verify(write(tmp_path, out.getvalue()), key)


def test_the_command_says_so_and_needs_no_token(tmp_path: Path, key: Path) -> None:
    bundle = write(tmp_path, SIGNED)
    run = CliRunner().invoke(main, ["bundle", "verify", str(bundle), "--key", str(key)])
    assert (run.exit_code, "Signed, and unchanged: release.html" in run.stdout) == (0, True)
    bundle.write_bytes(b"no zip")
    run = CliRunner().invoke(main, ["bundle", "verify", str(bundle), "--key", str(key)])
    assert (run.exit_code, run.stdout) == (1, "NOT what was signed.\n")
    assert "cannot be read" in run.stderr or "not a zip" in run.stderr
    (tmp_path / "x").write_bytes(b"x")
    run = CliRunner().invoke(main, ["bundle", "verify", str(bundle), "--key", str(tmp_path / "x")])
    assert (run.exit_code, "not a public key" in run.stderr) == (2, True)


def test_the_service_signs_with_the_houses_key(tmp_path: Path, settings: object) -> None:
    settings.BUNDLE_KEY = tmp_path / "secrets" / "bundle-key"  # type: ignore[attr-defined]
    made = write(tmp_path, service.bundle(FILES))
    (tmp_path / "bundle.pub").write_bytes(service.public_key())
    assert verify(made, tmp_path / "bundle.pub") == list(FILES)
    assert (tmp_path / "secrets" / "bundle-key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "name", ["", "/x", "../x", "a/../b", "a\\b", "model.sig", ".git/x", "./x", "a//b", "c:x"]
)
def test_a_name_that_would_not_be_signed_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot be in a bundle"):
        service.bundle({name: b""})


def test_a_bundle_of_nothing_is_refused() -> None:
    with pytest.raises(Invalid, match="needs a file"):
        service.bundle({})


def test_the_web_does_not_load_the_signing_library_before_it_signs() -> None:
    code = "import sys, apps.audit.bundles; print('model_signing' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
