# The page and the REST API in a container:
#   docker build -t allmasked . && docker run --rm -p 8000:8000 allmasked
# Other models: -v "$PWD/mine.onnx:/model.onnx:ro" allmasked serve --host 0.0.0.0 --model /model.onnx
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# The variable holds for what builds the package, too: setuptools is the lock's.
RUN python -m venv /opt/allmasked \
    && PIP_CONSTRAINT=/source/constraints.txt /opt/allmasked/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[web]'

FROM python:3.12-slim
COPY --from=build /opt/allmasked /opt/allmasked
RUN useradd --system --no-create-home --shell /usr/sbin/nologin allmasked
USER allmasked
ENV PATH=/opt/allmasked/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["allmasked"]
CMD ["serve", "--host", "0.0.0.0"]
