"""Pauses, digests, addresses and sealed secrets: pure."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.notifications.domain import addresses, sealing
from apps.notifications.domain.digests import next_digest
from apps.notifications.domain.kinds import Transport
from apps.notifications.domain.pauses import LONGEST, PAUSES, pause_after
from controlplane.drivers.notices.answers import fault, retry_after
from controlplane.drivers.notices.places import is_public
from controlplane.kernel.errors import Invalid, Permanent, Throttled, Transient

KEY, OTHER = "k" * 50, "o" * 50


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_pauses_grow_and_end(jitter: float) -> None:
    pauses = [pause_after(n, jitter=jitter) or LONGEST for n in range(1, len(PAUSES) + 1)]
    assert sorted(set(pauses)) == pauses
    assert pause_after(len(PAUSES) + 1, jitter=jitter) is None


@given(asked=st.integers(0, 10**7), failures=st.integers(1, len(PAUSES)))
def test_a_receiver_may_ask_for_more_patience_never_for_less(asked: int, failures: int) -> None:
    own = pause_after(failures, jitter=0.5)
    pause = pause_after(failures, jitter=0.5, asked=timedelta(seconds=asked))
    assert own is not None
    assert pause is not None
    assert own <= pause <= LONGEST


@pytest.mark.parametrize(
    ("zone", "now", "then"),
    [
        ("UTC", "2026-03-01T07:59", "2026-03-01T08:00"),
        ("UTC", "2026-03-01T08:00", "2026-03-02T08:00"),
        ("Europe/Berlin", "2026-03-28T12:00", "2026-03-29T06:00"),  # the clocks go forward
        ("America/New_York", "2026-07-01T11:00", "2026-07-01T12:00"),
        ("Nowhere/Land", "2026-03-01T07:00", "2026-03-01T08:00"),
        ("../etc/passwd", "2026-03-01T07:00", "2026-03-01T08:00"),
        ("", "2026-03-01T07:00", "2026-03-01T08:00"),
    ],
)
def test_a_daily_mail_goes_out_at_eight_in_ones_own_morning(
    zone: str, now: str, then: str
) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_digest(at, zone) == datetime.fromisoformat(then).replace(tzinfo=UTC)


@given(st.text())
def test_what_is_sealed_opens_with_its_key_and_no_other(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    sealed = sealing.seal(text, [KEY])
    assert sealing.unseal(sealed, [OTHER, KEY]) == text
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(sealed, [OTHER])


def test_a_changed_seal_does_not_open() -> None:
    sealed = sealing.seal("slack://secret", [KEY])
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(sealed[:-2] + "AA", [KEY])
    with pytest.raises(sealing.Unreadable):
        sealing.unseal("nonsense", [KEY])


@given(st.sampled_from(list(Transport)), st.text(max_size=80), st.booleans())
def test_any_address_is_taken_or_refused_in_a_sentence(
    transport: Transport, target: str, private: bool
) -> None:
    with suppress(Invalid):  # anything else would be a fault of ours
        addresses.check(transport, target, private=private)
        assert len(addresses.shown(transport, target)) <= 120


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("::ffff:93.184.215.14", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (301, {}, Permanent), (404, {}, Permanent), (410, {}, Permanent), (422, {}, Permanent),
        (408, {}, Transient), (425, {}, Transient), (429, {}, Transient), (500, {}, Transient),
        (502, {}, Transient), (503, {"retry-after": "7"}, Throttled),
        (429, {"retry-after": "soon"}, Transient),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, headers: dict[str, str], kind: type) -> None:
    error = fault(status, "words", headers)
    assert type(error) is kind
    assert str(status) in error.sentence
    assert error.remedy


def test_a_receiver_says_when_in_seconds_or_by_the_clock() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("120", now=now) == 120
    assert retry_after(format_datetime(now + timedelta(hours=1)), now=now) == 3600
    assert retry_after(format_datetime(now - timedelta(hours=1)), now=now) == 0
    assert retry_after("9" * 30, now=now) == 86_400
    assert retry_after("soon", now=now) is None
    assert retry_after("", now=now) is None
