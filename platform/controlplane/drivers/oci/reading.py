"""Reading bundles for those who judge them; implements `apps.gates.ports.BundleBytes`."""

from typing import Any

from apps.gates.ports import Rehashed
from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel import digests
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Permanent


class BundleReader:
    """Reads the bundles of one layout."""

    def __init__(self, layout: OciLayout) -> None:
        """Read from `layout`."""
        self._layout = layout

    def rehash(self, digest: str) -> Rehashed:
        """Implement `BundleBytes.rehash`; the configuration is hashed as it is read."""
        files: list[FileEntry] = []
        try:
            self._layout.read_config(digest)
            for entry in self._layout.files(digest):
                with self._layout.open_blob(f"sha256:{entry.sha256}") as stream:
                    found, size = digests.of_stream(stream)
                files.append(FileEntry(entry.path, found.removeprefix("sha256:"), size))
                if files[-1] != entry:
                    problem = f"{entry.path} is not what its digest says: {found}."
                    return Rehashed(tuple(files), _size(files), problem)
        except Permanent as error:
            return Rehashed(tuple(files), _size(files), error.sentence)
        return Rehashed(tuple(files), _size(files))

    def config(self, digest: str) -> dict[str, Any]:
        """Implement `BundleBytes.config`."""
        return self._layout.read_config(digest)

    def read(self, digest: str, path: str, *, limit: int) -> bytes | None:
        """Implement `BundleBytes.read`."""
        entry = next((e for e in self._layout.files(digest) if e.path == path), None)
        if entry is None or entry.size > limit:
            return None
        with self._layout.open_blob(f"sha256:{entry.sha256}") as stream:
            return stream.read(limit)


def _size(files: list[FileEntry]) -> int:
    return sum(entry.size for entry in files)
