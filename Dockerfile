# Several small images out of one file, with what they share in common stages. For the classic builder and for BuildKit.

FROM debian:bookworm-slim AS system
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# Certificates (*.crt) of an inspecting proxy, if there is one between here and the package index; the folder is empty in git.
COPY certs/extra/ /usr/local/share/ca-certificates/extra/
RUN update-ca-certificates


FROM system AS mosquitto
RUN apt-get update \
    && apt-get install -y --no-install-recommends mosquitto mosquitto-clients \
    && rm -rf /var/lib/apt/lists/*
COPY docker/mosquitto.conf /etc/mosquitto/emulator.conf
RUN install -d -o mosquitto -g mosquitto /var/lib/broker
USER mosquitto
CMD ["mosquitto", "-c", "/etc/mosquitto/emulator.conf"]


# The site's own machines: the router, and the servers that give chargers their addresses and names.
FROM system AS site
RUN apt-get update \
    && apt-get install -y --no-install-recommends dnsmasq-base iproute2 nftables \
    && rm -rf /var/lib/apt/lists/*
COPY docker/hosts docker/dhcp.conf docker/dns.conf docker/router.nft /etc/emulator/
COPY docker/router docker/block docker/healthy /usr/local/bin/
RUN ln -s block /usr/local/bin/unblock


FROM system AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/emulator
ENV PATH=/opt/emulator/bin:$PATH PYTHONUNBUFFERED=1
# What the project needs, apart from the project: it changes less often.
COPY pyproject.toml docker/requirements /opt/source/
RUN python /opt/source/requirements /opt/source/pyproject.toml >/opt/source/requirements.txt \
    && pip install --quiet --requirement /opt/source/requirements.txt


# The cloud and the chargers.
FROM python AS emulator
WORKDIR /opt/source
COPY pyproject.toml README.md LICENSE ./
COPY emulator/ emulator/
COPY cloud_stub/ cloud_stub/
COPY certs/*.py certs/py.typed certs/
RUN pip install --quiet --no-deps --no-build-isolation . && useradd --system --create-home --home-dir /var/lib/emulator emulator
COPY docker/hosts /etc/emulator/hosts
COPY docker/charger docker/healthy /usr/local/bin/
RUN install -d -o emulator -g emulator /var/lib/emulator/state && install -d /var/lib/charger
WORKDIR /var/lib/emulator
USER emulator


# The emulator and the tests of the whole stack, which run beside it.
FROM emulator AS tests
USER root
WORKDIR /opt/source
RUN pip install --quiet 'hypothesis>=6.130' 'pytest>=9' 'pytest-asyncio>=1.2'
COPY docker/hosts docker/hosts
COPY tests/conftest.py tests/requirements.py tests/
COPY tests/compose/ tests/compose/
CMD ["pytest", "-p", "no:cacheprovider", "-v", "tests/compose"]
