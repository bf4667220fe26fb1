"""Held-out inputs: the ones that were given, or drawn from what the model says of itself.

A drawn sample says how it was drawn. It is fixed by its seed, so the same version is always
proved on the same rows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.toolchain.estimators import parts_of, text_columns
from workers.toolchain.model import Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import NUMPY_OF, Arrays, Signature, typed

SEED = 7
ROWS = 512
FREE = 16  # what a free dimension behind the batch becomes
LARGEST = 48 * 1024**2  # bytes of drawn inputs
FEWEST = 8


@dataclass(frozen=True)
class Samples:
    """Inputs to prove on.

    Attributes:
        arrays: By input name; the first axis is the batch.
        source: given or drawn.
        told: One sentence for the proof sheet.
    """

    arrays: dict[str, NDArray[Any]]
    source: str
    told: str


def obtain(native: Native, given: Path | None) -> Samples:
    """Return the samples in `given`, or draw them.

    Raises:
        BuildFailed: The file cannot be read or does not fit the model (`build.samples`).
    """
    if given is None:
        return _draw(native)
    try:
        arrays = _fit(_read(given, native), native.inputs, native.names)
    except (ValueError, KeyError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise _bad(given, str(error)) from error
    rows = len(next(iter(arrays.values())))
    if not rows:
        raise _bad(given, "it has no rows")
    return Samples(arrays, "given", f"{rows} held-out rows from {given.name}.")


def _bad(given: Path, why: str) -> BuildFailed:
    return BuildFailed(
        "build.samples",
        f"The held-out inputs in {given.name} do not fit the model: {why}.",
        "Give a .csv with a header, .npy, .npz or .json file with one column or array for each "
        "input of the model.",
    )


def _read(path: Path, native: Native) -> dict[str, NDArray[Any]]:
    only = native.inputs[0]["name"]
    match path.suffix.lower():
        case ".npy":
            return {only: np.load(path, allow_pickle=False)}
        case ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        case ".csv":
            return _read_csv(path)
        case ".json":
            return _read_json(json.loads(path.read_bytes()), only)
        case suffix:
            raise ValueError(f"{suffix or 'a file without a suffix'} is not a known kind of file")


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    import pandas

    table = pandas.read_csv(path)
    return {str(name): table[name].to_numpy() for name in table.columns}


def _read_json(body: Any, only: str) -> dict[str, NDArray[Any]]:
    """Read an Open Inference request, columns by name, or a list of rows."""
    if isinstance(body, dict) and "inputs" in body:
        return {str(i["name"]): np.asarray(i["data"]).reshape(i["shape"]) for i in body["inputs"]}
    if isinstance(body, dict):
        return {str(name): np.asarray(values) for name, values in body.items()}
    return {only: np.asarray(body)}


def _fit(
    read: dict[str, NDArray[Any]], inputs: Signature, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return what was read as the model's inputs: columns joined to a table where it takes one."""
    if len(inputs) == 1 and inputs[0]["name"] not in read and len(read) > 1:
        order = list(names) or list(read)
        missing = [name for name in order if name not in read]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        width = inputs[0]["shape"][-1]
        if not names and len(order) == width + 1:
            order = order[:width]  # a last column that the model does not take: the target
        read = {inputs[0]["name"]: np.column_stack([read[name] for name in order])}
    if len(inputs) == 1 and len(read) == 1:
        read = {inputs[0]["name"]: next(iter(read.values()))}
    return {i["name"]: _shape(typed(read[i["name"]], i["datatype"]), i) for i in inputs}


def _shape(array: NDArray[Any], entry: dict[str, Any]) -> NDArray[Any]:
    shape = entry["shape"]
    if array.ndim == 1 and len(shape) == 2:
        array = array.reshape(len(array), 1)
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"{entry['name']} has the shape {array.shape}, not {tuple(shape)}")
    return array


def _draw(native: Native) -> Samples:
    random = np.random.default_rng(SEED)
    rows = _rows(native.inputs)
    ranges = _ranges(native)
    words = text_columns(native.raw) if native.flavor == "sklearn" else {}
    arrays = {
        entry["name"]: _one(random, rows, entry, ranges, words.get(entry["name"]), native)
        for entry in native.inputs
    }
    how = "around the values it saw in training" if ranges else "from a standard normal"
    told = f"{rows} rows drawn {how} (seed {SEED}); give held-out rows for a proof on real data."
    return Samples(arrays, "drawn", told)


def _rows(inputs: Signature) -> int:
    row = sum(
        int(np.prod([size if size > 0 else FREE for size in entry["shape"][1:]], dtype=np.int64))
        * 8
        for entry in inputs
    )
    fixed = max((e["shape"][0] for e in inputs if e["shape"]), default=-1)
    rows = int(min(ROWS, max(FEWEST, LARGEST // max(row, 1))))
    return rows if fixed <= 1 else max(rows // fixed, 1) * fixed


def _one(
    random: np.random.Generator,
    rows: int,
    entry: dict[str, Any],
    ranges: dict[int, tuple[float, float]],
    words: list[Any] | None,
    native: Native,
) -> NDArray[Any]:
    shape = (rows, *[size if size > 0 else FREE for size in entry["shape"][1:]])
    datatype = entry["datatype"]
    if datatype == "BYTES":
        return random.choice(np.array(words or ["a", "b", "c"], dtype=object), size=shape)
    if datatype == "BOOL":
        return random.random(shape) < 0.5
    if not datatype.startswith("FP"):
        return random.integers(0, 10, size=shape).astype(NUMPY_OF[datatype])
    drawn = random.standard_normal(shape)
    if native.columns:
        place = list(native.names).index(entry["name"]) if entry["name"] in native.names else -1
        if place in ranges:
            centre, spread = ranges[place]
            drawn = centre + spread * drawn
    elif len(shape) == 2:
        for place, (centre, spread) in ranges.items():
            if place < shape[1]:
                drawn[:, place] = centre + spread * drawn[:, place]
    return drawn.astype(NUMPY_OF[datatype])


def _ranges(native: Native) -> dict[int, tuple[float, float]]:
    """Return the centre and spread of each feature, as far as the model remembers them."""
    match native.flavor:
        case "sklearn":
            return _estimator_ranges(native)
        case "xgboost":
            table = native.raw.trees_to_dataframe()
            splits = table[table["Feature"] != "Leaf"]
            names = list(native.raw.feature_names or ())
            pairs = zip(splits["Feature"], splits["Split"], strict=True)
            return _from_splits((_place(feature, names), split) for feature, split in pairs)
        case "lightgbm":
            return _lightgbm_ranges(native.raw)
        case _:
            return {}


def _place(feature: Any, names: list[str]) -> int:
    return names.index(feature) if feature in names else int(str(feature).lstrip("f"))


def _estimator_ranges(native: Native) -> dict[int, tuple[float, float]]:
    """Look for a scaler that sees the raw columns first, and for the splits of trees."""
    columns = list(native.names)
    found: dict[int, tuple[float, float]] = {}
    splits: list[tuple[int, float]] = []
    for part in parts_of(native.raw):
        for _, transformer, chosen in getattr(part, "transformers_", []):
            for inner in parts_of(transformer):
                for name, centred in zip(np.atleast_1d(chosen), _scaled(inner), strict=False):
                    if str(name) in columns:
                        found[columns.index(str(name))] = centred
        if not found:
            found = dict(enumerate(_scaled(part)))
        tree = getattr(part, "tree_", None)
        if tree is not None:
            inner_nodes = tree.feature >= 0
            pairs = zip(tree.feature[inner_nodes], tree.threshold[inner_nodes], strict=True)
            splits += [(int(feature), float(split)) for feature, split in pairs]
    return found or _from_splits(splits)


def _scaled(part: Any) -> list[tuple[float, float]]:
    if hasattr(part, "mean_") and hasattr(part, "var_") and part.var_ is not None:
        spread = np.sqrt(np.maximum(part.var_, 1e-12))
        return [(float(m), float(s)) for m, s in zip(part.mean_, spread, strict=True)]
    if hasattr(part, "data_min_"):
        middle, half = (part.data_min_ + part.data_max_) / 2, part.data_range_ / 4
        return [(float(m), float(h)) for m, h in zip(middle, half, strict=True)]
    return []


def _from_splits(splits: Iterable[tuple[int, float]]) -> dict[int, tuple[float, float]]:
    """Return ranges that reach both sides of every split a tree makes."""
    by_feature: dict[int, list[float]] = {}
    for feature, split in splits:
        by_feature.setdefault(feature, []).append(float(split))
    return {
        feature: (
            float(np.mean(values)),
            float(np.std(values)) or abs(float(np.mean(values))) or 1,
        )
        for feature, values in by_feature.items()
    }


def _lightgbm_ranges(booster: Any) -> dict[int, tuple[float, float]]:
    infos = booster.dump_model(num_iteration=1).get("feature_infos", {})
    found = {}
    for place, name in enumerate(booster.feature_name()):
        info = infos.get(name, {})
        low, high = info.get("min_value"), info.get("max_value")
        if low is not None and high is not None and not info.get("values"):
            found[place] = ((low + high) / 2, max((high - low) / 4, 1e-6))
    return found


def subset(arrays: Arrays, rows: int) -> dict[str, NDArray[Any]]:
    """Return the first `rows` rows."""
    return {name: array[:rows] for name, array in arrays.items()}
