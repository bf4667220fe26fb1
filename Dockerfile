# One image for web, workers and beat. Two stages: what builds stays behind.
# syntax=docker/dockerfile:1

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN python -m venv /opt/modelyard && /opt/modelyard/bin/pip install --no-cache-dir uv
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
RUN /opt/modelyard/bin/uv pip sync --python /opt/modelyard/bin/python --require-hashes requirements.lock
COPY platform platform
COPY apps apps
COPY workers workers
RUN /opt/modelyard/bin/uv pip install --python /opt/modelyard/bin/python \
        --no-build-isolation --no-deps --editable .

FROM python:3.11-slim-bookworm
# LightGBM and ONNX Runtime need the OpenMP library.
RUN apt-get update \
    && apt-get install --no-install-recommends -y libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --shell /usr/sbin/nologin modelyard \
    && install -d -o modelyard -g modelyard /var/lib/modelyard
COPY --from=build /opt/modelyard /opt/modelyard
WORKDIR /src
COPY --from=build /src /src
COPY manage.py ./
COPY templates templates
COPY static static
ENV PATH=/opt/modelyard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=controlplane.project.settings.production \
    MODELYARD_MODE=production \
    MODELYARD_HOME=/var/lib/modelyard \
    MODELYARD_LOG=json
# Static files get names with a digest; the values below are for this one step only.
RUN MODELYARD_SECRET_KEY=0000000000000000000000000000000000000000000000000000000000 \
    MODELYARD_HOSTS=build MODELYARD_PUBLIC_URL=https://build \
    DATABASE_URL=postgresql://build/build BROKER_URL=memory:// \
    python manage.py collectstatic --noinput --verbosity 0
USER modelyard
VOLUME /var/lib/modelyard
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["uvicorn", "controlplane.project.asgi:application", "--host", "0.0.0.0", "--port", "8000", \
     "--lifespan", "off", "--proxy-headers", "--forwarded-allow-ips", "*", "--no-server-header", \
     "--timeout-graceful-shutdown", "10"]
