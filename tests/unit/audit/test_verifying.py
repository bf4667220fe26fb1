"""Any single change to an export is found, and named by its position."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit.domain import chain, signing
from apps.audit.domain.verifying.checkpoints import known_checkpoints
from apps.audit.domain.verifying.findings import Kind, Report
from apps.audit.domain.verifying.verifier import Verifier
from tests.unit.audit.exports import (
    AT,
    COUNT,
    EVERY,
    EXPORT,
    KEYS,
    SIGNER,
    WHERE,
    an_event,
    body,
    chained,
    framed,
)


def verify(*files: list[bytes], keys: signing.Keys = KEYS, known: Any = None) -> Report:
    verifier = Verifier(keys, known)
    for n, lines in enumerate(files):
        verifier.read(f"file {n}", [line + b"\n" for line in lines])
    return verifier.report()


def positions(report: Report) -> set[int | None]:
    return {finding.position for finding in report.findings}


def kinds(report: Report) -> set[Kind]:
    return {finding.kind for finding in report.findings}


places = st.integers(1, COUNT)


def test_an_export_as_it_was_written_is_whole() -> None:
    report = verify(EXPORT)
    assert report.findings == ()
    assert (report.events, report.first, report.last, report.checkpoints) == (11, 1, 11, 3)
    assert (report.signed_through, report.signed_at, report.trusted) == (11, AT, True)


def test_an_empty_ledger_is_whole() -> None:
    report = verify(framed([]))
    assert report.whole
    assert (report.events, report.last) == (0, None)


@settings(deadline=None)
@given(places, st.data())
def test_any_changed_byte_of_an_event_is_found_at_its_position(
    position: int, data: st.DataObject
) -> None:
    line = EXPORT[WHERE[position]]
    at = data.draw(st.integers(0, len(line) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b not in (line[at], 10)))
    changed = list(EXPORT)
    changed[WHERE[position]] = line[:at] + bytes([new]) + line[at + 1 :]
    for keys in (KEYS, {}):
        assert position in positions(verify(changed, keys=keys))


@settings(deadline=None)
@given(places, st.sampled_from(["actor_name", "verb", "at", "reason"]), st.text(max_size=5))
def test_a_changed_event_is_found_though_its_own_hash_was_made_anew(
    position: int, column: str, value: str
) -> None:
    row = json.loads(EXPORT[WHERE[position]])
    if row["event"][column] == value:
        return
    changed = list(EXPORT)
    row["event"][column] = value
    changed[WHERE[position]] = chain.event_line(row["event"], position, row["previous"])
    assert position in positions(verify(changed))


@settings(deadline=None)
@given(places, st.booleans())
def test_a_changed_event_is_found_though_every_later_hash_was_made_anew(
    position: int, with_end: bool
) -> None:
    events = [json.loads(EXPORT[WHERE[p]])["event"] for p in range(1, COUNT + 1)]
    events[position - 1]["actor_name"] = "somebody else"
    changed = list(EXPORT)
    for p, line in enumerate(chained(events), start=1):
        changed[WHERE[p]] = line
    if with_end:  # all that needs no key is made to fit
        changed = [*changed[:-1], framed(changed[1:-1], signer=SIGNER)[-1]]
    report = verify(changed)
    next_checkpoint = min(COUNT, -(-position // EVERY) * EVERY)
    assert Kind.REWRITTEN in kinds(report)
    assert min(p for p in positions(report) if p) == next_checkpoint


@settings(deadline=None)
@given(places)
def test_a_removed_event_is_found_at_its_position(position: int) -> None:
    changed = [line for k, line in enumerate(EXPORT) if k != WHERE[position]]
    report = verify(changed)
    assert (Kind.REMOVED, position) in {(f.kind, f.position) for f in report.findings}
    assert positions(report) == {position}


@settings(deadline=None)
@given(places, places)
def test_a_removed_stretch_is_found_from_its_first_position(first: int, last: int) -> None:
    gone = {WHERE[p] for p in range(min(first, last), max(first, last) + 1)}
    report = verify([line for k, line in enumerate(EXPORT) if k not in gone])
    assert min(first, last) in positions(report)
    assert Kind.REMOVED in kinds(report)


@settings(deadline=None)
@given(places, places)
def test_two_events_that_change_places_are_found(one: int, other: int) -> None:
    if one == other:
        return
    changed = list(EXPORT)
    changed[WHERE[one]], changed[WHERE[other]] = EXPORT[WHERE[other]], EXPORT[WHERE[one]]
    report = verify(changed)
    assert Kind.MOVED in kinds(report) or Kind.INSERTED in kinds(report)
    assert positions(report) & {one, other}


@settings(deadline=None)
@given(places, places)
def test_an_event_that_was_moved_is_found_and_nothing_is_said_to_be_missing(
    position: int, to: int
) -> None:
    if position in (to, to + 1):
        return
    moved = EXPORT[WHERE[position]]
    changed = [line for line in EXPORT if line is not moved]
    changed.insert(changed.index(EXPORT[WHERE[to]]) + 1, moved)
    report = verify(changed)
    assert positions(report) & {position, to}  # two neighbours: either was moved
    assert Kind.MOVED in kinds(report)
    assert Kind.REMOVED not in kinds(report)


@settings(deadline=None)
@given(places, st.integers(0, COUNT + 3), st.booleans())
def test_an_inserted_event_is_found(after: int, says: int, fits: bool) -> None:
    previous = json.loads(EXPORT[WHERE[after]])["hash"]
    position = after + 1 if fits else says
    forged = chain.event_line(an_event(77), position, previous)
    changed = list(EXPORT)
    changed.insert(WHERE[after] + 1, forged)
    report = verify(changed)
    assert not report.whole
    assert positions(report) & {position, after, after + 1}


@settings(deadline=None)
@given(st.integers(0, len(EXPORT) - 1))
def test_a_file_that_was_cut_off_is_found_wherever_it_was(length: int) -> None:
    report = verify(EXPORT[:length])
    kept = max((p for p, k in WHERE.items() if k < length), default=0)
    assert (Kind.CUT_OFF, kept + 1) in {(f.kind, f.position) for f in report.findings}


@settings(deadline=None)
@given(st.integers(1, len(EXPORT) - 2))
def test_events_removed_before_the_signed_end_are_found(length: int) -> None:
    report = verify([*EXPORT[:length], EXPORT[-1]])
    kept = max((p for p, k in WHERE.items() if k < length), default=0)
    assert not report.whole
    if kept < COUNT:
        assert kept + 1 in positions(report)


@settings(deadline=None)
@given(st.integers(0, len(EXPORT) - 1))
def test_any_removed_line_is_found(line: int) -> None:
    assert not verify(EXPORT[:line] + EXPORT[line + 1 :]).whole


@settings(deadline=None)
@given(st.integers(0, len(EXPORT) - 1), st.integers(0, len(EXPORT)))
def test_any_line_that_stands_twice_is_found(line: int, at: int) -> None:
    changed = list(EXPORT)
    changed.insert(at, EXPORT[line])
    assert not verify(changed).whole


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_byte_of_the_file_is_found(data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in EXPORT)
    at = data.draw(st.integers(0, len(whole) - 2))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
    changed = whole[:at] + bytes([new]) + whole[at + 1 :]
    verifier = Verifier(KEYS)
    verifier.read(
        "x", changed.splitlines(keepends=True) if b"\r" not in changed else _by_feed(changed)
    )
    assert not verifier.report().whole


def _by_feed(content: bytes) -> list[bytes]:
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(EXPORT) - 1), max_size=30))
def test_no_mix_of_lines_but_the_export_itself_is_whole(order: list[int]) -> None:
    mixed = [EXPORT[k] for k in order]
    assert verify(mixed).whole == (mixed == EXPORT)


def test_another_key_is_not_trusted_and_without_a_key_nothing_is_said_to_be() -> None:
    other = signing.keyring([signing.Signer(b"x" * 32).public_pem()])
    assert kinds(verify(EXPORT, keys=other)) == {Kind.UNTRUSTED}
    report = verify(EXPORT, keys={})
    assert (report.whole, report.trusted) == (True, False)


def test_a_forged_checkpoint_is_not_trusted() -> None:
    mallory = signing.Signer(b"m" * 32)
    changed = list(EXPORT)
    k = next(k for k, line in enumerate(EXPORT) if b'"checkpoint"' in line)
    said = {n: v for n, v in json.loads(EXPORT[k])["checkpoint"].items() if n != "key"}
    changed[k] = mallory.line("checkpoint", said)
    assert Kind.UNTRUSTED in kinds(verify(changed))
    changed[k] = changed[k].replace(mallory.key_id.encode(), SIGNER.key_id.encode())
    assert Kind.UNTRUSTED in kinds(verify(changed))


def segments() -> list[list[bytes]]:
    lines = body(COUNT)
    cut = next(k for k, line in enumerate(lines) if b'"number":2' in line) + 1
    return [framed(lines[:cut]), framed([lines[cut - 1], *lines[cut:]])]


def test_segments_are_whole_together_and_the_second_alone() -> None:
    first, second = segments()
    report = verify(first, second)
    assert report.whole
    assert (report.first, report.last, report.events) == (1, COUNT, COUNT)
    alone = verify(second)
    assert alone.whole
    assert alone.first == 9


def test_a_segment_that_is_missing_or_out_of_order_is_found() -> None:
    first, second = segments()
    assert not verify(second, first).whole
    lines = body(COUNT)
    third = framed(lines[-4:])
    assert Kind.REMOVED in kinds(verify(framed(lines[:5]), third))


def test_an_export_that_begins_later_says_so() -> None:
    report = verify(framed(body(COUNT)[2:]))
    assert report.whole
    assert report.remarks == ("The export begins at #3; what lies before is not in it.",)


def test_what_a_search_found_may_have_gaps_but_no_change() -> None:
    lines = [line for p, line in enumerate(chained([an_event(n) for n in range(9)])) if p % 2]
    lines.append(chain.event_line(an_event(50), None, None))
    found = framed(lines, selection={"actor": "ada"})
    report = verify(found)
    assert report.whole
    assert (report.events, report.unsealed) == (5, 1)
    for k in range(1, len(found) - 1):
        assert not verify(found[:k] + found[k + 1 :]).whole
        changed = list(found)
        changed[k] = changed[k].replace(b'"ada"', b'"eve"')
        assert not verify(changed).whole


def test_a_checkpoint_kept_elsewhere_finds_an_old_or_another_ledger() -> None:
    last = next(line for line in reversed(EXPORT) if b'"checkpoint"' in line)
    known = known_checkpoints([last + b"\n"], KEYS)
    assert verify(EXPORT, known=known).whole
    shorter = framed(body(8))
    assert (Kind.CUT_OFF, 9) in {
        (f.kind, f.position) for f in verify(shorter, known=known).findings
    }
    other = framed(body(8) + [b"x"][:0])
    assert verify(other, known={3: "f" * 64}).findings[0].position == 3
    with pytest.raises(ValueError, match="not signed with the key"):
        known_checkpoints([last.replace(b'"number":3', b'"number":4')], KEYS)
    with pytest.raises(ValueError, match="not a checkpoint"):
        known_checkpoints([EXPORT[1]], KEYS)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_rubbish_is_never_whole_and_never_an_accident(lines: list[bytes]) -> None:
    verifier = Verifier(KEYS)
    verifier.read("x", lines)
    assert not verifier.report().whole


@pytest.mark.parametrize("pem", [b"", b"rubbish", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_what_is_not_a_key_is_refused(pem: bytes) -> None:
    with pytest.raises(signing.NotAKey):
        signing.keyring([pem])
