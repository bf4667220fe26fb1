"""Bytes on their way in: resumed, refused, cut off, and never in memory as a whole."""

import hashlib
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.db import connections

from apps.registry import blobs, services
from apps.registry.api.upload_bytes import CONTENT_TYPE, upload_bytes
from apps.registry.models import Upload
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


class Sender:
    """Speaks to the application as a server does."""

    def __init__(self, owner: Any) -> None:
        self.headers = {"authorization": f"Bearer {factories.token(owner=owner)[1]}"}

    def send(
        self,
        upload: Upload,
        offset: int | None,
        pieces: list[bytes],
        *,
        cut: bool = False,
        method: str = "PATCH",
        **headers: str,
    ) -> tuple[int, dict[str, str]]:
        """Send `pieces`; with `cut`, hang up after them. Returns status and headers."""
        return async_to_sync(self._send)(upload, offset, pieces, cut, method, headers)

    async def _send(self, upload: Upload, offset: int | None, pieces: list[bytes], cut: bool,
                    method: str, more: dict[str, str]) -> tuple[int, dict[str, str]]:  # fmt: skip
        given = {"content-type": CONTENT_TYPE, **self.headers, **more}
        if offset is not None:
            given["upload-offset"] = str(offset)
        scope = {
            "type": "http", "method": method, "path": f"/uploads/{upload.public_id}",
            "headers": [(k.encode(), v.encode()) for k, v in given.items() if v],
            "client": ("127.0.0.1", 1),
        }  # fmt: skip
        speaker = ApplicationCommunicator(upload_bytes, scope)
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1 and not cut
            await speaker.send_input(
                {"type": "http.request", "body": piece, "more_body": not last}
            )
        if cut:
            await speaker.send_input({"type": "http.disconnect"})
            await speaker.wait(timeout=10)
            return 0, {}
        answer = await speaker.receive_output(timeout=10)
        await speaker.receive_output(timeout=10)
        return answer["status"], {k.decode(): v.decode() for k, v in answer["headers"]}


@pytest.fixture(autouse=True)
def connections_end_with_their_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call here has an event loop, and so threads, of its own."""
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)


@pytest.fixture
def owner() -> Any:
    return factories.person(role="contributor")


@pytest.fixture
def sender(owner: Any) -> Sender:
    return Sender(owner)


@pytest.fixture
def content() -> bytes:
    return (
        b"tree\nversion=v4\nnum_class=1\nmax_feature_idx=4\n"
        + b"x" * 3_000_000
        + b"\nend of trees"
    )


@pytest.fixture
def upload(owner: Any, content: bytes) -> Upload:
    return services.begin_upload(
        actor=factories.actor_of(owner), filename="m.txt", size=len(content)
    )


def pieces(content: bytes, size: int = 65_536) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


def test_a_file_arrives_in_one_go(sender: Sender, upload: Upload, content: bytes) -> None:
    status, headers = sender.send(upload, 0, pieces(content))
    assert (status, headers["upload-offset"]) == (204, str(len(content)))
    upload.refresh_from_db()
    assert upload.state == "complete"
    assert upload.sha256 == hashlib.sha256(content).hexdigest()
    assert upload.facts["inspected"]["format"] == "lightgbm"
    with blobs.open_blob(upload.sha256) as stream:
        assert stream.read() == content
    assert not services.part_path(upload).exists()


def test_a_cut_off_upload_goes_on_where_it_was(
    sender: Sender, upload: Upload, content: bytes
) -> None:
    sender.send(upload, 0, pieces(content[:1_500_000]), cut=True)
    upload.refresh_from_db()
    assert upload.received == 1_500_000
    status, headers = sender.send(upload, None, [b""], method="HEAD")
    assert (status, headers["upload-offset"]) == (200, "1500000")
    status, headers = sender.send(upload, 0, [b"x"])
    assert (status, headers["upload-offset"]) == (409, "1500000")
    status, _ = sender.send(upload, 1_500_000, pieces(content[1_500_000:]))
    upload.refresh_from_db()
    assert (status, upload.sha256) == (204, hashlib.sha256(content).hexdigest())


def test_bytes_that_were_never_noted_are_sent_again(
    sender: Sender, upload: Upload, content: bytes
) -> None:
    sender.send(upload, 0, pieces(content[:100_000]), cut=True)
    with services.part_path(upload).open("ab") as part:
        part.write(b"left by a process that was killed before it could note them")
    status, _ = sender.send(upload, 100_000, pieces(content[100_000:]))
    upload.refresh_from_db()
    assert (status, upload.sha256) == (204, hashlib.sha256(content).hexdigest())


def test_more_than_announced_is_refused(sender: Sender, upload: Upload, content: bytes) -> None:
    assert sender.send(upload, 0, pieces(content + b"more"))[0] == 422
    upload.refresh_from_db()
    assert upload.state == "open"
    assert upload.received <= upload.size
    announced = {"content-length": str(len(content) + 1)}
    assert sender.send(upload, upload.received, [b""], **announced)[0] == 422


def test_a_finished_upload_takes_nothing_more(
    sender: Sender, upload: Upload, content: bytes
) -> None:
    sender.send(upload, 0, pieces(content))
    assert sender.send(upload, len(content), [b""])[0] == 409


@pytest.mark.parametrize("offset", [None, -1, 10**20])
def test_a_request_without_a_sensible_offset_is_refused(
    sender: Sender, upload: Upload, offset: Any
) -> None:
    assert sender.send(upload, offset, [b"x"])[0] == 422


def test_nobody_and_strangers_find_nothing(sender: Sender, upload: Upload) -> None:
    assert sender.send(upload, 0, [b"x"], authorization="")[0] == 401
    assert sender.send(upload, 0, [b"x"], authorization="Bearer my_wrong")[0] == 401
    stranger = Sender(factories.person(role="admin"))
    assert stranger.send(upload, 0, [b"x"])[0] == 404


def test_a_session_counts_only_from_our_own_pages(
    client: Any, owner: Any, upload: Upload, sender: Sender
) -> None:
    client.force_login(owner)
    cookie = f"modelyard_session={client.cookies['modelyard_session'].value}"
    sender.headers = {"cookie": cookie, "host": "testserver"}
    assert sender.send(upload, 0, [b"x"], origin="https://evil.example")[0] == 403
    assert sender.send(upload, 0, [b"x"])[0] == 403
    assert sender.send(upload, 0, [b"x"], origin="http://testserver")[0] == 204


def test_a_full_disk_keeps_what_came(
    sender: Sender, upload: Upload, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.registry.api import upload_bytes as door

    real, left = door.os.write, [1_200_000]

    def write(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(28, "No space left on device")
        left[0] -= len(data)
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(door.os, "write", write)
        assert sender.send(upload, 0, pieces(content))[0] == 507
    upload.refresh_from_db()
    assert upload.received > 0
    status, _ = sender.send(upload, upload.received, pieces(content[upload.received :]))
    upload.refresh_from_db()
    assert (status, upload.sha256) == (204, hashlib.sha256(content).hexdigest())


def test_a_broken_archive_is_refused_as_soon_as_it_is_here(owner: Any, sender: Sender) -> None:
    broken = b"PK\x03\x04" + b"\0" * 500
    upload = services.begin_upload(
        actor=factories.actor_of(owner), filename="m.zip", size=len(broken)
    )
    assert sender.send(upload, 0, [broken])[0] == 422
    upload.refresh_from_db()
    assert upload.facts["problem"]["code"] == "archive.broken"
