"""What a worker counts of its requests, and that tenants cannot make it count without bound."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.auth.identity import ANONYMOUS, User
from proxy.mapping.paths import parse
from proxy.metrics.busiest import HALF_LIFE, MOST, Busiest, cut
from proxy.metrics.exposition import expose
from proxy.metrics.requests import KINDS, MOST_RESOURCES, RequestMetrics
from proxy.metrics.snapshot import Family, add, decode, encode, lasting
from proxy.server.messages import ENTRY, GATE, IDENTITY, MAPPING, PERMISSION, SHARD, Record, Request


def asked(
    metrics: RequestMetrics, target: str = "/api/v1/namespaces", *, workspace: str = "root:a", **record: object
) -> None:
    request = Request(b"GET", target.encode(), [])
    request.record = Record(
        info=parse(b"GET", target.encode()), workspace=workspace, shard="main", status=200, user=User("u")
    )
    for key, value in record.items():
        setattr(request.record, key, value)
    metrics.arrived(request)
    if request.record.streaming:
        metrics.streaming(request)
    metrics.finished(request)


def values(families: list[Family]) -> dict[str, float]:
    """As a scraper reads them: ``name{label="value"}`` → value."""
    text, _ = expose(families, "")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_requests_and_durations() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics, shard_seconds=0.004)
    asked(metrics, "/api/v1/namespaces/x", status=404)
    asked(metrics, "/api/v1/namespaces?watch=true", streaming=True, cut=True)
    metrics.malformed(400)
    found = values(metrics.families())
    assert found["kcp_proxy_requests_total{code=200,resource=namespaces,shard=main,verb=list}"] == 1
    assert found["kcp_proxy_requests_total{code=404,resource=namespaces,shard=main,verb=get}"] == 1
    assert found["kcp_proxy_requests_total{code=200,resource=namespaces,shard=main,verb=watch}"] == 1
    assert found["kcp_proxy_requests_total{code=400,resource=,shard=,verb=other}"] == 1
    assert found["kcp_proxy_request_duration_seconds_count{shard=main,verb=list}"] == 1
    assert found["kcp_proxy_request_duration_seconds_count{shard=main,verb=watch}"] == 0
    assert found["kcp_proxy_shard_duration_seconds_bucket{le=0.0025,shard=main,verb=list}"] == 0
    assert found["kcp_proxy_shard_duration_seconds_bucket{le=0.005,shard=main,verb=list}"] == 1
    assert found["kcp_proxy_shard_duration_seconds_bucket{le=+Inf,shard=main,verb=list}"] == 1
    assert found["kcp_proxy_shard_duration_seconds_sum{shard=main,verb=list}"] == 0.004
    assert found["kcp_proxy_requests_cut_total{}"] == 1
    assert found["kcp_proxy_requests_in_flight{kind=short}"] == 0
    assert found["kcp_proxy_requests_in_flight{kind=watch}"] == 0


def test_in_flight() -> None:
    metrics = RequestMetrics([])
    request = Request(b"GET", b"/", [])
    metrics.arrived(request)
    metrics.arrived(Request(b"GET", b"/", []))
    request.record.streaming = True
    metrics.streaming(request)
    found = values(metrics.families())
    assert found["kcp_proxy_requests_in_flight{kind=short}"] == 1
    assert found["kcp_proxy_requests_in_flight{kind=watch}"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_is_counted_by_its_kind_and_as_it_goes(kind: str) -> None:
    metrics = RequestMetrics(["main"])
    target = b"/api/v1/pods?watch=true" if kind == "watch" else b"/api/v1/namespaces/n/pods/p/" + kind.encode()
    request = Request(b"GET", target, [], record=Record(info=parse(b"GET", target), shard="main", streaming=True))
    metrics.arrived(request)
    metrics.streaming(request)
    sent = []
    for size in (10, 30):
        request.record.sent = size
        sent.append(values(metrics.families())["kcp_proxy_sent_bytes_total{}"])
    assert sent == [10, 30]
    assert values(metrics.families())[f"kcp_proxy_requests_in_flight{{kind={kind}}}"] == 1
    metrics.finished(request)
    found = values(metrics.families())
    assert found["kcp_proxy_sent_bytes_total{}"] == 30
    assert found[f"kcp_proxy_requests_in_flight{{kind={kind}}}"] == 0


def test_who_and_whether() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics, allowed=True)
    asked(metrics, user=ANONYMOUS, allowed=False, status=403)
    asked(metrics, user=User("system:serviceaccount:n:s", workspace_token="k3fq7zn2a"), allowed=True)
    asked(metrics, user=None, status=401)
    found = values(metrics.families())
    for result in ("user", "serviceaccount", "anonymous", "refused"):
        assert found[f"kcp_proxy_authentication_total{{result={result}}}"] == 1
    assert found["kcp_proxy_authorization_total{decision=allow}"] == 2
    assert found["kcp_proxy_authorization_total{decision=forbid}"] == 1
    assert found["kcp_proxy_authorization_total{decision=none}"] == 1


def test_ten_thousand_workspaces_make_no_more_series_than_one() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics)
    before = len(values(metrics.families()))
    for number in range(10_000):
        asked(metrics, workspace=f"root:w{number}")
    assert len(values(metrics.families())) == before


def test_resources_of_tenants_are_bounded() -> None:
    metrics = RequestMetrics(["main"])
    for number in range(10_000):
        asked(metrics, f"/apis/group{number}.example.com/v1/things")
    found = [key for key in values(metrics.families()) if key.startswith("kcp_proxy_requests_total")]
    assert len(found) == MOST_RESOURCES + 1
    assert (
        values(metrics.families())["kcp_proxy_requests_total{code=200,resource=other,shard=main,verb=list}"]
        == 10_000 - MOST_RESOURCES
    )


def test_only_the_busiest_workspaces_are_named() -> None:
    metrics = RequestMetrics(["main"], busiest=2)
    for workspace, times in (("root:a", 3), ("root:b", 1), ("root:c", 2)):
        for _ in range(times):
            asked(metrics, workspace=workspace)
    merged: dict[str, Family] = {}
    add(merged, metrics.families())
    cut(merged, 2)
    shown = values(list(merged.values()))
    found = {key: value for key, value in shown.items() if "workspace_requests" in key and "class=2xx" in key}
    assert found == {
        "kcp_proxy_workspace_requests_total{class=2xx,workspace=root:a}": 3,
        "kcp_proxy_workspace_requests_total{class=2xx,workspace=root:c}": 2,
    }
    assert "kcp_proxy_workspace_request_duration_seconds_count{workspace=root:b}" not in shown


def test_who_is_busy_now_is_named_instead_of_who_was() -> None:
    now = 0.0
    busiest = Busiest(1, clock=lambda: now)

    def named(*, times: dict[str, int]) -> set[str]:
        for workspace, count in times.items():
            for _ in range(count):
                busiest.count(Record(workspace=workspace, status=200), 0.001, 0)
        merged: dict[str, Family] = {}
        add(merged, busiest.families())
        cut(merged, 1)
        return {key for key in values(list(merged.values())) if "class=2xx" in key}

    label = "kcp_proxy_workspace_requests_total{{class=2xx,workspace={}}}".format
    assert named(times={"old": 1000, "new": 10}) == {label("old")}
    now = HALF_LIFE
    assert named(times={"old": 1, "new": 100}) == {label("old")}
    now = 10 * HALF_LIFE
    assert named(times={"old": 1, "new": 100}) == {label("new")}


def test_workspaces_that_are_counted_are_bounded() -> None:
    """What is forgotten are the less busy ones."""
    metrics = RequestMetrics(["main"], busiest=1)
    for _ in range(3):
        asked(metrics, workspace="root:busy")
    for number in range(MOST + 10):
        asked(metrics, workspace=f"root:w{number}")
    asked(metrics, workspace="root:busy", status=503)
    merged = {family.name: family for family in metrics.families()}
    cut(merged, 4)
    found = values(list(merged.values()))
    assert found["kcp_proxy_workspace_requests_total{class=2xx,workspace=root:busy}"] == 3
    assert found["kcp_proxy_workspace_requests_total{class=5xx,workspace=root:busy}"] == 1
    assert sum(key.startswith("kcp_proxy_workspace_requests_total{class=2xx") for key in found) == 4


def test_refusals_by_step() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics, step=ENTRY, status=403)
    asked(metrics, step=SHARD, status=404, shard_seconds=0.001)
    asked(metrics, step=SHARD, status=503)
    found = values(metrics.families())
    assert found["kcp_proxy_refusals_total{step=entry}"] == 1
    assert found["kcp_proxy_refusals_total{step=shard}"] == 1, "what the shard said is no refusal of ours"
    assert found["kcp_proxy_refusals_total{step=gate}"] == 0
    assert found["kcp_proxy_responses_total{class=4xx,shard=main}"] == 2
    assert found["kcp_proxy_responses_total{class=5xx,shard=main}"] == 1
    assert found["kcp_proxy_responses_total{class=3xx,shard=main}"] == 0


def test_what_was_known_and_what_was_not() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics, step=SHARD, asked=(IDENTITY, PERMISSION))
    asked(metrics, step=SHARD)
    asked(metrics, step=ENTRY, status=403)
    found = values(metrics.families())
    for cache, hits, misses in (("identity", 2, 1), ("entry", 3, 0), ("permission", 1, 1), ("document", 0, 0)):
        assert found[f"kcp_proxy_cache_lookups_total{{cache={cache},result=hit}}"] == hits, cache
        assert found[f"kcp_proxy_cache_lookups_total{{cache={cache},result=miss}}"] == misses, cache


def test_what_could_not_be_rewritten() -> None:
    metrics = RequestMetrics(["main"])
    asked(metrics, step=MAPPING, status=400)  # the client's own fault
    asked(metrics, step=MAPPING, status=500)
    asked(metrics, step=GATE, status=403)
    asked(metrics, step=SHARD, status=500, shard_seconds=0.001, unrewritten=True)
    found = values(metrics.families())
    assert found["kcp_proxy_rewrite_errors_total{direction=request}"] == 2
    assert found["kcp_proxy_rewrite_errors_total{direction=response}"] == 1


def test_label_values_exist_from_the_start() -> None:
    found = values(RequestMetrics(["main"]).families())
    for verb in ("list", "deletecollection", "other"):
        assert found[f"kcp_proxy_request_duration_seconds_count{{shard=main,verb={verb}}}"] == 0
    assert found["kcp_proxy_authentication_total{result=refused}"] == 0
    assert found["kcp_proxy_rewrite_errors_total{direction=response}"] == 0
    for kind in (*KINDS, "short"):
        assert found[f"kcp_proxy_requests_in_flight{{kind={kind}}}"] == 0


def test_workers_add_up() -> None:
    first, second = RequestMetrics(["main"]), RequestMetrics(["main"])
    asked(first)
    asked(second)
    asked(second, "/api/v1/nodes")
    merged: dict[str, Family] = {}
    for metrics in (first, second):
        add(merged, decode(encode(metrics.families())).families)
    found = values(list(merged.values()))
    assert found["kcp_proxy_requests_total{code=200,resource=namespaces,shard=main,verb=list}"] == 2
    assert found["kcp_proxy_requests_total{code=200,resource=nodes,shard=main,verb=list}"] == 1
    assert found["kcp_proxy_request_duration_seconds_count{shard=main,verb=list}"] == 3
    alone = values(first.families())
    assert alone["kcp_proxy_request_duration_seconds_count{shard=main,verb=list}"] == 1, (
        "what was merged is not changed"
    )


def test_the_dead_keep_their_counters_and_no_gauges() -> None:
    metrics = RequestMetrics(["main"])
    metrics.arrived(Request(b"GET", b"/", []))
    names = {family.name for family in lasting(metrics.families())}
    assert "kcp_proxy_requests" in names
    assert "kcp_proxy_requests_in_flight" not in names


def test_the_dead_keep_their_names_until_others_are_busy() -> None:
    metrics = RequestMetrics(["main"], busiest=1)
    asked(metrics, workspace="root:old")
    merged: dict[str, Family] = {}
    add(merged, lasting(metrics.families()))
    cut(merged, 1)
    key = "kcp_proxy_workspace_requests_total{{class=2xx,workspace={}}}".format
    assert values(list(merged.values()))[key("root:old")] == 1
    fresh = RequestMetrics(["main"], busiest=1)
    asked(fresh, workspace="root:new")
    add(merged, fresh.families())
    cut(merged, 1)
    found = values(list(merged.values()))
    assert found[key("root:new")] == 1
    assert key("root:old") not in found


def test_openmetrics() -> None:
    text, content_type = expose(RequestMetrics(["main"]).families(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
