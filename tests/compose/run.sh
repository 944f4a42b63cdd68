#!/usr/bin/env bash
# make test-compose: the stack for real, where there is an engine; where there is none, it says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/engine.sh

if ! find_engine; then
  echo "make test-compose: no container engine answers: the compose stack was not tested"
  exit 0
fi
trap end_engine EXIT
LAB_TEST_COMPOSE=1 .venv/bin/python -m pytest -q tests/compose "$@"
