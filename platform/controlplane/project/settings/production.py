"""Settings behind a TLS proxy, with outside services."""

from controlplane.project.settings.base import *
from controlplane.project.settings.env import BadSetting

if ENV.mode != "production":
    raise BadSetting(
        "These are the settings for production; set MODELYARD_MODE=production, "
        "so that unsafe values are refused."
    )

ALLOWED_HOSTS += ["127.0.0.1"]  # health probes, from inside the container

SESSION_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "__Host-modelyard_session"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-modelyard_csrf"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz|metrics)$"]  # probes come from inside, without TLS
SECURE_HSTS_SECONDS = 31_536_000

# Names with a digest, compressed, cached for ever; `manage.py collectstatic` makes them.
WHITENOISE_USE_FINDERS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_ROOT = BASE_DIR / "staticfiles"
