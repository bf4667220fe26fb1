from importlib import metadata

import pytest

from apps.gates.domain import licences
from apps.gates.programs.artifact import PIN, lock_lines
from apps.gates.programs.licences import installed


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("mit", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("Apache-2.0 AND GPL-3.0-only", False),
        ("(GPL-3.0-only OR MIT) AND BSD-3-Clause", True),
        ("(GPL-3.0-only AND MIT) OR AGPL-3.0-only", False),
        ("MIT OR GPL-3.0-only AND AGPL-3.0-only", True),  # AND binds closer
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only WITH Classpath-exception-2.0", False),
        ("", False),
        ("(MIT", False),
        ("MIT MIT", False),
        ("MIT AND", False),
    ],
)
def test_an_expression_is_met_by_licences_of_the_list(expression: str, expected: bool) -> None:
    assert licences.is_allowed(expression) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("MIT AND Zlib", "", []), "MIT AND Zlib"),
        (("", "3-Clause BSD License", []), "BSD-3-Clause"),
        (("", "Dual License", ["BSD License", "Apache Software License"]),
         "BSD-3-Clause OR Apache-2.0"),
        (("", "Copyright somebody, all rights reserved", []), ""),
        (("", "", ["BSD License", "Other/Proprietary License"]), ""),
    ],
)  # fmt: skip
def test_what_a_package_says_becomes_a_name_or_nothing(
    said: tuple[str, str, list[str]], expected: str
) -> None:
    assert licences.spdx(*said) == expected


def test_only_just_the_installed_version_is_spoken_for() -> None:
    version = metadata.version("scikit-learn")
    assert installed("scikit-learn", version) == "BSD-3-Clause"
    assert installed("scikit-learn", "0.0.1") == ""
    assert installed("no-such-package-here", "1") == ""


def test_a_lock_file_is_read_with_its_hashes_and_without_its_comments() -> None:
    text = (
        "# locked\nnumpy==2.1.0 \\\n    --hash=sha256:aa\njoblib==1.6.0  # via sklearn\nscipy>=1\n"
    )
    lines = lock_lines(text)
    assert lines == ["numpy==2.1.0 --hash=sha256:aa", "joblib==1.6.0", "scipy>=1"]
    assert [bool(PIN.match(line)) for line in lines] == [True, True, False]
