# One image for both roles; the compose file says which one a container plays.
FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
COPY requirements/run.txt requirements/run.txt
RUN python -m pip install --quiet --no-cache-dir --require-hashes --no-deps -r requirements/run.txt
COPY shared shared
COPY gateway_app gateway_app
COPY worker_app worker_app
USER 10001:10001
