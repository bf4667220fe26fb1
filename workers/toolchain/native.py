"""Loads a version as the library that made it does, and asks it for reference answers.

This runs the model's own code. It happens only inside the sandbox, and only after the scan.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.mlmodel import entry_file
from controlplane.kernel.errors import Invalid
from workers.toolchain import boosters, estimators, flavors
from workers.toolchain.model import Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import Signature


def load(files: Path, format: str, inputs: Signature) -> Native:
    """Load the model in `files`.

    Args:
        files: The folder with the version's files.
        format: How they are written.
        inputs: The registered signature; empty when it is not known.

    Raises:
        BuildFailed: It does not load (`build.does_not_load`), its library is not installed
            (`build.library_missing`), or nothing here reads the format (`build.format`).
    """
    loader = LOADERS.get(format)
    if loader is None:
        raise BuildFailed(
            "build.format",
            f"Modelyard keeps {format} files and cannot run them yet.",
            "Export the model to ONNX, and register that.",
        )
    try:
        return loader(files, inputs)
    except (BuildFailed, MemoryError):
        raise
    except Invalid as error:
        raise BuildFailed("build.does_not_load", error.sentence, error.remedy) from error
    except ModuleNotFoundError as error:
        raise BuildFailed(
            "build.library_missing",
            f"The model needs the Python module {error.name}, which is not installed here.",
            f"Install {error.name} where the builds run (for torch: the extra modelyard[torch]), "
            "or register the model as ONNX.",
        ) from error
    except Exception as error:
        raise BuildFailed(
            "build.does_not_load",
            f"The model does not load: {type(error).__name__}: {_short(error)}.",
            "Load it yourself with the library versions named in the log, save it again with "
            "these, and register that file.",
        ) from error


def library_versions(modules: Sequence[str]) -> dict[str, str]:
    """Return the installed version of the distribution behind each module."""
    providers = packages_distributions()
    return {
        distribution: version(distribution)
        for module in modules
        for distribution in providers.get(module, [])[:1]
    }


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _sklearn(files: Path, inputs: Signature) -> Native:
    return estimators.of_estimator(estimators.unpickle(entry_file(files, Format.SKLEARN)), inputs)


def _pickle(files: Path, inputs: Signature) -> Native:
    return estimators.of_estimator(estimators.unpickle(entry_file(files, Format.PICKLE)), inputs)


def _xgboost(files: Path, inputs: Signature) -> Native:
    return boosters.of_xgboost(entry_file(files, Format.XGBOOST), inputs)


def _lightgbm(files: Path, inputs: Signature) -> Native:
    return boosters.of_lightgbm(entry_file(files, Format.LIGHTGBM), inputs)


def _onnx(files: Path, inputs: Signature) -> Native:
    from workers.toolchain import ort

    return ort.of_onnx(entry_file(files, Format.ONNX))


def _torch_export(files: Path, inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_exported(entry_file(files, Format.TORCH_EXPORT), inputs)


def _torchscript(files: Path, inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_script(entry_file(files, Format.TORCHSCRIPT), inputs)


LOADERS: dict[str, Callable[[Path, Signature], Native]] = {
    Format.SKLEARN: _sklearn,
    Format.PICKLE: _pickle,
    Format.XGBOOST: _xgboost,
    Format.LIGHTGBM: _lightgbm,
    Format.ONNX: _onnx,
    Format.TORCH_EXPORT: _torch_export,
    Format.TORCHSCRIPT: _torchscript,
    Format.MLFLOW: flavors.of_folder,
}
