"""Which requests wait for somebody, by one query: every page shows how many.

The same question as `selectors.waiting_for`, asked of the database, because with thousands of open
requests it may not load them all for one number in the corner. A test holds the two together.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from apps.approvals.domain import quorum
from apps.approvals.domain.quorum import Kind, Seat, Vote
from controlplane.kernel.actor import Actor, Grant, Role
from controlplane.kernel.clock import SystemClock

# `mine`: what the reader holds, and what those hold for whom the reader stands in now. Decisions
# come along only for requests that have some: the rest are empty, so any seat will do.
WAITING = """
    WITH mine AS (
        SELECT g.person_id, g.role, t.slug AS team, g.environment
        FROM accounts_rolegrant g LEFT JOIN accounts_team t ON t.id = g.team_id
        WHERE g.person_id = %(me)s OR g.person_id IN (
            SELECT d.person_id FROM approvals_delegation d
            WHERE d.substitute_id = %(me)s AND d.ended_at IS NULL
                AND d.starts_at <= %(now)s AND d.ends_at > %(now)s)
    ), said AS (
        SELECT d.request_id, jsonb_agg(jsonb_build_object(
            'person', d.person_id, 'seat_of', COALESCE(d.on_behalf_of_id, d.person_id),
            'kind', d.kind, 'digest', d.digest, 'at', d.created_at, 'grants', (
                SELECT COALESCE(jsonb_agg(jsonb_build_object(
                    'role', g.role, 'team', t.slug, 'environment', g.environment)), '[]')
                FROM accounts_rolegrant g LEFT JOIN accounts_team t ON t.id = g.team_id
                WHERE g.person_id = COALESCE(d.on_behalf_of_id, d.person_id))) ORDER BY d.id
        ) AS votes
        FROM approvals_decision d JOIN approvals_approvalrequest r ON r.id = d.request_id
        WHERE d.taken_back_at IS NULL AND r.state = 'open' GROUP BY d.request_id
    )
    SELECT r.id, CASE WHEN said.votes IS NULL THEN NULL ELSE jsonb_build_object(
        'votes', said.votes, 'seats', r.seats, 'digest', r.digest, 'excluded', r.excluded,
        'environment', e.slug, 'mine', (SELECT jsonb_agg(to_jsonb(m)) FROM mine m)) END
    FROM approvals_approvalrequest r
    JOIN environments_environment e ON e.id = r.environment_id
    JOIN accounts_team owner ON owner.id = r.team_id
    LEFT JOIN said ON said.request_id = r.id
    WHERE r.state = 'open' AND r.expires_at > %(now)s
        AND NOT r.excluded @> to_jsonb(%(me)s::bigint)
        AND EXISTS (
            SELECT 1 FROM mine m
            WHERE m.person_id = %(me)s AND (m.team IS NULL OR m.team = owner.slug))
        AND NOT EXISTS (
            SELECT 1 FROM approvals_decision d
            WHERE d.request_id = r.id AND d.person_id = %(me)s AND d.taken_back_at IS NULL)
        AND EXISTS (
            SELECT 1 FROM jsonb_array_elements(r.seats) seat JOIN mine m
                ON seat->'roles' ? m.role
                AND (seat->>'team' IS NULL OR m.team IS NULL OR m.team = seat->>'team')
                AND (m.environment IS NULL OR m.environment = e.slug)
                AND NOT r.excluded @> to_jsonb(m.person_id))
    ORDER BY r.id
"""


def requests(actor: Actor) -> list[int]:
    """Return the keys of the open requests in which the actor could fill an empty seat."""
    if actor.person_id is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(WAITING, {"me": actor.person_id, "now": SystemClock().now()})
        rows = cursor.fetchall()
    return [pk for pk, told in rows if told is None or _seat_left(_loaded(told))]


def count(actor: Actor) -> int:
    """Return how many requests wait for the actor."""
    return len(requests(actor))


def _loaded(told: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told) if isinstance(told, str) else told
    return found


def _seat_left(told: dict[str, Any]) -> bool:
    """Return whether one of the seats that the reader could fill is still empty."""
    seats = [
        Seat(s["title"], frozenset(Role(r) for r in s["roles"]), s["team"]) for s in told["seats"]
    ]
    filled = quorum.standing(
        seats,
        [_vote(v) for v in told["votes"]],
        digest=told["digest"],
        excluded=told["excluded"],
        environment=told["environment"],
    ).filled
    grants = [m for m in told["mine"] if m["person_id"] not in told["excluded"]]
    held = _grants(grants)
    return any(
        holder is None and seat.accepts(held, told["environment"])
        for seat, holder in zip(seats, filled, strict=True)
    )


def _vote(said: dict[str, Any]) -> Vote:
    return Vote(
        person=said["person"],
        seat_of=said["seat_of"],
        grants=frozenset(_grants(said["grants"])),
        kind=Kind(said["kind"]),
        digest=said["digest"],
        at=datetime.fromisoformat(said["at"]),
    )


def _grants(rows: Sequence[dict[str, Any]]) -> list[Grant]:
    return [Grant(Role(r["role"]), r["team"], r["environment"]) for r in rows]
