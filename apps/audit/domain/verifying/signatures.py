"""Signatures of the lines that have one, against the keys that somebody gave."""

from collections.abc import Mapping
from typing import Any

from apps.audit.domain import chain, signing
from apps.audit.domain.verifying.findings import File, Findings, Kind


class Signatures:
    """Checks signatures; without any key, none is checked."""

    def __init__(self, findings: Findings, keys: signing.Keys) -> None:
        self._findings, self._keys = findings, keys

    @property
    def checked(self) -> bool:
        """Return whether signatures are checked."""
        return bool(self._keys)

    def check(
        self, file: File, line: bytes, said: Mapping[str, Any], position: int | None
    ) -> None:
        """Note when a line was not signed with one of the keys.

        Args:
            file: Where it stands.
            line: The line, without a line feed.
            said: What it says: `key` names the key.
            position: Of the event that it is about, if of one.
        """
        if not self._keys:
            return
        cut, key = chain.cut(line, chain.SIGNATURE), self._keys.get(str(said.get("key")))
        if key is None:
            sentence = f"The line was signed with the key {said.get('key')}, which was not given."
        elif cut is None or not signing.signed(*cut, key):
            sentence = "The signature does not belong to the line."
        else:
            return
        self._findings.add(file, Kind.UNTRUSTED, position, sentence)
