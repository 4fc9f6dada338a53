"""What schemathesis is told beyond the document: ids that exist, what must not be sent, and whose rows a token reaches.

The file asks.json in the current folder says what the token is: its role, its tenant, and texts that only rows of other
tenants hold.
"""

import json
import os
import re
import uuid
import zlib

import requests
import schemathesis

with open("asks.json", encoding="utf-8") as file:
    ASKS = json.load(file)

ROLES = ["numbers", "viewer", "operator", "admin"]

NEEDS = re.compile(r"For the role (\w+) and above\.")

# What the document says of an operation that a token of one tenant does not reach.
OF_INSTALLATION = "Takes a token of all tenants."

# A freshness that waits is tested elsewhere; here it would cost up to 25 seconds a request.
WAIT_MAX = 1

# Nothing listens there, and nothing outside of this machine is asked.
NOBODY = "https://localhost:9/hooks"

# Lists, with the field of a row that names it, if it is no text, and the parameters that take the name.
LISTS = [
    ("/v1/artists", "id", ["artist"]),
    ("/v1/accounts", "id", ["account"]),
    ("/v1/runs", "id", ["run"]),
    ("/v1/batches", "id", ["batch"]),
    ("/v1/quarantine", "id", ["value"]),
    ("/v1/events", "id", ["event"]),
    ("/v1/credentials", "id", ["credential"]),
    ("/v1/releases", "digest", ["digest", "release"]),
    ("/v1/webhooks", "name", ["webhook"]),
    ("/v1/schedules", "name", ["schedule"]),
    ("/v1/tenants", "", ["tenant"]),
]


def pool():
    """Names of what exists, by the parameter that takes them. No token is among them: a test would revoke its own."""
    headers = {"Authorization": f"Bearer {os.environ['CONTRACT_POOL_TOKEN']}"}
    found = {"connector": ["youtube", "spotify"], "platform": ["youtube", "apple_music"]}
    for path, field, parameters in LISTS:
        answer = requests.get(os.environ["CONTRACT_BASE"] + path, headers=headers, timeout=60)
        answer.raise_for_status()
        names = [row[field] if isinstance(row, dict) else row for row in answer.json()["data"][:20]]
        if names:
            found.update((parameter, names) for parameter in parameters)
    return found


POOL = pool()


def is_id(text):
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def exchanged(name, value):
    """An id that exists, for two of three that were drawn; which one is told by what was drawn."""
    known = POOL.get(name)
    drawn = zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))
    if known is None or drawn % 3 == 0:
        return value
    return known[(drawn // 3) % len(known)]


@schemathesis.hook
def map_path_parameters(ctx, path_parameters):
    # A text of a path is any text, so that none of them is refused by its form.
    if not path_parameters:
        return path_parameters
    return {name: exchanged(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(ctx, query):
    # What was drawn to be refused stays as it is.
    if not query:
        return query
    changed = dict(query)
    for name, value in query.items():
        if isinstance(value, str) and is_id(value):
            changed[name] = exchanged(name, value)
        if name == "wait" and isinstance(value, int) and not isinstance(value, bool) and WAIT_MAX < value <= 25:
            changed[name] = WAIT_MAX
    return changed


@schemathesis.hook
def map_body(ctx, body):
    if not isinstance(body, dict):
        return body
    changed = dict(body)
    for name, value in body.items():
        if isinstance(value, str) and is_id(value):
            changed[name] = exchanged(name, value)
        elif isinstance(value, str) and "://" in value:
            changed[name] = NOBODY
    return changed


def description(case):
    raw = case.operation.definition.raw
    return raw.get("description", "") if isinstance(raw, dict) else ""


@schemathesis.check
def keeps_to_its_role(ctx, response, case):
    """No operation is carried out for a token that it is not for."""
    needs = NEEDS.search(description(case))
    assert needs, f"{case.operation.label} does not say which role it is for"
    is_low = ROLES.index(ASKS["role"]) < ROLES.index(needs.group(1))
    is_narrow = ASKS["tenant"] is not None and OF_INSTALLATION in description(case)
    if (is_low or is_narrow) and response.status_code < 400:
        tenant = ASKS["tenant"] or "all tenants"
        raise AssertionError(f"a token of the role {ASKS['role']} for {tenant} got {response.status_code}")


@schemathesis.check
def tells_nothing_of_others(ctx, response, case):
    """No answer holds what only rows of other tenants hold, unless the request had it."""
    told = response.content.decode("utf-8", "replace")
    request = response.request
    body = request.body or b""
    sent = request.url + (body if isinstance(body, str) else body.decode("utf-8", "replace"))
    for mark in ASKS["foreign"]:
        if mark in told and mark not in sent:
            raise AssertionError(f"the answer holds '{mark}', which is another tenant's")
