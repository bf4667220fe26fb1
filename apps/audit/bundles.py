"""Signed bundles: files for somebody who cannot look into this system and need not trust it.

The signing library is heavy (half a second and 40 MB), and few processes ever sign: it is named in
the settings and loaded with the first bundle.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from django.conf import settings
from django.utils.module_loading import import_string

from apps.audit.domain import bundles
from controlplane.kernel import secretfile
from controlplane.kernel.errors import Invalid

Pack = Callable[[Mapping[str, bytes], bytes], bytes]


def bundle(files: Mapping[str, bytes]) -> bytes:
    """Return `files` as a signed zip; `modelyard bundle verify` checks it anywhere.

    Args:
        files: Contents by path within the bundle ("release.html", "release.json").

    Raises:
        Invalid: There is no file, or a name lies outside the bundle or would not be signed.
    """
    wrong = bundles.wrong_name(files)
    if wrong or not files:
        raise Invalid(
            f"{wrong[:80]} cannot be in a bundle." if wrong else "A bundle needs a file.",
            remedy="Name files by relative paths without .., and not model.sig or .git.",
            code="audit.bad_bundle",
        )
    return _pack(settings.BUNDLE_SIGNER)(files, _seed())


def public_key() -> bytes:
    """Return the public key that bundles are checked with, in PEM."""
    return bundles.public_pem(_seed())


def _seed() -> bytes:
    return secretfile.read_or_make(Path(settings.BUNDLE_KEY), size=bundles.SEED_BYTES)


@cache
def _pack(name: str) -> Pack:
    found: Pack = import_string(name)
    return found
