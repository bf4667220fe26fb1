"""docs/policies.md: the document in it reads as it says."""

import re
from pathlib import Path

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.policy import parse
from apps.gates.domain.policy_yaml import load

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "policies.md").read_text()


def test_the_document_on_the_page_is_a_policy() -> None:
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.S)
    assert found
    policy = parse(load(found[1]), catalogue=CATALOGUE)
    assert [seat.team for seat in policy.approvals.seats] == ["owner", None]
    assert policy.minimum_score == 1


def test_every_page_that_governance_names_is_about_something_that_exists() -> None:
    governance = (Path(__file__).resolve().parents[3] / "docs" / "governance.md").read_text()
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", governance))
    assert named
    assert named <= set(CATALOGUE)
