from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.template import engines

from controlplane.http.templatetags import components

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script>'


def render(source: str, **context: object) -> str:
    return str(engines["django"].from_string(source).render(context))


def test_a_badge_says_the_state_in_the_attribute_and_in_words() -> None:
    assert components.badge("rolling_back") == (
        '<span class="badge" data-state="rolling_back">Rolling back</span>'
    )


@pytest.mark.parametrize(
    "markup",
    [
        components.badge(HOSTILE, HOSTILE, HOSTILE),
        components.icon(HOSTILE, HOSTILE),
        components.state_icon(HOSTILE),
        components.state_word(HOSTILE),
        components.signal(HOSTILE),
        components.digest(HOSTILE, HOSTILE, of=HOSTILE),
        components.meter(10, HOSTILE, HOSTILE),
        components.sparkline([1, 2], HOSTILE, HOSTILE),
        components.segments([HOSTILE], HOSTILE),
        components.figure(1, HOSTILE),
        components.count(1, HOSTILE),
        components.plot({"data": [HOSTILE]}, "p", HOSTILE),
        components.markdown(HOSTILE),
        components.markdown("[x](javascript:alert(1)) <img src=x onerror=alert(1)>"),
    ],
)
def test_whatever_is_given_comes_out_escaped(markup: str) -> None:
    assert "<script>alert" not in markup
    assert "<img" not in markup
    assert 'href="javascript' not in markup


def test_two_digests_that_differ_look_different() -> None:
    one, other = components.digest("sha256:" + "0" * 64), components.digest("sha256:" + "f" * 64)
    assert one.count("v-2.0") == 16  # sixteen low bars
    assert other.count("v-14.0") == 16
    assert "data-copy=" in one


def test_a_digest_that_is_not_known_says_so() -> None:
    assert "not known" in components.digest("")


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=59), "59\u202fs ago"),
        (timedelta(minutes=90), "1\u202fh ago"),
        (timedelta(days=3), "3\u202fd ago"),
        (timedelta(days=800), "2\u202fy ago"),
        (timedelta(hours=-2), "in 2\u202fh"),
    ],
)
def test_how_long_ago(passed: timedelta, words: str) -> None:
    markup = components.ago(NOW - passed, NOW)
    assert words in markup
    assert 'datetime="' in markup


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0421, "42\u202fms"),
        (4.25, "4.2\u202fs"),
        (59.9, "59\u202fs"),
        (125, "2\u202fmin 5\u202fs"),
        (3600, "1\u202fh"),
        (90061, "1\u202fd 1\u202fh"),
    ],
)
def test_a_length_of_time_has_at_most_two_units(seconds: float, words: str) -> None:
    assert components.duration(seconds) == words


def test_silence_is_said_and_never_zero() -> None:
    assert "no data" in components.figure(None, "ms")
    assert "no data" in components.percent(None)
    assert "no data" in components.bytes_tag(None)
    assert "no data" in components.sparkline([None, None, 3])
    assert components.figure(0, "ms") == "0\u202fms"


def test_a_sparkline_breaks_where_it_was_silent() -> None:
    assert components.sparkline([1, 2, None, 3, 4]).count("M") == 2


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0"), (999, "999"), (1000, "1.0"), (51_400_000, "51.4"), (999_600, "1.0"), (5e9, "5.0")],
)
def test_bytes_are_said_in_the_unit_a_person_would_choose(size: float, words: str) -> None:
    assert components.sized(size).startswith(words + "\u202f")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.000002, "2e-6"), (3.14159, "3.14"), (12345.6, "12,346"), (99.96, "100"), (-0.5, "-0.5")],
)
def test_figures_keep_three_significant_digits(value: float, words: str) -> None:
    assert components.rounded(value) == words


def test_a_share_is_a_percentage() -> None:
    assert components.percent(0.0031) == "0.31\u202f%"
    assert components.percent(1.0) == "100\u202f%"
    whole = [components.percent(share, 0) for share in (0, 0.001, 0.1, 1)]
    assert whole == ["0\u202f%", "0\u202f%", "10\u202f%", "100\u202f%"]


def test_a_meter_never_overflows_its_well() -> None:
    assert 'width="100.0%"' in components.meter(400)
    assert 'width="0.0%"' in components.meter(-3)


def test_a_figures_data_cannot_close_its_script() -> None:
    markup = components.plot({"data": ["</script>"]}, "front", "the finding")
    assert markup.count("</script>") == 1
    assert "\\u003c/script\\u003e" in markup


def test_markdown_keeps_tables_and_drops_html() -> None:
    html = components.markdown("# Card\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<b onclick=x>no</b>")
    assert "<h1>Card</h1>" in html
    assert "<table>" in html
    assert "<b" not in html.replace("<blockquote", "")


def test_a_field_ties_its_error_to_its_input() -> None:
    class Form(forms.Form):
        name = forms.CharField(help_text="Small letters.")

    page = render("{% field form.name %}", form=Form({"name": ""}))
    assert 'aria-invalid="true"' in page
    assert 'aria-describedby="id_name-hint id_name-error"' in page
    assert 'id="id_name-error"' in page
