"""Policies as YAML, for a file beside the code: pure, no more than text in and text out.

    policies:
    - environment: production
      risk_tier: high
      policy:
        gates: [...]

One policy may stand alone, without the list around it.
"""

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from apps.gates.domain.places import CODE, Fields, Place
from controlplane.kernel.errors import Invalid

LARGEST = 256 * 1024  # characters; the policies of twenty environments take some 100 KB
MOST = 200
MAPPING = "tag:yaml.org,2002:map"


@dataclass(frozen=True)
class PolicyFile:
    """One policy of a file: where it rules, and what it says.

    Attributes:
        environment: The slug.
        risk_tier: The tier.
        document: For `gates.domain.policy.parse`.
        path: Its place in the file ("policies[2]"), for complaints; empty when it stands alone.
    """

    environment: str
    risk_tier: str
    document: object
    path: str = ""


def write(policies: Iterable[PolicyFile]) -> str:
    """Return several policies as one YAML text."""
    return _dump({"policies": [_entry(policy) for policy in policies]})


def write_one(policy: PolicyFile) -> str:
    """Return one policy as YAML."""
    return _dump(_entry(policy))


def write_document(document: object) -> str:
    """Return what a policy says as YAML, without where it rules."""
    return _dump(_tidy(document))


def read(text: str) -> tuple[PolicyFile, ...]:
    """Return the policies of a YAML text, one or several; what they say is not looked at yet.

    Raises:
        Invalid: It is not YAML, or says not which environment and risk tier it is about.
    """
    return policies_in(load(text))


def policies_in(value: object) -> tuple[PolicyFile, ...]:
    """Return the policies of a document that was read, one or several.

    Raises:
        Invalid: It does not say which environment and risk tier each is about.
    """
    whole = Place(value)
    if not isinstance(value, dict) or "policies" not in value:
        return (_policy(whole),)
    listed = list(whole.fields(("policies",))["policies"].items("policies"))
    if not 0 < len(listed) <= MOST:
        whole.fields(("policies",))["policies"].refuse(f"Write 1 to {MOST} policies.")
    return tuple(_policy(place) for place in listed)


def load(text: str) -> object:
    """Return what a YAML text says, as plain values.

    Aliases and doubled names are refused: both make a text say something else than it seems to.

    Raises:
        Invalid: It is not such YAML; the remedy names line and column.
    """
    if len(text) > LARGEST:
        _refuse(f"The text has {len(text)} characters.", f"At most {LARGEST} are read.")
    try:
        return yaml.load(text, Loader=_Strict)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        _refuse(f"This is not YAML{where}: {error.problem}.", "Mend that line.")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _refuse(f"This is not YAML: {type(error).__name__}.", "Write plain names and values.")


def digest(text: str) -> str:
    """Return the sha256 of a text, to tell whether it is the one that was checked."""
    return hashlib.sha256(text.encode()).hexdigest()


class _Strict(yaml.SafeLoader):
    """Safe YAML without aliases and without doubled names."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias: a few lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a name that stands there twice."""
        seen = set()
        for key, _ in node.value:
            name = getattr(key, "value", None)
            if isinstance(name, str) and name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{name[:60]!r} stands there twice", problem_mark=key.start_mark
                )
            seen.add(name if isinstance(name, str) else id(key))
        return super().construct_mapping(node, deep)


class _Line(dict[str, object]):
    """Names and values that are written on one line."""


class _Plain(yaml.SafeDumper):
    """Writes no aliases, and a gate or a seat on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: the same list twice is written twice."""
        return True


_Plain.add_representer(
    _Line, lambda dumper, data: dumper.represent_mapping(MAPPING, data, flow_style=True)
)


def _policy(place: Place) -> PolicyFile:
    said: Fields = place.fields(("environment", "risk_tier", "policy"))
    return PolicyFile(
        environment=said["environment"].text(40),
        risk_tier=said["risk_tier"].text(8),
        document=said["policy"].value,
        path=said["policy"].path,
    )


def _entry(policy: PolicyFile) -> dict[str, object]:
    return {
        "environment": policy.environment,
        "risk_tier": policy.risk_tier,
        "policy": _tidy(policy.document),
    }


def _tidy(document: object) -> object:
    """Return a policy's document with gates and seats on a line each, and nothing idle in them."""
    match document:
        case {"gates": list(gates), "approvals": {"seats": list(seats)} as approvals, **rest}:
            rules = [_Line({k: v for k, v in g.items() if v not in (None, {})}) for g in gates]
            named = {**approvals, "seats": [_Line(seat) for seat in seats]}
            return {"gates": rules, "approvals": named, **rest}
    return document


def _dump(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    return text


def _refuse(sentence: str, remedy: str) -> NoReturn:
    raise Invalid(sentence, remedy=remedy, field="document", code=CODE)
