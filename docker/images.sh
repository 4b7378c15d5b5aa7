#!/usr/bin/env bash
# Builds the images with Docker (buildx), podman or buildah, whichever is installed.
#
#   images.sh [--dry-run] [server] [frontend] [migrate] [lambda]        default: server, frontend and migrate
#
# ENGINE=docker|podman|buildah   the program to use
# REGISTRY=host/path             prefix of the names; PUSH=1 pushes after the build
# BASE_BUILD, BASE_FRONTEND, BASE_LAMBDA   base images, where the defaults of the Dockerfiles cannot be pulled
# PREBUILT=1                     compile on this machine, not in the image (needs Rust and a C compiler)
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=
images=()
for argument in "$@"; do
  case $argument in
    --help | -h) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --dry-run) dry_run=1 ;;
    server | frontend | migrate | lambda) images+=("$argument") ;;
    *) echo "images: unknown argument '$argument'; $0 --help" >&2; exit 64 ;;
  esac
done
[ ${#images[@]} -gt 0 ] || images=(server frontend migrate)

find_engine() {
  if docker buildx version >/dev/null 2>&1 || { docker info >/dev/null 2>&1 && [ -n "${DOCKER_BUILDKIT:-}" ]; }; then
    echo docker
  elif command -v podman >/dev/null; then echo podman
  elif command -v buildah >/dev/null; then echo buildah
  else
    echo "images: no container engine found; install Docker with buildx, podman or buildah" >&2
    return 69
  fi
}
engine=${ENGINE:-$(find_engine)}
version=$(sed -n '/workspace.package/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
commit=$(git rev-parse --short=12 HEAD)
git diff --quiet HEAD -- || commit=$commit-modified
# The time of the commit, so that the same commit has the same layers.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

run() {
  echo "+ $*"
  [ -n "$dry_run" ] || "$@"
}

build_image() { # image
  local name=twinway file=docker/Dockerfile arguments
  [ "$1" = server ] || name=twinway-$1
  [ "$1" != frontend ] || file=docker/frontend.Dockerfile
  arguments=(-f "$file" -t "${REGISTRY:+$REGISTRY/}$name:$version-$commit" --build-arg "VERSION=$version" --build-arg "COMMIT=$commit")
  [ "$1" = frontend ] || arguments+=(--target "$1")
  [ -z "${PREBUILT:-}" ] || [ "$1" = frontend ] || { run docker/programs.sh "$1" "dist/image/$1"; arguments+=(--build-arg PROGRAMS=prebuilt); }
  [ -z "${BASE_BUILD:-}" ] || arguments+=(--build-arg "BUILD_BASE=$BASE_BUILD")
  [ -z "${BASE_LAMBDA:-}" ] || arguments+=(--build-arg "LAMBDA_BASE=$BASE_LAMBDA")
  [ -z "${BASE_FRONTEND:-}" ] || [ "$1" != frontend ] || arguments+=(--build-arg "BASE=$BASE_FRONTEND")
  case $engine in
    docker) DOCKER_BUILDKIT=1 run docker build "${arguments[@]}" . ;;
    podman) run podman build --format docker --timestamp "$SOURCE_DATE_EPOCH" "${arguments[@]}" . ;;
    buildah) run buildah build --format docker --timestamp "$SOURCE_DATE_EPOCH" "${arguments[@]}" . ;;
  esac
  [ -z "${PUSH:-}" ] || run "$engine" push "${REGISTRY:?set REGISTRY to push}/$name:$version-$commit"
  echo "images: ${REGISTRY:+$REGISTRY/}$name:$version-$commit"
}

for image in "${images[@]}"; do build_image "$image"; done
