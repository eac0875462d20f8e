FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements-service.lock ./
RUN /venv/bin/pip install --require-hashes -r requirements-service.lock
COPY pyproject.toml README.md LICENSE ./
COPY models ./models
COPY integrations ./integrations
COPY worker ./worker
RUN /venv/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
# One thread for each process: workers are the unit of parallelism, and a forked OpenMP hangs.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    CRM_REFLEX_DATA_DIR=/data NUMBA_CACHE_DIR=/var/cache/reflex \
    NUMBA_CPU_NAME=generic
RUN useradd --system --uid 10001 --no-create-home reflex \
    && install -d -o reflex -g reflex /data /var/cache/reflex
COPY --from=build /venv /venv
USER reflex
# Compiled once, here, for any processor of this kind, and loaded by each worker.
RUN python -c 'from models.recommend.preparing import prepare; prepare()'
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
CMD ["crm-reflex", "--help"]
