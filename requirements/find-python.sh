#!/bin/sh
# Prints a Python that is new enough and can create virtual environments.
# Usage: sh find-python.sh [PYTHON]; with PYTHON, only that one is tried.
set -u

# Exit code 3: too old; 4: without venv; any other: it does not run.
check='
import sys
if sys.version_info < (3, 11, 2):
    raise SystemExit(3)
try:
    import ensurepip, venv
except ImportError:
    raise SystemExit(4)
'

if [ -n "${1:-}" ]; then
    candidates=$1
else
    candidates="python3.14 python3.13 python3.12 python3.11 python3 python"
fi

seen=""
for candidate in $candidates; do
    # A name on PATH may be a shim for a version that is not installed, so run it.
    "$candidate" -c "$check" >/dev/null 2>&1
    case $? in
        0) echo "$candidate"; exit 0 ;;
        3) seen="$seen $candidate (older than 3.11.2)" ;;
        4) seen="$seen $candidate (without venv; on Debian: apt install ${candidate##*/}-venv)" ;;
    esac
done

echo "No usable Python: version 3.11.2 or newer with venv is needed; tried [$candidates]." >&2
[ -z "$seen" ] || echo "Found:$seen." >&2
echo "Install one, or name one: make PYTHON=/path/to/python3 ..." >&2
exit 1
