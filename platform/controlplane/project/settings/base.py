"""Settings shared by every mode; what comes from outside is parsed in `env`."""

from pathlib import Path

from controlplane.project import logs
from controlplane.project.settings.env import ROOT, blob_storage, current

ENV = current()
BASE_DIR = ROOT
SECRET_KEY = ENV.secret_key
DEBUG = False
ALLOWED_HOSTS = list(ENV.hosts)
CSRF_TRUSTED_ORIGINS = [ENV.public_url]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "pgtrigger",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_htmx",
    "controlplane.project",
    "controlplane.http",
    "apps.audit",
    "apps.accounts",
    "apps.notifications",
    "apps.environments",
    "apps.registry",
    "apps.builds",
    "apps.endpoints",
    "apps.monitoring",
    "apps.slos",
    "apps.gates",
    "apps.approvals",
    "apps.analysis",
    "apps.rollouts",
    "apps.releases",
    "apps.console",
]
AUTH_USER_MODEL = "accounts.Person"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "controlplane.http.middleware.RequestContext",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.accounts.middleware.IdentifyActor",
    "controlplane.http.middleware.SecurityHeaders",
    "controlplane.http.problems.ProblemMiddleware",
]
ROOT_URLCONF = "controlplane.project.urls"
ASGI_APPLICATION = "controlplane.project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
                "apps.console.web.context.frame",
            ],
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                    ],
                )
            ],
            "builtins": ["controlplane.http.templatetags.components"],
        },
    }
]

DATABASES = {
    "default": {
        **ENV.database,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"connect_timeout": 5, **ENV.database["OPTIONS"]},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
LOGIN_URL = "/sign-in"
CSRF_FAILURE_VIEW = "controlplane.http.problems.forged"
LOGIN_REDIRECT_URL = "/"
SESSION_COOKIE_NAME = "modelyard_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT: Path | None = None  # nothing is collected here; production collects
WHITENOISE_USE_FINDERS = True

# Uploads stream to disk through our own view; nothing else may be large.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

LOGGING = logs.configuration(ENV.log)

BLOB_ROOT = ENV.home / "blobs"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "blobs": blob_storage(ENV.s3, BLOB_ROOT),
}
BUNDLE_ROOT = ENV.home / "bundles"
HOME = ENV.home
INSTANCE = ENV.instance
AUTO_BUILD = ENV.auto_build
UPLOAD_ROOT = ENV.home / "uploads"
UPLOAD_LIMIT = ENV.upload_limit
REPLICA_PRICE = ENV.replica_price  # an hour, for the cost of predictions; None leaves it out
MLFLOW_URL = ENV.mlflow_url
PUBLIC_URL = ENV.public_url
SERVING_URL = ENV.serving_url
SMTP_URL = ENV.smtp_url
MAIL_FROM = ENV.mail_from
NOTIFY_PRIVATE = ENV.notify_private
PROMETHEUS_URL = ENV.prometheus_url
METRIC_JOBS = ENV.metric_jobs
# Signs the keys of endpoints; the proxy knows its public half: docs/decisions/0009.
ENDPOINT_KEYS = ENV.home / "secrets" / "endpoint-keys"
# Signs the ledger's checkpoints and exports, which lie in the folder for copying: docs/ledger.md.
LEDGER_KEY = ENV.home / "secrets" / "ledger-key"
LEDGER_FOLDER = ENV.home / "ledger"
AUDIT_DAYS = ENV.audit_days
# Signs bundles for people outside; the signer is a name, so that only who signs loads it.
BUNDLE_KEY = ENV.home / "secrets" / "bundle-key"
BUNDLE_SIGNER = "controlplane.drivers.signing.bundles.pack"
# The web calls an endpoint as any of its callers would, for the form to try it. A name, so that
# no app imports a driver. See docs/decisions/0011-trying-an-endpoint.md.
PREDICTOR = "controlplane.drivers.envoy.predictor.EnvoyPredictor"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.accounts.authentication.ActorAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["controlplane.http.permissions.SignedIn"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "controlplane.http.pagination.NewestFirst",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "controlplane.http.openapi.Schema",
    "EXCEPTION_HANDLER": "controlplane.http.problems.handle",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # "?format=onnx" is a filter of ours
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Modelyard",
    "DESCRIPTION": "Register, build, serve and watch models.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # Choices stand where they are used: names made up for them would change with every new one.
    "POSTPROCESSING_HOOKS": [],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Tasks are short, idempotent and carry ids only; the sweep finds whatever a lost message left.
CELERY_BROKER_URL = ENV.broker_url
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_DEFAULT_QUEUE = "passes"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TIME_LIMIT = 50
CELERY_TASK_SOFT_TIME_LIMIT = 40
CELERY_TIMEZONE = "UTC"
