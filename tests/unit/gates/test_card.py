import pytest

from apps.gates.domain import card

WHOLE = """# Fraud score

## Intended use
Scores card payments in Europe.

## Training data
### Source
Three months of payments, labelled by chargebacks.

## EVALUATION on held-out weeks
AUC 0.97 on the last week.

Limitations
## Limitations
Not for cash withdrawals.
"""


def test_a_card_with_every_section_is_complete() -> None:
    assert card.missing(WHOLE) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", list(card.SECTIONS)),
        (WHOLE.replace("Not for cash withdrawals.", ""), ["Limitations"]),
        (WHOLE.replace("## Training data", "Training data"), ["Training data"]),
        (f"```\n{WHOLE}\n```", list(card.SECTIONS)),
    ],
)
def test_a_heading_without_words_is_no_section(text: str, missing: list[str]) -> None:
    assert card.missing(text) == missing


def test_the_policy_may_ask_for_other_sections() -> None:
    assert card.missing("# Owner\nteam fraud, room 3", ["Owner", "Ethics"]) == ["Ethics"]
