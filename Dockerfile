# tfguard with a Terraform or an OpenTofu. From the root of a checkout:
#   docker build -t tfguard .
#   docker build -t tfguard --build-arg BINARY=tofu --build-arg VERSION=1.9.0 .
#   docker run --rm -v "$PWD:/work" tfguard plan
# On GitLab it is a TFGUARD_IMAGE: the template starts a shell in it. EXTRAS is what backends need besides; empty: nothing.
# Put the digests of your registry's copies behind the tags (image:tag@sha256:…), and nothing in it can change.
ARG BINARY=terraform
ARG VERSION=1.11.4

FROM hashicorp/terraform:${VERSION} AS hashicorp
FROM ghcr.io/opentofu/opentofu:${VERSION}-minimal AS opentofu

FROM scratch AS terraform
COPY --from=hashicorp /bin/terraform /bin/

FROM scratch AS tofu
COPY --from=opentofu /usr/local/bin/tofu /bin/

# Of the other, nothing is pulled.
FROM ${BINARY} AS chosen

FROM python:3.13.1-slim-bookworm

# git, for --changed-since and for modules.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory '*' \
 && useradd --create-home --uid 1000 tfguard

COPY --from=chosen /bin/ /usr/local/bin/

ARG EXTRAS="azurerm gcs pg"

# By the action's own installer: wheels only, each with the hash that requirements.lock, or action/extras, has for it.
COPY requirements.lock /src/
COPY action/ /src/action/
COPY tfguard/ /src/tfguard/
RUN ln -s "$(python3 -I /src/action/entry.py install /opt/tfguard "${EXTRAS}")" /opt/tfguard/current \
 && printf '%s\n' '#!/bin/sh' \
      'run="import sys; sys.path.insert(0, sys.argv.pop(1)); from tfguard.__main__ import main; main()"' \
      'exec python3 -I -c "$run" /opt/tfguard/current "$@"' > /usr/local/bin/tfguard \
 && chmod 755 /usr/local/bin/tfguard \
 && tfguard --version

USER 1000
WORKDIR /work
ENTRYPOINT ["tfguard"]
