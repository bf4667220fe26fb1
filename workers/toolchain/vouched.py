"""What a pickle may import: the names that estimators need, and the names that none may have.

A name is safe when it is listed here, or when it is a class that one of the estimator libraries
defines itself, in the very module the pickle names. A name is unsafe when it can run code, start
a process, or reach files or the network. Everything else is unknown, and the policy decides.
"""

import importlib
from enum import StrEnum


class Trust(StrEnum):
    """What is known about one name."""

    SAFE = "safe"
    UNKNOWN = "unknown"
    UNSAFE = "unsafe"


# Names that rebuild plain values and arrays.
SAFE: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        [
            "bool",
            "bytearray",
            "bytes",
            "complex",
            "dict",
            "float",
            "frozenset",
            "int",
            "list",
            "object",
            "range",
            "set",
            "slice",
            "str",
            "tuple",
        ]
    ),
    "__builtin__": frozenset(
        [
            "bool",
            "bytes",
            "complex",
            "dict",
            "float",
            "int",
            "list",
            "object",
            "set",
            "str",
            "tuple",
        ]
    ),
    "_codecs": frozenset({"encode"}),
    "collections": frozenset({"OrderedDict", "defaultdict", "Counter", "deque"}),
    "copyreg": frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"}),
    "copy_reg": frozenset({"_reconstructor"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "uuid": frozenset({"UUID"}),
    "functools": frozenset({"partial"}),  # whatever it wraps is itself a name in the pickle
    "joblib.numpy_pickle": frozenset({"NumpyArrayWrapper"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy.core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy._core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "numpy.ma.core": frozenset({"_mareconstruct", "MaskedArray"}),
    "numpy.random._pickle": frozenset(
        {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"}
    ),
    "pandas._libs.internals": frozenset({"_unpickle_block"}),
    "pandas.core.indexes.base": frozenset({"_new_Index"}),
    "scipy.sparse": frozenset(
        ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"]
    ),
    "sklearn.tree._tree": frozenset({"Tree"}),
    "sklearn.metrics._dist_metrics": frozenset({"newObj"}),
    "sklearn.neighbors._dist_metrics": frozenset({"newObj"}),
    "sklearn.neighbors._kd_tree": frozenset({"newObj"}),
    "sklearn.neighbors._ball_tree": frozenset({"newObj"}),
    "torch": frozenset({"device", "Size", "dtype"}),
    "torch._utils": frozenset({"_rebuild_tensor_v2", "_rebuild_parameter"}),
    "xgboost.core": frozenset({"Booster"}),
    "lightgbm.basic": frozenset({"Booster"}),
}
# Libraries whose own classes, and nothing that they merely import, rebuild estimators.
LIBRARIES = ("sklearn", "xgboost", "lightgbm", "imblearn", "catboost")
# NumPy's scalar types; its other classes open files (memmap) or run what they are given.
NUMPY_SCALARS = frozenset(
    [
        "bool",
        "bool_",
        "bytes_",
        "complex64",
        "complex128",
        "datetime64",
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "longlong",
        "object_",
        "str_",
        "timedelta64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "ulonglong",
    ]
)
# What cloudpickle writes for functions and classes that travel inside the pickle: the model brings
# code of its own, as every MLflow Python function does. Nobody can vouch for that; the policy
# decides, and the build runs it behind walls.
OWN_CODE = frozenset({"cloudpickle", "cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast"})
OWN_CODE_NAMES = frozenset({("builtins", "type"), ("__builtin__", "type")})
# Whole modules that no model needs while it is loaded.
UNSAFE_MODULES = frozenset(
    [
        "asyncio",
        "bdb",
        "builtins",
        "cProfile",
        "cloudpickle.subprocess",
        "code",
        "codeop",
        "commands",
        "concurrent",
        "ctypes",
        "distutils",
        "doctest",
        "ensurepip",
        "fileinput",
        "ftplib",
        "glob",
        "http",
        "httplib",
        "idlelib",
        "imaplib",
        "importlib",
        "inspect",
        "io",
        "joblib",
        "linecache",
        "logging",
        "mailbox",
        "marshal",
        "mmap",
        "multiprocessing",
        "nntplib",
        "nt",
        "ntpath",
        "operator",
        "os",
        "pathlib",
        "pdb",
        "pickle",
        "pip",
        "pipes",
        "pkgutil",
        "platform",
        "poplib",
        "posix",
        "posixpath",
        "profile",
        "pty",
        "pydoc",
        "requests",
        "runpy",
        "sched",
        "select",
        "shelve",
        "shlex",
        "shutil",
        "signal",
        "site",
        "smtplib",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tarfile",
        "telnetlib",
        "tempfile",
        "test",
        "threading",
        "timeit",
        "trace",
        "tracemalloc",
        "turtle",
        "types",
        "urllib",
        "urllib2",
        "venv",
        "webbrowser",
        "wsgiref",
        "xmlrpc",
        "zipapp",
        "zipfile",
        "__builtin__",
        "httpx",
        "aiohttp",
        "paramiko",
        "torch.hub",
        "torch.serialization",
        "torch.jit",
    ]
)
# Names that run code out of modules that are otherwise harmless.
UNSAFE_NAMES = frozenset(
    {
        ("functools", "reduce"),
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy", "fromfile"),
        ("numpy.f2py.crackfortran", "myeval"),
        ("numpy.testing._private.utils", "runstring"),
        ("pandas", "read_pickle"),
        ("pandas", "eval"),
        ("torch", "load"),
        ("cloudpickle", "load"),
        ("cloudpickle", "loads"),
        ("dill", "loads"),
    }
)


def trust(module: str, name: str) -> Trust:
    """Return what is known about the name `name` of the module `module`."""
    if name in SAFE.get(module, ()):
        return Trust.SAFE
    if carries_code(module, name):
        return Trust.UNKNOWN
    if module == "numpy" and name in NUMPY_SCALARS:
        return Trust.SAFE
    if module == "numpy.dtypes" and name.endswith("DType") and name.isidentifier():
        return Trust.SAFE
    if (module, name) in UNSAFE_NAMES or _belongs(module, UNSAFE_MODULES):
        return Trust.UNSAFE
    if not name.isidentifier():  # "a.b" walks from a harmless name to any other
        return Trust.UNSAFE
    if module.split(".")[0] in LIBRARIES:
        return Trust.SAFE if _defines_class(module, name) else Trust.UNKNOWN
    return Trust.UNKNOWN


def carries_code(module: str, name: str) -> bool:
    """Return whether the name stands for code that travels in the pickle itself."""
    helper = module in OWN_CODE and (name.startswith("_") or name == "subimport")
    return helper or (module, name) in OWN_CODE_NAMES


def _belongs(module: str, packages: frozenset[str]) -> bool:
    parts = module.split(".")
    return any(".".join(parts[: n + 1]) in packages for n in range(len(parts)))


def _defines_class(module: str, name: str) -> bool:
    """Return whether the installed library itself defines that class, in that module.

    The library is ours, not the model's; importing it runs nothing of the pickle's.
    """
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception:  # it cannot be imported here, so nobody can vouch for it
        return False
    return isinstance(found, type) and found.__module__.split(".")[0] == module.split(".")[0]
