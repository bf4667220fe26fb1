"""A small client of the REST API."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

CHUNK = 8 * 1024 * 1024  # bytes a request while uploading
BUSY = {429, 502, 503}
Json = dict[str, Any]


class Problem(Exception):
    """The API refused, in its own words.

    Attributes:
        status: The HTTP status.
        code: The stable code ("registry.name_taken").
        remedy: What to do, when the API said.
    """

    def __init__(self, status: int, body: Json) -> None:
        """Take the words from a problem document (RFC 9457)."""
        self.status, self.code = status, str(body.get("code", f"http.{status}"))
        self.remedy = str(body.get("remedy") or "")
        self.detail = str(body.get("detail") or body.get("title") or f"HTTP {status}")
        self.errors = [f"{e.get('field')}: {e.get('detail')}" for e in body.get("errors", [])]
        super().__init__(
            "\n".join([self.detail, *self.errors, *([self.remedy] * bool(self.remedy))])
        )


class Unreachable(Exception):
    """Nobody answers at the address."""


@dataclass
class Client:
    """Speaks to one Modelyard.

    Attributes:
        url: Where it is, "http://127.0.0.1:8000".
        token: An API token.
        patience: Seconds to go on asking while the server says that it is busy.
    """

    url: str
    token: str
    patience: float = 20.0

    def __post_init__(self) -> None:
        """Open the connection pool."""
        self._http = httpx.Client(
            base_url=self.url.rstrip("/"),
            headers={"Authorization": f"Bearer {self.token}", "Accept": "application/json"},
            timeout=httpx.Timeout(30.0, connect=5.0),
        )

    def close(self) -> None:
        """Close the connection pool."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        """Read one object."""
        return self._ask("GET", path, params=_asked(query))

    def text(self, path: str, **query: Any) -> str:
        """Read what is not JSON."""
        answer = self._request("GET", path, params=_asked(query), headers={"Accept": "*/*"})
        self._raise_for(answer)
        return answer.text

    def download(self, path: str) -> bytes:
        """Read a file."""
        answer = self._request("GET", path)
        self._raise_for(answer)
        return answer.content

    def post(self, path: str, body: Json | None = None) -> Json:
        """Do one verb; the idempotency key makes a repeated request safe."""
        return self._ask(
            "POST", path, json=body or {}, headers={"Idempotency-Key": uuid.uuid4().hex}
        )

    def put(self, path: str, body: Json) -> Json:
        """Set one object."""
        return self._ask("PUT", path, json=body)

    def pages(self, path: str, **query: Any) -> Iterator[Json]:
        """Read a collection to its end, page by page."""
        page = self.get(path, **query)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self._ask("GET", str(page["next"]))

    def upload(
        self, file: Path, *, name: str = "", progress: Callable[[int, int], None] | None = None
    ) -> str:
        """Send a file in chunks, going on where a broken connection left off; return its id.

        Raises:
            Problem: The file was refused.
            Unreachable: The server went away and did not come back within `patience`.
        """
        size = file.stat().st_size
        upload = self.post("/api/v1/uploads", {"filename": name or file.name, "size": size})
        offset, address = int(upload["received"]), str(upload["bytes_url"])
        with file.open("rb") as stream:
            while offset < size:
                stream.seek(offset)
                offset = self._send_chunk(address, stream.read(CHUNK), offset)
                if progress:
                    progress(offset, size)
        return str(upload["id"])

    def _send_chunk(self, address: str, chunk: bytes, offset: int) -> int:
        answer = self._request(
            "PATCH",
            address,
            content=chunk,
            headers={
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
            },
        )
        given = answer.headers.get("Upload-Offset")
        if answer.status_code == httpx.codes.CONFLICT and given:
            return int(given)  # an earlier chunk did arrive, though its answer did not
        self._raise_for(answer)
        return int(given or offset + len(chunk))

    def wait(
        self, path: str, done: Callable[[Json], bool], *, seconds: float, every: float = 0.25
    ) -> Json:
        """Read `path` until `done` says so.

        Raises:
            TimeoutError: It did not within `seconds`.
        """
        end = time.monotonic() + seconds
        while True:
            seen = self.get(path)
            if done(seen):
                return seen
            if time.monotonic() > end:
                raise TimeoutError(f"{path} was not done after {seconds:.0f} s.")
            time.sleep(every)

    def _ask(self, method: str, path: str, **how: Any) -> Json:
        answer = self._request(method, path, **how)
        self._raise_for(answer)
        return dict(answer.json()) if answer.content else {}

    def _request(self, method: str, path: str, **how: Any) -> httpx.Response:
        end = time.monotonic() + self.patience
        while True:
            try:
                answer = self._http.request(method, path, **how)
            except httpx.TransportError as error:
                if time.monotonic() > end:
                    raise Unreachable(f"{self.url} does not answer: {error}") from error
            else:
                if answer.status_code not in BUSY or time.monotonic() > end:
                    return answer
            time.sleep(0.5)

    @staticmethod
    def _raise_for(answer: httpx.Response) -> None:
        if answer.is_success:
            return
        try:
            body = answer.json()
        except ValueError:
            body = {"detail": answer.text[:300]}
        raise Problem(
            answer.status_code, body if isinstance(body, dict) else {"detail": str(body)}
        )


def _asked(query: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the query, None without one: an empty one would cut off what the path asks for."""
    return {name: value for name, value in query.items() if value is not None} or None


def sha256(file: Path) -> str:
    """Return the digest of a file, 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
