# Placeholder pages on nginx, without root; the front ends are planned. Context: the root of the repository (`make images`).
#
# BASE  an image with nginx that runs without root
ARG BASE=docker.io/nginxinc/nginx-unprivileged:1.28-alpine-slim
FROM ${BASE}
ARG VERSION=0.0.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="twinway-frontend" \
      org.opencontainers.image.description="Placeholder pages; the front ends are planned" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY docker/frontend/nginx.conf /etc/nginx/nginx.conf
COPY docker/frontend/html/ /usr/share/nginx/html/
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGQUIT
# `nginx -t` reads the configuration with the user and the paths of the running server.
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s CMD ["nginx", "-t", "-q"]
ENTRYPOINT ["nginx", "-g", "daemon off;"]
