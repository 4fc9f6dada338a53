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

# The test listens there. Nothing outside of this machine is asked.
RECEIVER = os.environ["CONTRACT_RECEIVER"] + "/hooks"

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
    """Names of what exists, by the parameter that takes them."""
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


def own_tokens():
    """Ids of the tokens that there are: none of them is to be revoked, or nothing would be tried after it."""
    headers = {"Authorization": f"Bearer {os.environ['CONTRACT_POOL_TOKEN']}"}
    answer = requests.get(os.environ["CONTRACT_BASE"] + "/v1/tokens", headers=headers, timeout=60)
    answer.raise_for_status()
    return {row["id"] for row in answer.json()["data"]}


TOKENS = own_tokens()

# The id of nothing.
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def is_id(value):
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def exchanged(name, value):
    """An id that exists, for two of three that were drawn; which one is told by what was drawn."""
    known = POOL.get(name)
    drawn = zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))
    if known is None or drawn % 3 == 0:
        return value
    return known[(drawn // 3) % len(known)]


def is_drawn_to_be_refused(case):
    return case.meta is not None and case.meta.generation.mode.is_negative


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Puts what exists in the place of what was drawn, and what does no harm in the place of what would."""
    path, query, body = case.path_parameters, case.query, case.body
    # What was drawn to be refused stays as it is.
    if not is_drawn_to_be_refused(case):
        for name in list(path or {}):
            path[name] = exchanged(name, path[name])
        for fields in (query, body):
            if isinstance(fields, dict):
                fields.update({name: exchanged(name, value) for name, value in fields.items() if is_id(value)})
    if path and path.get("token") in TOKENS:
        path["token"] = UNKNOWN
    if isinstance(query, dict) and str(query.get("wait", "")).isdigit() and WAIT_MAX < int(query["wait"]) <= 25:
        query["wait"] = WAIT_MAX
    if isinstance(body, dict):
        body.update({name: RECEIVER for name, value in body.items() if isinstance(value, str) and "://" in value})


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
