from apps.registry.domain import mirrored


def test_only_tags_that_mlflow_takes_are_sent() -> None:
    assert mirrored.tags(
        {"a b": "1", "mlflow.x": "2", "ü": "3", "a\tb": "4", "long": "x" * 6000}
    ) == {
        "a b": "1",
        "ü": "3",
        "long": "x" * 5000,
    }


def test_requirements_come_from_the_files_first_then_from_the_framework() -> None:
    assert mirrored.requirements({"requirements": ["a==1"]}, "scikit-learn 1.9.1") == ["a==1"]
    assert mirrored.requirements({}, "scikit-learn 1.9.1") == ["scikit-learn==1.9.1"]
    assert mirrored.requirements({}, "PyTorch 2.9.0") == ["torch==2.9.0"]


def test_a_framework_that_is_no_requirement_gives_none() -> None:
    for framework in ("", "GGUF llama", "scikit-learn", "x; rm 1.0", "a 1.0 --index-url=http://x"):
        assert mirrored.requirements({}, framework) == []
