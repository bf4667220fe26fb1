import collections
import os
import pickle
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from workers.toolchain import vouched
from workers.toolchain.vouched import Trust
from workers.toolchain.walk import Malformed, Walk, follow, pickles_in

MARK = Path("/tmp/modelyard-walk-ran-code")


class Evil:
    def __init__(self, function: Any = os.system, *arguments: Any) -> None:
        self.made = (function, arguments or (f"touch {MARK}",))

    def __reduce__(self) -> Any:
        return self.made


def model() -> LogisticRegression:
    return LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])


def unsafe(walk: Walk) -> list[str]:
    return [f"{m}.{n}" for m, n in walk.names if vouched.trust(m, n) is Trust.UNSAFE]


@pytest.fixture(autouse=True)
def nothing_ran() -> Any:
    MARK.unlink(missing_ok=True)
    yield
    assert not MARK.exists(), "the scan ran the pickle's code"


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_call_behind_joblibs_arrays_is_found(
    tmp_path: Path, compress: Any, protocol: int
) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump({"model": model(), "evil": Evil()}, path, compress=compress, protocol=protocol)
    assert unsafe(follow(path)) == ["posix.system"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (Evil(os.system, "true"), "posix.system"),
        (Evil(eval, "1"), "builtins.eval"),
        (Evil(exec, "1"), "builtins.exec"),
        (Evil(getattr, os, "x"), "builtins.getattr"),
        (Evil(subprocess.Popen, ["true"]), "subprocess.Popen"),
        (Evil(joblib.load, "x"), "joblib.numpy_pickle.load"),
        (Evil(np.load, "x"), "numpy.load"),
    ],
)
def test_names_that_run_code_are_unsafe(
    tmp_path: Path, protocol: int, evil: Evil, named: str
) -> None:
    path = tmp_path / "m.pkl"
    if evil.made[0] is getattr:
        evil.made = (getattr, (str, "join"))
    path.write_bytes(pickle.dumps([model(), evil], protocol=protocol))
    assert named in unsafe(follow(path))


def test_an_honest_model_is_vouched_for(tmp_path: Path) -> None:
    joblib.dump(model(), tmp_path / "m.joblib")
    walk = follow(tmp_path / "m.joblib")
    assert {vouched.trust(m, n) for m, n in walk.names} == {Trust.SAFE}
    assert walk.uses_joblib
    assert walk.library.count(".") == 2


def test_a_name_reached_through_another_is_unsafe() -> None:
    assert vouched.trust("sklearn.utils", "os.system") is Trust.UNSAFE
    assert vouched.trust("joblib.numpy_pickle", "NumpyArrayWrapper.read") is Trust.UNSAFE


def test_what_a_library_merely_imports_is_not_vouched_for() -> None:
    assert vouched.trust("sklearn.datasets._base", "urlretrieve") is Trust.UNKNOWN
    assert vouched.trust("sklearn.base", "BaseEstimator") is Trust.SAFE
    assert vouched.trust("my_company.models", "Net") is Trust.UNKNOWN


def test_the_array_class_may_not_be_smuggled_through_another_callable(tmp_path: Path) -> None:
    # copyreg._reconstructor(NumpyArrayWrapper, object, None) would skip bytes in joblib alone.
    path = tmp_path / "m.pkl"
    path.write_bytes(
        b"ccopyreg\n_reconstructor\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
        b"c__builtin__\nobject\nNtR."
    )
    with pytest.raises(Malformed, match="array class"):
        follow(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"\x80\x05K", b"hello", b"\x80\x04]("])
def test_what_is_cut_off_is_not_called_clean(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    with pytest.raises(Malformed):
        follow(path)


def test_a_pickle_inside_a_numpy_file_of_objects_is_walked(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.eye(2))
    assert unsafe(next(pickles_in(tmp_path / "a.npy"))[1]) == ["posix.system"]
    assert list(pickles_in(tmp_path / "b.npy")) == []


def test_an_array_that_breaks_off_is_malformed(tmp_path: Path) -> None:
    joblib.dump(np.arange(1000.0), tmp_path / "whole.joblib")
    content = (tmp_path / "whole.joblib").read_bytes()
    (tmp_path / "cut.joblib").write_bytes(content[:-600])
    with pytest.raises(Malformed):
        follow(tmp_path / "cut.joblib")


def test_plain_values_of_every_protocol_are_followed(tmp_path: Path) -> None:
    value = {"a": [1, (2.0, b"3")], "o": collections.OrderedDict(x={1, 2}), "d": np.dtype("f4")}
    for protocol in range(6):
        content = pickletools.optimize(pickle.dumps(value, protocol=protocol))
        (tmp_path / "v.pkl").write_bytes(content)
        assert unsafe(follow(tmp_path / "v.pkl")) == []
