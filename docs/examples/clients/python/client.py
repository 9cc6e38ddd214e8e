"""Reads all pages of an API through token-sidecar, and prints each: client.py ROUTE TARGET PATH [SUBJECT]."""
import os
import sys
import time

import requests

SIDECAR = os.environ.get("TOKEN_SIDECAR_URL", "http://127.0.0.1:8080")
TIMEOUT = 20  # seconds to connect, and between two reads of the answer
PATIENCE = 30  # seconds that one page may take with all attempts
MAX_PAGES = 100


def get(session, path):
    """Asks again where the answer says when, as long as that is soon enough. Not to be used for POST."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = session.get(SIDECAR + path, timeout=TIMEOUT, allow_redirects=False)
        wait = answer.headers.get("Retry-After", "")
        if answer.status_code not in (429, 503) or not wait.isdecimal() or time.monotonic() + int(wait) > end:
            return answer
        time.sleep(max(1, int(wait)))


def fail(answer):
    """Tells a problem document of the sidecar, which has a stable code, from an error of the API."""
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        problem = answer.json()
        if problem.get("code"):
            sys.exit(f"{problem['code']}: {problem['detail']}")
    sys.exit(f"the API answered {answer.status_code}")


def main(route, target, path, subject=None):
    session = requests.Session()
    session.trust_env = False  # no proxy and no .netrc: the sidecar is on this machine
    if subject:
        session.headers["X-Token-Subject"] = subject
    for _ in range(MAX_PAGES):
        answer = get(session, f"/{route}{path}")
        if answer.status_code != 200:
            fail(answer)
        print(answer.text)
        link = answer.json().get("next")
        if not link:
            return
        # The link names the API itself. What stands behind the target goes behind the route.
        if not link.startswith(target + "/"):
            sys.exit("the next page is not at the target")
        path = link.removeprefix(target)
    sys.exit("there are too many pages")


try:
    main(*sys.argv[1:])
except requests.RequestException as error:
    sys.exit(f"no usable answer: {type(error).__name__}")
