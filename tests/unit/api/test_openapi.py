"""openapi.yaml against what api/ really does: neither may know a field, a range or a code alone.

OCTET_SCHEMA_DUMP names the program schema_dump (ctest sets it)."""
import json
import os
import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
DUMP = os.environ.get("OCTET_SCHEMA_DUMP")
SPEC = yaml.safe_load((ROOT / "openapi.yaml").read_text())
SCHEMAS = SPEC["components"]["schemas"]
REQUEST = SCHEMAS["GenerateRequest"]
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def run_dump(*args, stdin=""):
    assert DUMP, "set OCTET_SCHEMA_DUMP to the program schema_dump"
    done = subprocess.run([DUMP, *args], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def dump():
    return json.loads(run_dump())


def verdicts(bodies):
    """What the parser says to each body: "ok" or an error code."""
    lines = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return run_dump("--parse", stdin="\n".join(lines) + "\n").splitlines()


def resolve(node):
    while isinstance(node, dict) and "$ref" in node:
        parts = node["$ref"].removeprefix("#/").split("/")
        node = SPEC
        for part in parts:
            node = node[part]
    return node


def operations():
    for path, item in SPEC["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method]


def walk(node):
    yield node
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from walk(child)


def test_every_reference_leads_somewhere():
    refs = [n["$ref"] for n in walk(SPEC) if isinstance(n, dict) and "$ref" in n]
    assert refs
    for ref in refs:
        assert resolve({"$ref": ref})


def test_no_component_is_left_over():
    used = {n["$ref"] for n in walk(SPEC) if isinstance(n, dict) and "$ref" in n}
    in_prose = ("StreamPiece", "LastStreamPiece", "StreamError")  # of text/event-stream
    for kind, members in SPEC["components"].items():
        for name in members:
            if name not in in_prose:
                assert f"#/components/{kind}/{name}" in used, name


def test_routes():
    assert SPEC["openapi"].startswith("3.1.")
    assert {(p, m) for p, m, _ in operations()} == {
        ("/v1/generate", "post"), ("/v1/models", "get"), ("/health", "get"), ("/ready", "get"),
        ("/metrics", "get")}
    ids = [op["operationId"] for _, _, op in operations()]
    assert len(ids) == len(set(ids))


def test_fields_are_the_tables(dump):
    assert set(REQUEST["properties"]) == {f["name"] for f in dump["fields"]}
    assert REQUEST["required"] == [f["name"] for f in dump["fields"] if f["required"]]
    assert REQUEST["additionalProperties"] is False
    for field in dump["fields"]:
        schema = REQUEST["properties"][field["name"]]
        for key in ("minimum", "exclusiveMinimum", "maximum", "default"):
            assert schema.get(key) == field.get(key), (field["name"], key)
        if field["type"] in ("prompt", "stop"):
            kinds = [s["type"] for s in schema["oneOf"]]
            assert kinds == ["string", "array"] + ["null"] * (field["type"] == "stop")
        else:
            assert schema["type"] == [field["type"], "null"], field["name"]
    stop = REQUEST["properties"]["stop"]["oneOf"]
    assert stop[1]["maxItems"] == dump["stop_strings"]
    assert stop[0]["maxLength"] == stop[1]["items"]["maxLength"] == dump["stop_bytes"]


def test_the_parser_keeps_the_documented_ranges():
    """Bodies made from the yaml alone: the edges are taken, one step beyond them is refused."""
    good, bad = [], []
    for name, schema in REQUEST["properties"].items():
        if name in ("prompt", "stop"):
            continue
        kind = schema["type"][0]
        step = 1 if kind == "integer" else 0.001
        wrong = {"integer": ["1", True, 0.5, [], {}], "number": ["1", True, [], {}],
                 "boolean": [0, 1, "true", []], "string": [1, True, [], {}, ""]}[kind]
        right = [None] + {"boolean": [True, False], "string": ["x"]}.get(kind, [])
        if "minimum" in schema:
            right.append(schema["minimum"])
            wrong.append(schema["minimum"] - step)
        if "exclusiveMinimum" in schema:
            right.append(schema["exclusiveMinimum"] + step)
            wrong.append(schema["exclusiveMinimum"])
        if "maximum" in schema:
            right.append(schema["maximum"])
            wrong.append(schema["maximum"] + step)
        good += [{"prompt": "a", name: value} for value in right]
        bad += [{"prompt": "a", name: value} for value in wrong]
    assert len(good) > 30 and len(bad) > 60
    for body, verdict in zip(good, verdicts(good), strict=True):
        assert verdict == "ok", body
    for body, verdict in zip(bad, verdicts(bad), strict=True):
        assert verdict in ("wrong_type", "out_of_range", "invalid_value"), body


def test_prompt_and_stop_shapes():
    ids = REQUEST["properties"]["prompt"]["oneOf"][1]["items"]
    low, high = ids["minimum"], ids["maximum"]
    stops = REQUEST["properties"]["stop"]["oneOf"][1]
    many, long = stops["maxItems"], stops["items"]["maxLength"]
    good = [{"prompt": "a"}, {"prompt": [low, high]}, {"prompt": "a", "stop": None},
            {"prompt": "a", "stop": "s"}, {"prompt": "a", "stop": ["s"] * many},
            {"prompt": "a", "stop": "s" * long}]
    bad = [{}, {"prompt": None}, {"prompt": ""}, {"prompt": []}, {"prompt": [low - 1]},
           {"prompt": [high + 1]}, {"prompt": "a", "stop": ""}, {"prompt": "a", "another": 1},
           {"prompt": "a", "stop": ["s"] * (many + 1)}, {"prompt": "a", "stop": "s" * (long + 1)}]
    assert verdicts(good) == ["ok"] * len(good)
    assert "ok" not in verdicts(bad)


def test_examples_are_taken():
    content = SPEC["paths"]["/v1/generate"]["post"]["requestBody"]["content"]["application/json"]
    bodies = [e["value"] for e in content["examples"].values()]
    assert bodies and verdicts(bodies) == ["ok"] * len(bodies)


def test_codes_and_types_are_the_tables(dump):
    error = SCHEMAS["Error"]["properties"]
    assert error["code"]["enum"] == [c["code"] for c in dump["codes"]]
    assert sorted(error["type"]["enum"]) == sorted({c["type"] for c in dump["codes"]})
    assert SCHEMAS["FinishReason"]["enum"] == dump["finish_reasons"]


def test_statuses_are_the_tables(dump):
    known = {c["status"] for c in dump["codes"]}
    generate = SPEC["paths"]["/v1/generate"]["post"]["responses"]
    assert {int(s) for s in generate} - {200} == known
    for path, _, op in operations():
        for status, response in op["responses"].items():
            assert int(status) == 200 or int(status) in known
            response = resolve(response)
            assert response["description"]
            assert "X-Request-Id" in response["headers"], (path, status)
            if int(status) >= 400 and not (path == "/ready" and status == "503"):
                assert list(response["content"]) == [dump["error_content_type"]], (path, status)
    assert "Allow" in resolve(generate["405"])["headers"]
    for status in ("429", "503"):
        assert "Retry-After" in resolve(generate[status])["headers"]


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
         "boolean": bool, "null": type(None)}


def is_a(value, kind):
    """bool is an int to Python, but not to JSON."""
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def check(schema, value, where):
    """value has just the members that schema names, of its types."""
    schema = resolve(schema)
    if "const" in schema:
        assert value == schema["const"], where
        return
    if "enum" in schema:
        assert value in schema["enum"], where
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert any(is_a(value, kind) for kind in kinds), where
    if "minimum" in schema:
        assert value >= schema["minimum"], where
    if isinstance(value, dict):
        assert set(value) == set(schema["properties"]) == set(schema["required"]), where
        for key, member in value.items():
            check(schema["properties"][key], member, f"{where}.{key}")
    if isinstance(value, list):
        assert value, where
        for item in value:
            check(schema["items"], item, f"{where}[]")


@pytest.mark.parametrize("name", ["GenerateResponse", "LastStreamPiece", "StreamPiece", "ModelList",
                                  "Status", "Problem", "StreamError"])
def test_rendered_documents_are_as_described(dump, name):
    check(SCHEMAS[name], dump["rendered"][name], name)


def test_the_last_piece_has_every_field_of_the_whole_answer():
    whole, last = SCHEMAS["GenerateResponse"], SCHEMAS["LastStreamPiece"]
    assert set(last["properties"]) == set(whole["properties"]) | {"index"}
