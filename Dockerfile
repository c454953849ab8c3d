# Two images out of one file: mosquitto, and emulator for the cloud and the chargers. Works with the classic builder and with BuildKit.

FROM debian:bookworm-slim AS system
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
# Certificates (*.crt) of an inspecting proxy, if there is one between here and the package index; the folder is empty in git.
COPY certs/extra/ /usr/local/share/ca-certificates/extra/
RUN update-ca-certificates
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1


FROM system AS mosquitto
RUN apt-get update \
    && apt-get install -y --no-install-recommends mosquitto mosquitto-clients \
    && rm -rf /var/lib/apt/lists/*
COPY docker/mosquitto.conf /etc/mosquitto/emulator.conf
USER mosquitto
EXPOSE 1883
HEALTHCHECK --interval=2s --timeout=5s --retries=15 \
    CMD ["mosquitto_sub", "-h", "127.0.0.1", "-t", "$SYS/broker/uptime", "-C", "1", "-W", "3"]
CMD ["mosquitto", "-c", "/etc/mosquitto/emulator.conf"]


FROM system AS emulator
RUN python3 -m venv /opt/emulator
WORKDIR /opt/source
COPY pyproject.toml README.md LICENSE ./
COPY emulator/ emulator/
COPY cloud_stub/ cloud_stub/
COPY certs/*.py certs/py.typed certs/
RUN /opt/emulator/bin/pip install --quiet . && useradd --system --create-home --home-dir /var/lib/emulator emulator
ENV PATH=/opt/emulator/bin:$PATH PYTHONUNBUFFERED=1 ZAPTEC_CERTS=/var/lib/emulator/certs
RUN install -d -o emulator -g emulator "$ZAPTEC_CERTS" /var/lib/emulator/state /var/lib/emulator/state/certs
WORKDIR /var/lib/emulator
USER emulator
