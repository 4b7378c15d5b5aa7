# Image of an application whose functions need an interpreter: the server, the interpreter of a base image, and the code.
# Context: the directory of the application, with its routes file or template and with the functions' dependencies installed.
#
#   docker build -f docker/functions.Dockerfile --build-arg SERVER=twinway:0.1.0 -t chat:1.0.0 DIRECTORY
#
# BASE    an image with the interpreters; docker.io/library/node:22-slim for Node.js
# SERVER  the image of the server (`make images`)
ARG BASE=docker.io/library/python:3.13-slim-bookworm
ARG SERVER=twinway:0.1.0
FROM ${SERVER} AS server

FROM ${BASE}
COPY --from=server /twinway /twinway
COPY . /application/
# The chart overrides the template by functions.template, and places the cache in a volume.
ENV TWINWAY_TEMPLATE=/application TWINWAY_LISTEN=0.0.0.0:8080 TWINWAY_OPS_LISTEN=0.0.0.0:8081 XDG_CACHE_HOME=/tmp/cache
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/twinway", "healthcheck"]
ENTRYPOINT ["/twinway"]
CMD ["serve"]
