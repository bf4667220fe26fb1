"""Deciding by its first bytes what a file is, and having the right reader read it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO

from apps.registry.domain.inspect import (
    archives,
    mlmodel,
    onnx,
    savedmodel,
    sklearn,
    tensors,
    torch,
    trees,
)
from apps.registry.domain.inspect.reading import Unreadable
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Format
from controlplane.kernel.errors import Invalid

HEAD = 4096
EXPECTED = (
    "an ONNX model, a scikit-learn joblib or pickle file, an XGBoost (.json, .ubj) or LightGBM "
    "(.txt) model, a PyTorch exported program or TorchScript, safetensors, GGUF, or a zip or "
    "tar.gz of an MLflow model or a TensorFlow SavedModel"
)
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
Open = Callable[[], AbstractContextManager[BinaryIO]]


class UnknownFormat(Invalid):
    """The bytes are none of the formats that can be registered."""

    code = "registry.format_unknown"


MARKED: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO], Inspected]], ...] = (
    (lambda head: head[:4] == b"GGUF", tensors.gguf),
    (
        lambda head: head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"),
        sklearn.inspect,
    ),
    (trees.looks_like_lightgbm, trees.lightgbm),
    (trees.looks_like_xgboost_ubj, trees.xgboost_ubj),
    (trees.looks_like_xgboost_json, trees.xgboost_json),
    (tensors.looks_like_safetensors, tensors.safetensors),
)


def unknown(why: str = "") -> UnknownFormat:
    """Return the error that names what was expected."""
    return UnknownFormat(
        f"This file is not a model that can be registered{': ' + why if why else ''}.",
        remedy=f"Upload {EXPECTED}.",
        field="upload",
    )


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins with `head` is compressed as a whole."""
    return head.startswith(COMPRESSED)


def inspect_file(stream: BinaryIO) -> Inspected:
    """Return what one file, neither archived nor compressed, says.

    Raises:
        Unreadable: It begins as something and goes wrong.
        UnknownFormat: It begins as nothing that is known.
    """
    stream.seek(0)
    head = stream.read(HEAD)
    if not head:
        raise unknown("it is empty")
    if head[:4] == b"PK\x03\x04":
        found = torch.inspect(stream, archives.zip_names(stream))
        if found is not None:
            return found
        raise unknown("it is a zip file without a model in it")
    for fits, read in MARKED:
        if fits(head):
            return read(stream)
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        raise unknown("it is an HDF5 file; export a Keras model as a SavedModel or as ONNX")
    return _by_trial(stream, head)


def _by_trial(stream: BinaryIO, head: bytes) -> Inspected:
    """Read formats that have no mark of their own."""
    if head[:1] in (b"\x08", b"\x12", b"\x3a", b"\x42", b"\x1a"):  # a field of an ONNX model
        return onnx.inspect(stream)
    if head[:1] in (b"(", b"c", b"]", b"}", b"i"):  # a pickle of protocol 0 or 1
        try:
            return sklearn.inspect(stream)
        except Unreadable as error:
            raise unknown() from error
    raise unknown()


def inspect_set(files: Mapping[str, Open]) -> Inspected:
    """Return what the files of one version say together.

    Args:
        files: How to open each file, by its path in the version.

    Raises:
        Invalid: They are not one model.
    """
    if "MLmodel" in files:
        return _mlflow(files)
    if "saved_model.pb" in files:
        with files["saved_model.pb"]() as stream:
            return savedmodel.inspect(stream)
    return _main_file(files)


def _mlflow(files: Mapping[str, Open]) -> Inspected:
    requirements = b""
    if "requirements.txt" in files:
        with files["requirements.txt"]() as stream:
            requirements = stream.read(mlmodel.LARGEST)
    with files["MLmodel"]() as stream:
        return mlmodel.inspect(stream.read(mlmodel.LARGEST + 1), requirements=requirements)


def _main_file(files: Mapping[str, Open]) -> Inspected:
    """Find the one file among several that is the model; the others go with it."""
    found: dict[str, Inspected] = {}
    problem: Invalid | None = None
    for path in sorted(files):
        with files[path]() as stream:
            try:
                found[path] = inspect_file(stream)
            except UnknownFormat as error:
                problem = problem or (error if len(files) == 1 else None)
            except Invalid as error:
                problem = error
    mains = _mains(found)
    if not mains:
        raise problem or unknown("none of the files is a model")
    if len(mains) > 1 and found[mains[0]].format not in (Format.SAFETENSORS, Format.GGUF):
        raise Invalid(
            f"Several of the files are models: {', '.join(mains[:5])}.",
            remedy="Register each as a version of its own, or pack an MLflow model.",
            field="uploads",
            code="registry.several_models",
        )
    main = found[mains[0]]
    if len(files) == 1 and not main.facts.get("external_data"):
        return main
    _refuse_missing_data(main, mains[0], files)
    return Inspected(**{**main.__dict__, "facts": {**main.facts, "entry": mains[0]}})


def _mains(found: Mapping[str, Inspected]) -> list[str]:
    """Return the paths that may be the model: a stronger format before weights and pickles."""
    weak = (Format.SAFETENSORS, Format.GGUF, Format.PICKLE)
    strong = [path for path, seen in found.items() if seen.format not in weak]
    return strong or list(found)


def _refuse_missing_data(main: Inspected, path: str, files: Iterable[str]) -> None:
    """Refuse an ONNX model whose weights lie in a file that is not among `files`."""
    folder = path.rpartition("/")[0]
    places = main.facts.get("external_data", {})
    have = set(files)
    for location in places:
        if (f"{folder}/{location}" if folder else location) not in have:
            raise Invalid(
                f"The ONNX model keeps weights in {location[:120]!r}, which is not here.",
                remedy="Upload that file too, under that path, or save the model in one file.",
                field="uploads",
                code="model.external_data_missing",
            )
